#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

/// Numbers of the NBD protocol and how they lie in its messages, highest byte first.
/// Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
namespace basalt::nbd {

constexpr std::uint64_t greeting_magic = 0x4e42444d41474943;
constexpr std::uint64_t option_magic = 0x49484156454f5054;
constexpr std::uint64_t option_reply_magic = 0x3e889045565a9;

constexpr std::uint32_t option_export_name = 1;
constexpr std::uint32_t option_abort = 2;
constexpr std::uint32_t option_list = 3;
constexpr std::uint32_t option_start_tls = 5;
constexpr std::uint32_t option_info = 6;
constexpr std::uint32_t option_go = 7;
constexpr std::uint32_t option_structured_reply = 8;
constexpr std::uint32_t option_list_meta_context = 9;
constexpr std::uint32_t option_set_meta_context = 10;

constexpr std::uint32_t reply_ack = 1;
constexpr std::uint32_t reply_info = 3;
constexpr std::uint32_t reply_is_error = 0x80000000;
constexpr std::uint32_t reply_unsupported = reply_is_error + 1;
constexpr std::uint32_t reply_policy = reply_is_error + 2;
constexpr std::uint32_t reply_invalid = reply_is_error + 3;
constexpr std::uint32_t reply_tls_required = reply_is_error + 5;
constexpr std::uint32_t reply_unknown = reply_is_error + 6;

constexpr std::uint16_t info_export = 0;
constexpr std::uint16_t info_name = 1;

constexpr std::uint16_t flag_fixed_newstyle = 1U << 0U;
constexpr std::uint16_t flag_no_zeroes = 1U << 1U;

/// The most that an option or its answer may carry here.
constexpr std::size_t option_bytes_max = 65536;

template <class T>
void put(std::string& out, T value) {
    for (std::size_t i = sizeof(T); i > 0; --i)
        out += static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * (i - 1)));
}

/// Throws std::out_of_range when `bytes` end before it does.
template <class T>
T get(std::string_view bytes, std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value = value << 8U | static_cast<unsigned char>(bytes.at(at + i));
    return static_cast<T>(value);
}

}  // namespace basalt::nbd
