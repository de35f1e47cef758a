#include "base/framing.hpp"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <cstdint>

#include "base/json.hpp"
#include "base/wait.hpp"

namespace basalt::rpc {

namespace {

// What is done at once on the loop: a third of a millisecond's work.
constexpr std::size_t parsed_at_once_max = std::size_t{32} * 1024;
constexpr std::size_t values_at_once_max = 2000;

constexpr std::uint32_t more_bit = std::uint32_t{1} << 31U;

void append_head(std::uint32_t word, std::string& out) {
    for (int shift = 24; shift >= 0; shift -= 8)
        out += static_cast<char>(word >> static_cast<unsigned>(shift));
}

// Takes the values of `json`, itself too, from what is left; false when there are more.
bool are_few(const Json& json, std::size_t& left) {
    if (left == 0) return false;
    --left;
    return !json.is_structured() ||
           std::ranges::all_of(json, [&](const Json& inner) { return are_few(inner, left); });
}

std::string framed_at_once(const Json& body) {
    return framed(body.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

bool is_small(const Json& json) {
    std::size_t left = values_at_once_max;
    return are_few(json, left);
}

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

Task<Json> parse_message(Loop& loop, std::string message) {
    Json body = message.size() <= parsed_at_once_max
                    ? parse_foreign_json(message)
                    : co_await blocking(
                          loop, [text = std::move(message)] { return parse_foreign_json(text); });
    if (!body.is_object()) throw boost::system::system_error(asio::error::invalid_argument);
    co_return body;
}

Task<std::string> framed_json(Loop& loop, Json body) {
    if (is_small(body)) co_return framed_at_once(body);
    co_return co_await blocking(loop, [body = std::move(body)] { return framed_at_once(body); });
}

void check_message_bytes(std::size_t bytes) {
    if (bytes > message_bytes_max) throw boost::system::system_error(asio::error::message_size);
}

}  // namespace basalt::rpc
