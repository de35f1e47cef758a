#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/nbd.hpp"
#include "base/real_loop.hpp"
#include "base/stream.hpp"

/// What the modes of sm-stream share.
namespace basalt::sm::streams {

inline constexpr int disk = 3;    ///< the descriptor of the disk
inline constexpr int stream = 4;  ///< and that of the stream
inline constexpr int exit_too_long = 3;

Task<std::unique_ptr<nbd::Client>> open_disk(RealLoop& loop, int fd);
/// The line before the bytes that says how many there are, and of which version of the contents
/// (empty: nobody knows).
Task<void> announce(Stream& out, std::uint64_t size_bytes, std::string_view version = {});
/// Reads until the buffer is full or the stream ends.
Task<std::size_t> read_full(Stream& in, std::span<char> buffer);
/// Writes at most nbd::request_bytes_max; zeros as a hole.
Task<void> put(nbd::Client& client, std::uint64_t at, std::string_view bytes);

/// Fills the buffer, or a part of it from its beginning; 0 bytes: there is no more.
using Filler = std::function<Task<std::size_t>(std::span<char> buffer)>;
using Drain = std::function<Task<void>(std::string_view bytes)>;

/// Moves bytes from one to the other in order, at most nbd::request_bytes_max at once: while a part
/// is drained, the next one is filled. Throws what either threw.
Task<void> overlap(RealLoop& loop, Filler fill, Drain drain);

struct Range {
    std::uint64_t offset;
    std::uint64_t length;
};

/// The ranges that standard input lists, cut at `end`.
std::vector<Range> read_ranges(std::uint64_t end);

// The modes of VHD; their answers are the program's exit status.

/// Sends the disk as a dynamic image, or (`parent` not empty) as the difference to that disk, with
/// the blocks that the ranges on standard input touch.
Task<int> send_vhd(RealLoop& loop, std::string_view id, std::string_view parent);
/// Writes what an image holds; what a dynamic one does not hold becomes zeros, what a differencing
/// one does not hold stays.
Task<int> receive_vhd(RealLoop& loop);

}  // namespace basalt::sm::streams
