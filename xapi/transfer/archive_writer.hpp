#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace basalt::transfer {

enum class Compression : std::uint8_t { none, gzip, zstd };

/// What `use_compression` asks for: true and gzip, zstd, anything else none.
[[nodiscard]] Compression compression_of(const std::string* use_compression);

/// Writes a ustar archive piece by piece, compressed as a whole. Every call answers with the bytes
/// that are ready by then, perhaps none. Works, and so belongs on a pool thread; one call at a
/// time. Throws INTERNAL_ERROR.
class ArchiveWriter {
  public:
    explicit ArchiveWriter(Compression compression);
    ~ArchiveWriter();
    ArchiveWriter(const ArchiveWriter&) = delete;
    ArchiveWriter& operator=(const ArchiveWriter&) = delete;

    void add(const std::string& name, std::string_view content);
    /// A piece of a disk and its checksum, as an XVA has them.
    void add_chunk(const std::string& name, std::string_view content);
    /// The archive's end. Nothing may be added afterwards.
    void finish();
    /// What is ready to be sent.
    [[nodiscard]] std::string take();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

/// XXH64 with seed 0 of a chunk as its checksum's file says it: 16 upper-case hex digits.
[[nodiscard]] std::string xxhash_text(std::string_view content);
/// SHA-1 as 40 lower-case hex digits: the checksum of older releases.
[[nodiscard]] std::string sha1_text(std::string_view content);
[[nodiscard]] bool is_zero(std::string_view bytes);

}  // namespace basalt::transfer
