#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/loop.hpp"
#include "xapi/transfer/inflater.hpp"

namespace basalt::transfer {

/// Reads a tar archive that comes as a stream, compressed (gzip or zstd, found out by its first
/// bytes) or not. Loop only; decompresses on pool threads, and never has a thread wait for bytes.
class ArchiveReader {
  public:
    /// Some bytes of the stream, 0 at its end.
    using Source = std::function<Task<std::size_t>(std::span<char>)>;

    struct Entry {
        std::string name;
        std::uint64_t size_bytes = 0;
    };

    ArchiveReader(Loop& loop, Source source) : loop_(loop), source_(std::move(source)) {}

    /// The next file, or nothing at the archive's end. What was not read of the one before is
    /// skipped. Throws IMPORT_ERROR_PREMATURE_EOF, IMPORT_ERROR for what is no archive.
    Task<std::optional<Entry>> next();
    /// The whole content of the present file. IMPORT_ERROR when it has more than `bytes_max`.
    Task<std::string> content(std::size_t bytes_max);

    /// Some of the present file, 0 at its end.
    Task<std::size_t> read(std::span<char> buffer);

  private:
    Task<void> begin();
    Task<bool> fill_raw(std::size_t count);
    Task<std::size_t> read_raw(std::span<char> buffer);
    Task<std::size_t> read_some(std::span<char> buffer);
    Task<std::size_t> inflate_some(std::span<char> buffer);
    Task<std::size_t> read_full(std::span<char> buffer);
    Task<void> read_exactly(std::span<char> buffer);
    Task<std::string> header_with_extensions(std::string block);
    Task<void> skip(std::uint64_t count);

    Loop& loop_;
    Source source_;
    std::string raw_;  // read ahead, as it came
    bool raw_ended_ = false;
    std::shared_ptr<Inflater> inflater_;  // null: the stream is plain
    std::string inflated_;
    std::size_t inflated_at_ = 0;
    bool inflated_whole_ = true;  // the last compressed stream has come to its end
    bool begun_ = false;
    std::uint64_t left_ = 0;     // of the present file
    std::uint64_t padding_ = 0;  // after it
};

}  // namespace basalt::transfer
