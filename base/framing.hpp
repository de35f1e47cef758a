#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/loop.hpp"

/// How the messages of base/rpc lie in a stream of bytes: each is cut into frames of a 4-byte
/// big-endian head and at most `frame_bytes_max` of text. The head's top bit says that the message
/// goes on in the next frame, the rest is the length.
namespace basalt::rpc {

constexpr std::size_t frame_bytes_max = std::size_t{1024} * 1024;
/// An SR of 100,000 disks is listed in less.
constexpr std::size_t message_bytes_max = 64 * frame_bytes_max;
constexpr std::size_t frame_head_bytes = 4;

struct FrameHead {
    std::size_t bytes = 0;
    bool more = false;
};

/// Throws system_error(message_size) for what is too long.
[[nodiscard]] FrameHead parse_frame_head(std::string_view head);
/// The frames of a message, one after the other. Throws as above.
[[nodiscard]] std::string framed(std::string_view message);
/// Throws system_error(message_size) when a message of that length would be too long.
void check_message_bytes(std::size_t bytes);

/// The JSON of a message; a long one is parsed on a pool thread. Throws system_error
/// (invalid_argument) for what is no JSON object.
[[nodiscard]] Task<nlohmann::json> parse_message(Loop& loop, std::string message);
/// As `framed`, of that JSON; of much of it on a pool thread.
[[nodiscard]] Task<std::string> framed_json(Loop& loop, nlohmann::json body);

/// Whether so much of a message may be made or read in one turn of the loop.
[[nodiscard]] bool is_small(const nlohmann::json& json);

/// The next message. `read_exactly(bytes)` gives a Task<std::string>. Throws what that throws, and
/// system_error(message_size).
template <class ReadExactly>
Task<std::string> read_message(ReadExactly read_exactly) {
    std::string message;
    for (bool more = true; more;) {
        const FrameHead head = parse_frame_head(co_await read_exactly(frame_head_bytes));
        check_message_bytes(message.size() + head.bytes);
        message += co_await read_exactly(head.bytes);
        more = head.more;
    }
    co_return message;
}

}  // namespace basalt::rpc
