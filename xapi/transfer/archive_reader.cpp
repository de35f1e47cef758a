#include "xapi/transfer/archive_reader.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/wait.hpp"
#include "idl/errors.hpp"

namespace basalt::transfer {

namespace {

constexpr std::size_t block_bytes = 512;
constexpr std::size_t raw_bytes_max = std::size_t{64} * 1024;
constexpr std::size_t extension_bytes_max = std::size_t{64} * 1024;
constexpr std::size_t skip_bytes_max = std::size_t{1} << 20;

struct FreeReader {
    void operator()(archive* reader) const { archive_read_free(reader); }
};

enum class HeaderKind : std::uint8_t { file, end, broken };

struct Header {
    HeaderKind kind = HeaderKind::broken;
    ArchiveReader::Entry entry;
};

/// What a header of one file says; `bytes` is its block, behind those that extend it.
Header parse_header(std::string_view bytes) {
    const std::unique_ptr<archive, FreeReader> reader(archive_read_new());
    archive_entry* entry = nullptr;
    archive_read_support_format_tar(reader.get());
    if (archive_read_open_memory(reader.get(), bytes.data(), bytes.size()) != ARCHIVE_OK) return {};
    const int status = archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return {HeaderKind::end, {}};
    const char* name = entry == nullptr ? nullptr : archive_entry_pathname(entry);
    if ((status != ARCHIVE_OK && status != ARCHIVE_WARN) || name == nullptr) return {};
    return {HeaderKind::file,
            {.name = name, .size_bytes = static_cast<std::uint64_t>(archive_entry_size(entry))}};
}

bool is_zero_block(std::string_view block) {
    return block.find_first_not_of('\0') == std::string_view::npos;
}

/// Long names and such come as files of their own before the file that they are about.
bool extends_next(std::string_view block) {
    constexpr std::size_t type_at = 156;
    return std::string_view("xgLK").find(block[type_at]) != std::string_view::npos;
}

std::size_t extension_blocks(std::string_view block) {
    constexpr std::size_t size_at = 124;
    std::uint64_t size = 0;
    const char* digits = block.data() + size_at;
    const auto [end, error] = std::from_chars(digits, digits + 11, size, 8);
    if (error != std::errc{} || end == digits || size > extension_bytes_max)
        throw err::import_error("the archive has a header that cannot be read");
    return static_cast<std::size_t>((size + block_bytes - 1) / block_bytes);
}

}  // namespace

// -- bytes ----------------------------------------------------------------------------------------

/// Whether so many bytes of the stream are read ahead.
Task<bool> ArchiveReader::fill_raw(std::size_t count) {
    while (raw_.size() < count && !raw_ended_) {
        const std::size_t before = raw_.size();
        raw_.resize(before + raw_bytes_max);
        const std::size_t got = co_await source_(std::span(raw_).subspan(before));
        raw_.resize(before + got);
        raw_ended_ = got == 0;
    }
    co_return raw_.size() >= count;
}

Task<std::size_t> ArchiveReader::read_raw(std::span<char> buffer) {
    if (raw_.empty() && !raw_ended_) {
        const std::size_t got = co_await source_(buffer);
        raw_ended_ = got == 0;
        co_return got;
    }
    const std::size_t count = std::min(buffer.size(), raw_.size());
    std::copy_n(raw_.begin(), count, buffer.begin());
    raw_.erase(0, count);
    co_return count;
}

Task<std::size_t> ArchiveReader::inflate_some(std::span<char> buffer) {
    while (inflated_at_ == inflated_.size()) {
        // A step that filled its room may hold back more of what it took.
        const bool more_inside = inflated_.size() == inflated_bytes_max;
        if (!more_inside && !co_await fill_raw(1)) {
            if (!inflated_whole_) throw err::import_error_premature_eof();
            co_return 0;
        }
        Inflater::Step step = co_await blocking(
            loop_, [inflater = inflater_, in = std::make_shared<std::string>(raw_)] {
                return inflater->step(*in);
            });
        if (!more_inside && step.taken == 0 && step.out.empty())
            throw err::import_error("the stream cannot be decompressed");
        raw_.erase(0, step.taken);
        inflated_ = std::move(step.out);
        inflated_at_ = 0;
        inflated_whole_ = step.ended;
    }
    const std::size_t count = std::min(buffer.size(), inflated_.size() - inflated_at_);
    std::copy_n(inflated_.begin() + static_cast<std::ptrdiff_t>(inflated_at_), count,
                buffer.begin());
    inflated_at_ += count;
    co_return count;
}

Task<std::size_t> ArchiveReader::read_some(std::span<char> buffer) {
    return inflater_ ? inflate_some(buffer) : read_raw(buffer);
}

Task<std::size_t> ArchiveReader::read_full(std::span<char> buffer) {
    std::size_t done = 0;
    while (done < buffer.size()) {
        const std::size_t got = co_await read_some(buffer.subspan(done));
        if (got == 0) break;
        done += got;
    }
    co_return done;
}

Task<void> ArchiveReader::read_exactly(std::span<char> buffer) {
    if (co_await read_full(buffer) < buffer.size()) throw err::import_error_premature_eof();
}

Task<void> ArchiveReader::skip(std::uint64_t count) {
    std::string nowhere(std::min<std::uint64_t>(count, skip_bytes_max), '\0');
    while (count > 0) {
        const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(count, nowhere.size()));
        co_await read_exactly(std::span(nowhere).first(part));
        count -= part;
    }
}

// -- files ----------------------------------------------------------------------------------------

Task<void> ArchiveReader::begin() {
    begun_ = true;
    if (!co_await fill_raw(block_bytes) && raw_.size() < 4) throw err::import_error_premature_eof();
    const std::string_view first = std::string_view(raw_).substr(0, block_bytes);
    const bool plain = first.size() == block_bytes &&
                       (extends_next(first) ? first.find("ustar") == 257
                                            : parse_header(first).kind == HeaderKind::file);
    if (!plain) inflater_ = inflater_for(first);
}

Task<std::string> ArchiveReader::header_with_extensions(std::string block) {
    std::string header = block;
    while (extends_next(block)) {
        std::string content(extension_blocks(block) * block_bytes, '\0');
        co_await read_exactly(content);
        co_await read_exactly(block);
        header += content + block;
        if (header.size() > 2 * extension_bytes_max)
            throw err::import_error("the archive has a header that is too long");
    }
    co_return header;
}

Task<std::optional<ArchiveReader::Entry>> ArchiveReader::next() {
    if (!begun_) co_await begin();
    co_await skip(left_ + padding_);
    left_ = padding_ = 0;
    std::string block(block_bytes, '\0');
    const std::size_t got = co_await read_full(block);
    // Some writers leave out the two empty blocks of the end.
    if (got == 0) co_return std::nullopt;
    if (got < block_bytes) throw err::import_error_premature_eof();
    if (is_zero_block(block)) co_return std::nullopt;
    const std::string whole = co_await header_with_extensions(std::move(block));
    Header header = parse_header(whole);
    if (header.kind != HeaderKind::file) throw err::import_error("this is no XVA archive");
    left_ = header.entry.size_bytes;
    padding_ = (block_bytes - left_ % block_bytes) % block_bytes;
    co_return std::move(header.entry);
}

Task<std::size_t> ArchiveReader::read(std::span<char> buffer) {
    const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_));
    if (most == 0) co_return 0;
    const std::size_t got = co_await read_some(buffer.first(most));
    if (got == 0) throw err::import_error_premature_eof();
    left_ -= got;
    co_return got;
}

Task<std::string> ArchiveReader::content(std::size_t bytes_max) {
    if (left_ > bytes_max)
        throw err::import_error("a file of " + std::to_string(left_) + " bytes is too large");
    std::string out(static_cast<std::size_t>(left_), '\0');
    co_await read_exactly(out);
    left_ = 0;
    co_return out;
}

}  // namespace basalt::transfer
