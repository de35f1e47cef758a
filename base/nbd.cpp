#include "base/nbd.hpp"

#include <boost/system/system_error.hpp>
#include <cerrno>
#include <cstring>

#include "base/error.hpp"
#include "base/nbd_protocol.hpp"

namespace basalt::nbd {

namespace {

constexpr std::uint32_t request_magic = 0x25609513;
constexpr std::uint32_t reply_magic = 0x67446698;
constexpr std::uint16_t flag_send_flush = 1U << 2U;
constexpr std::uint16_t flag_send_write_zeroes = 1U << 6U;
constexpr std::uint16_t command_read = 0;
constexpr std::uint16_t command_write = 1;
constexpr std::uint16_t command_disconnect = 2;
constexpr std::uint16_t command_flush = 3;
constexpr std::uint16_t command_write_zeroes = 6;

[[noreturn]] void fail(const std::string& why) {
    throw ApiError("INTERNAL_ERROR", {"nbd: " + why});
}

}  // namespace

Task<std::unique_ptr<Client>> Client::open(std::unique_ptr<Stream> stream, std::string name) {
    std::unique_ptr<Client> made(new Client(std::move(stream)));
    co_await made->greet(std::move(name));
    co_return made;
}

Task<void> Client::greet(std::string name) {
    const std::string hello = co_await take(18);
    if (get<std::uint64_t>(hello, 0) != greeting_magic ||
        get<std::uint64_t>(hello, 8) != option_magic)
        fail("not an NBD server");
    // Fixed newstyle and no zeroes, if offered.
    std::string out;
    put<std::uint32_t>(out, get<std::uint16_t>(hello, 16) & (flag_fixed_newstyle | flag_no_zeroes));
    put(out, option_magic);
    put(out, option_go);
    put(out, static_cast<std::uint32_t>(4 + name.size() + 2));
    put(out, static_cast<std::uint32_t>(name.size()));
    out += name;
    put<std::uint16_t>(out, 0);
    co_await stream_->write(out);
    for (;;) {
        const std::string head = co_await take(20);
        if (get<std::uint64_t>(head, 0) != option_reply_magic) fail("garbage in the handshake");
        const auto type = get<std::uint32_t>(head, 12);
        const auto length = get<std::uint32_t>(head, 16);
        if (length > option_bytes_max) fail("an option answer too long");
        const std::string data = co_await take(length);
        if ((type & reply_is_error) != 0) fail("export " + name + " refused: " + data);
        if (type == reply_ack) co_return;
        if (type != reply_info || length < 12 || get<std::uint16_t>(data, 0) != info_export)
            continue;
        size_bytes_ = get<std::uint64_t>(data, 2);
        flags_ = get<std::uint16_t>(data, 10);
    }
}

Task<std::string> Client::take(std::size_t size) {
    std::string out(size, '\0');
    co_await take_into(out);
    co_return out;
}

Task<void> Client::take_into(std::span<char> out) {
    while (!out.empty()) {
        const std::size_t got = co_await stream_->read_some(out);
        if (got == 0) fail("the server closed the connection");
        out = out.subspan(got);
    }
}

Task<void> Client::send(Head head, std::string_view payload) {
    std::string out;
    put(out, request_magic);
    put<std::uint16_t>(out, 0);
    put(out, head.type);
    put(out, ++last_cookie_);
    put(out, head.offset);
    put(out, head.length);
    co_await stream_->write(out);
    if (!payload.empty()) co_await stream_->write(payload);
}

Task<void> Client::await_reply() {
    const std::string head = co_await take(16);
    if (get<std::uint32_t>(head, 0) != reply_magic || get<std::uint64_t>(head, 8) != last_cookie_)
        fail("garbage in an answer");
    const auto error = get<std::uint32_t>(head, 4);
    if (error != 0) fail(std::strerror(static_cast<int>(error)));
}

Task<void> Client::read(std::uint64_t offset, std::span<char> out) {
    co_await send({command_read, offset, static_cast<std::uint32_t>(out.size())}, {});
    co_await await_reply();
    co_await take_into(out);
}

Task<void> Client::write(std::uint64_t offset, std::string_view bytes) {
    co_await send({command_write, offset, static_cast<std::uint32_t>(bytes.size())}, bytes);
    co_await await_reply();
}

Task<void> Client::write_zeroes(std::uint64_t offset, std::uint32_t length) {
    if ((flags_ & flag_send_write_zeroes) == 0) {
        const std::string zeros(length, '\0');
        co_return co_await write(offset, zeros);
    }
    co_await send({command_write_zeroes, offset, length}, {});
    co_await await_reply();
}

Task<void> Client::flush() {
    if ((flags_ & flag_send_flush) == 0) co_return;
    co_await send({command_flush, 0, 0}, {});
    co_await await_reply();
}

Task<void> Client::disconnect() {
    co_await send({command_disconnect, 0, 0}, {});
    close();
}

void Client::close() {
    stream_->close();
}

}  // namespace basalt::nbd
