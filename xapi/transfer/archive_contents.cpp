#include "xapi/transfer/archive_contents.hpp"

#include <algorithm>
#include <charconv>

#include "base/log.hpp"
#include "base/nbd.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/transfer/archive_writer.hpp"

namespace basalt::transfer {

namespace {

using xenapi::Ref;

constexpr std::size_t chunk_bytes_max = std::size_t{16} << 20;
constexpr std::size_t checksum_bytes_max = 256;
constexpr std::string_view xxhash_suffix = ".xxhash";
constexpr std::string_view sha1_suffix = ".checksum";
/// Older releases write it last.
constexpr std::string_view checksum_table = "checksum.xml";

struct ChunkName {
    std::string disk;
    std::int64_t number = -1;
};

/// `Ref:1/00000012`; a number of -1: no such name.
ChunkName parse_chunk_name(const std::string& name) {
    const std::size_t slash = name.rfind('/');
    ChunkName out;
    if (slash == std::string::npos) return out;
    std::int64_t number = 0;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + slash + 1, end, number);
    if (error != std::errc{} || stop != end || number < 0) return out;
    out.disk = name.substr(0, slash);
    out.number = number;
    return out;
}

/// The disks of an archive, filled one after the other as their chunks come.
class DiskFiller {
  public:
    DiskFiller(Call& call, const Adopt& adopt, const FillTargets& targets)
        : call_(call), adopt_(adopt), targets_(targets) {}

    /// Throws IMPORT_ERROR_UNEXPECTED_FILE, IMPORT_ERROR.
    Task<void> chunk(std::string name, std::shared_ptr<const std::string> content, bool zeros);
    /// Throws IMPORT_ERROR_PREMATURE_EOF when a disk has not come whole.
    Task<void> finish();

  private:
    struct Disk {
        std::int64_t last_number = -1;
        std::uint64_t position = 0;
        std::uint64_t first_length = 0;
    };

    Task<void> turn_to(std::string id);
    Task<void> zero(std::string id, std::uint64_t at, std::uint64_t count);
    Task<void> close();

    Call& call_;
    const Adopt& adopt_;
    const FillTargets& targets_;
    std::map<std::string, Disk> disks_;
    std::string open_id_;
    std::unique_ptr<nbd::Client> open_;
};

Task<void> DiskFiller::turn_to(std::string id) {
    if (open_ && open_id_ == id) co_return;
    co_await close();
    const Ref<xenapi::Vdi> vdi = targets_.at(id).disk;
    agent::Host& host = core::home_agent(call_.core(), call_.db().get(vdi).SR);
    open_ = co_await nbd::Client::open(
        adopt_(co_await host.vdi_open({core::disk_ref(call_.db(), vdi), agent::Access::rw})),
        "disk");
    open_id_ = std::move(id);
}

Task<void> DiskFiller::zero(std::string id, std::uint64_t at, std::uint64_t count) {
    constexpr std::uint64_t request_max = std::uint64_t{1} << 30;
    co_await turn_to(std::move(id));
    for (std::uint64_t done = 0; done < count; done += request_max)
        co_await open_->write_zeroes(
            at + done, static_cast<std::uint32_t>(std::min(request_max, count - done)));
}

Task<void> DiskFiller::close() {
    if (!open_) co_return;
    co_await open_->flush();
    co_await open_->disconnect();
    open_.reset();
}

Task<void> DiskFiller::chunk(std::string name, std::shared_ptr<const std::string> content,
                             bool zeros) {
    const ChunkName where = parse_chunk_name(name);
    const auto known = targets_.find(where.disk);
    if (where.number < 0 || known == targets_.end())
        throw err::import_error_unexpected_file("a chunk of a disk", name);
    Disk& disk = disks_[where.disk];
    if (where.number <= disk.last_number)
        throw err::import_error_unexpected_file("a later chunk of " + where.disk, name);
    const auto left_out = static_cast<std::uint64_t>(where.number - disk.last_number - 1);
    const std::uint64_t size = known->second.size_bytes;
    if (disk.first_length > 0 && left_out > size / disk.first_length)
        throw err::import_error(name + " lies beyond the end of its disk");
    const std::uint64_t gap = std::min(left_out * disk.first_length, size - disk.position);
    if (!known->second.zeroed && gap > 0) co_await zero(where.disk, disk.position, gap);
    disk.position += left_out * disk.first_length;
    disk.last_number = where.number;
    if (disk.first_length == 0) disk.first_length = content->size();
    const std::uint64_t at = disk.position;
    if (content->size() > size || at > size - content->size())
        throw err::import_error(name + " lies beyond the end of its disk");
    disk.position += content->size();
    if (zeros && known->second.zeroed) co_return;
    if (zeros) co_return co_await zero(where.disk, at, content->size());
    co_await turn_to(where.disk);
    for (std::size_t done = 0; done < content->size(); done += nbd::request_bytes_max) {
        const std::size_t part = std::min(nbd::request_bytes_max, content->size() - done);
        co_await open_->write(at + done, std::string_view(*content).substr(done, part));
    }
}

Task<void> DiskFiller::finish() {
    co_await close();
    for (const auto& [id, disk] : targets_) {
        const auto filled = disks_.find(id);
        const std::uint64_t position = filled == disks_.end() ? 0 : filled->second.position;
        if (position < disk.size_bytes) throw err::import_error_premature_eof();
    }
}

/// Reads what comes after ova.xml.
class Contents {
  public:
    Contents(Loop& loop, ArchiveReader& reader, DiskFiller& disks, ExportVersion version,
             bool force)
        : loop_(loop), reader_(reader), disks_(disks), version_(version), force_(force) {}

    Task<void> run();

  private:
    struct Looked {
        bool zeros = false;
        std::string sum;
    };

    Task<void> one(std::string name);
    Task<std::optional<ArchiveReader::Entry>> next();

    Loop& loop_;
    ArchiveReader& reader_;
    DiskFiller& disks_;
    ExportVersion version_;
    bool force_;
    std::optional<ArchiveReader::Entry> peeked_;
};

Task<std::optional<ArchiveReader::Entry>> Contents::next() {
    if (peeked_) co_return std::exchange(peeked_, std::nullopt);
    co_return co_await reader_.next();
}

Task<void> Contents::run() {
    while (const auto entry = co_await next()) {
        if (entry->name != checksum_table) co_await one(entry->name);
    }
    co_await disks_.finish();
}

Task<void> Contents::one(std::string name) {
    const auto content =
        std::make_shared<const std::string>(co_await reader_.content(chunk_bytes_max));
    peeked_ = co_await reader_.next();
    const bool xxhash = peeked_ && peeked_->name == name + std::string(xxhash_suffix);
    const bool sha1 = peeked_ && peeked_->name == name + std::string(sha1_suffix);
    if (!xxhash && !sha1 && version_ != ExportVersion::table_at_end)
        throw err::import_error_unexpected_file(name + std::string(xxhash_suffix),
                                                peeked_ ? peeked_->name : "the end");
    std::string said;
    if (xxhash || sha1) {
        peeked_.reset();
        said = co_await reader_.content(checksum_bytes_max);
    }
    const Looked looked = co_await blocking(loop_, [content, xxhash, sha1] {
        return Looked{is_zero(*content), xxhash ? xxhash_text(*content)
                                         : sha1 ? sha1_text(*content)
                                                : std::string()};
    });
    if (looked.sum != said) {
        log::warn("import_checksum_wrong", {{"file", name}, {"said", said.substr(0, 64)}});
        if (!force_) throw err::import_error_some_checksums_failed();
    }
    co_await disks_.chunk(std::move(name), content, looked.zeros);
}

}  // namespace

Task<void> fill_disks(Call& call, const Adopt& adopt, ArchiveReader& reader, Fill fill) {
    DiskFiller disks(call, adopt, fill.targets);
    Contents contents(call.core().loop, reader, disks, fill.version, fill.force);
    co_await contents.run();
}

}  // namespace basalt::transfer
