#include "xapi/transfer/archive_writer.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <openssl/evp.h>

#include <array>
#include <boost/hash2/xxhash.hpp>
#include <cstring>
#include <format>

#include "idl/errors.hpp"

namespace basalt::transfer {

namespace {

constexpr int permissions = 0644;

struct FreeEntry {
    void operator()(archive_entry* entry) const { archive_entry_free(entry); }
};

la_ssize_t collect(archive* /*writer*/, void* out, const void* bytes, std::size_t size) {
    static_cast<std::string*>(out)->append(static_cast<const char*>(bytes), size);
    return static_cast<la_ssize_t>(size);
}

void check(archive* writer, int status) {
    if (status == ARCHIVE_OK || status == ARCHIVE_WARN) return;
    const char* why = archive_error_string(writer);
    throw err::internal_error(std::string("archive: ") + (why == nullptr ? "failed" : why));
}

}  // namespace

struct ArchiveWriter::State {
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;

    // Frees only: what was not finished stays so.
    ~State() { archive_write_free(writer); }

    archive* writer = archive_write_new();
    std::unique_ptr<archive_entry, FreeEntry> entry{archive_entry_new()};
    std::string ready;
};

Compression compression_of(const std::string* use_compression) {
    if (use_compression == nullptr) return Compression::none;
    if (*use_compression == "true" || *use_compression == "gzip") return Compression::gzip;
    return *use_compression == "zstd" ? Compression::zstd : Compression::none;
}

ArchiveWriter::ArchiveWriter(Compression compression) : state_(std::make_unique<State>()) {
    archive* writer = state_->writer;
    check(writer, archive_write_set_format_ustar(writer));
    if (compression == Compression::gzip) check(writer, archive_write_add_filter_gzip(writer));
    if (compression == Compression::zstd) check(writer, archive_write_add_filter_zstd(writer));
    // No padding to the blocks of a tape, and nothing held back for one.
    check(writer, archive_write_set_bytes_per_block(writer, 0));
    check(writer, archive_write_set_bytes_in_last_block(writer, 1));
    check(writer, archive_write_open(writer, &state_->ready, nullptr, collect, nullptr));
}

ArchiveWriter::~ArchiveWriter() {
    // A writer that is freed closes itself, into a string that nobody reads.
    archive_write_fail(state_->writer);
}

void ArchiveWriter::add(const std::string& name, std::string_view content) {
    archive_entry* entry = state_->entry.get();
    archive_entry_clear(entry);
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, permissions);
    archive_entry_set_size(entry, static_cast<la_int64_t>(content.size()));
    archive_entry_set_mtime(entry, 0, 0);
    check(state_->writer, archive_write_header(state_->writer, entry));
    const la_ssize_t written = archive_write_data(state_->writer, content.data(), content.size());
    if (written < 0) check(state_->writer, static_cast<int>(written));
    check(state_->writer, archive_write_finish_entry(state_->writer));
}

void ArchiveWriter::add_chunk(const std::string& name, std::string_view content) {
    add(name, content);
    add(name + ".xxhash", xxhash_text(content));
}

void ArchiveWriter::finish() {
    check(state_->writer, archive_write_close(state_->writer));
}

std::string ArchiveWriter::take() {
    return std::exchange(state_->ready, {});
}

std::string xxhash_text(std::string_view content) {
    boost::hash2::xxhash_64 hash;
    hash.update(content.data(), content.size());
    return std::format("{:016X}", hash.result());
}

std::string sha1_text(std::string_view content) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (EVP_Digest(content.data(), content.size(), digest.data(), &size, EVP_sha1(), nullptr) != 1)
        throw err::internal_error("SHA-1 failed");
    std::string out;
    for (unsigned i = 0; i < size; ++i)
        out += std::format("{:02x}", digest.at(i));
    return out;
}

bool is_zero(std::string_view bytes) {
    return bytes.empty() ||
           (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace basalt::transfer
