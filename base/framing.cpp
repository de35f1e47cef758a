#include "base/framing.hpp"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <cstdint>

namespace basalt::rpc {

namespace {

constexpr std::uint32_t more_bit = std::uint32_t{1} << 31U;

void append_head(std::uint32_t word, std::string& out) {
    for (int shift = 24; shift >= 0; shift -= 8)
        out += static_cast<char>(word >> static_cast<unsigned>(shift));
}

}  // namespace

FrameHead parse_frame_head(std::string_view head) {
    std::uint32_t word = 0;
    for (const char c : head)
        word = word << 8U | static_cast<unsigned char>(c);
    const FrameHead out{.bytes = word & ~more_bit, .more = (word & more_bit) != 0};
    if (out.bytes > frame_bytes_max) throw boost::system::system_error(asio::error::message_size);
    return out;
}

std::string framed(std::string_view message) {
    check_message_bytes(message.size());
    std::string out;
    out.reserve(message.size() + frame_head_bytes * (1 + message.size() / frame_bytes_max));
    do {
        const std::string_view piece = message.substr(0, frame_bytes_max);
        message.remove_prefix(piece.size());
        append_head(static_cast<std::uint32_t>(piece.size()) | (message.empty() ? 0 : more_bit),
                    out);
        out += piece;
    } while (!message.empty());
    return out;
}

void check_message_bytes(std::size_t bytes) {
    if (bytes > message_bytes_max) throw boost::system::system_error(asio::error::message_size);
}

}  // namespace basalt::rpc
