#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/loop.hpp"
#include "base/wait.hpp"

/// A database on a disk: what is where, for who finds only the disk. docs/decisions/0019 says why.
///
///     0        head of the first place, 4096 bytes: lines of a name and a value, then zeros
///     4096     head of the second place
///     1 MiB    content of the first place; that of the second begins at the middle of what is left
///
/// A head is written after its content, and each copy goes to the place that does not have the
/// newest one: whoever is cut off in the middle has spoilt nothing. Its lines are
///
///     basalt-database 1        the format
///     sequence N               copies count up
///     generation N             of the newest change that is in it
///     pool UUID
///     made N                   seconds since 1970 UTC
///     packed N                 bytes of the content: a zlib stream
///     text N                   bytes of the text in it: a dump (xapi/db/store/dump.hpp)
///     digest HEX               SHA-256 of the content
///     sum HEX                  SHA-256 of the lines before this one
namespace basalt::domain {

/// A disk as bytes at places. Loop only; cancellable. Throws ApiError, or system_error of a
/// connection.
class BlockDisk {
  public:
    virtual ~BlockDisk() = default;
    [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
    virtual Task<void> read(std::uint64_t offset, std::span<char> out) = 0;
    /// `bytes` outlives the call.
    virtual Task<void> write(std::uint64_t offset, std::string_view bytes) = 0;
    /// What was written is durable when it returns.
    virtual Task<void> flush() = 0;
    /// The last call; who does not make it leaves the end to chance.
    virtual Task<void> close() = 0;
};

/// What drivers are able to that still know after a loss of all records what a disk is for.
inline const std::string metadata_ability = "SR_METADATA";
/// The least disk that is used for this.
inline constexpr std::int64_t database_disk_bytes = std::int64_t{256} << 20;
/// The largest text that is read from a disk.
inline constexpr std::size_t database_text_bytes_max = std::size_t{256} << 20;

struct DatabaseHead {
    std::uint64_t sequence = 0;
    std::uint64_t generation = 0;
    std::string pool;  // uuid
    std::int64_t made_seconds = 0;
    std::uint64_t packed_bytes = 0;
    std::uint64_t text_bytes = 0;
    std::string digest;

    friend bool operator==(const DatabaseHead&, const DatabaseHead&) = default;
};

/// The block of such a head, 4096 bytes.
[[nodiscard]] std::string head_text(const DatabaseHead& head);
/// Nothing for what is no head, or not a whole one.
[[nodiscard]] std::optional<DatabaseHead> parse_head(std::string_view block);

/// A dump with what its head says of it, packed and measured. Takes about 100 ms for 10 MiB: not on
/// the loop.
struct PackedDatabase {
    DatabaseHead head;
    std::string content;
};

[[nodiscard]] PackedDatabase pack_database(std::string_view text);

/// Writes it over the older of the two copies that the disk has; the other stays until all of this
/// one is durable. Throws INTERNAL_ERROR when it does not fit.
Task<void> write_database(BlockDisk& disk, PackedDatabase database);
/// The head of the newest copy; its content is not looked at. Nothing: the disk has none.
Task<std::optional<DatabaseHead>> read_database_head(BlockDisk& disk);
/// The text of the newest copy that is whole. Throws INTERNAL_ERROR when there is none.
Task<std::string> read_database(Loop& loop, BlockDisk& disk);

}  // namespace basalt::domain
