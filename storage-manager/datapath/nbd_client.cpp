#include "storage-manager/datapath/nbd_client.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <vector>

namespace basalt::sm::nbd {

namespace {

// The numbers of the protocol's specification; all big-endian on the wire.
constexpr std::uint64_t init_magic = 0x4e42444d41474943ULL;  // NBDMAGIC
constexpr std::uint64_t option_magic = 0x49484156454f5054ULL;
constexpr std::uint64_t option_reply_magic = 0x3e889045565a9ULL;
constexpr std::uint32_t request_magic = 0x25609513;
constexpr std::uint32_t reply_magic = 0x67446698;
constexpr std::uint32_t option_go = 7;
constexpr std::uint32_t reply_ack = 1;
constexpr std::uint32_t reply_info = 3;
constexpr std::uint16_t info_export = 0;
constexpr std::uint16_t flag_read_only = 1U << 1U;
constexpr std::uint16_t flag_send_flush = 1U << 2U;
constexpr std::uint16_t flag_send_write_zeroes = 1U << 6U;
constexpr std::uint16_t command_read = 0;
constexpr std::uint16_t command_write = 1;
constexpr std::uint16_t command_disconnect = 2;
constexpr std::uint16_t command_flush = 3;
constexpr std::uint16_t command_write_zeroes = 6;
constexpr std::uint32_t option_data_bytes_max = 65536;

class Packet {
  public:
    template <class T>
    Packet& add(T value) {
        for (std::size_t i = sizeof(T); i-- > 0;)
            bytes_.push_back(static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i)));
        return *this;
    }

    Packet& add_text(std::string_view text) {
        bytes_.append(text);
        return *this;
    }

    [[nodiscard]] std::span<const char> bytes() const { return bytes_; }

  private:
    std::string bytes_;
};

void read_exactly(int fd, std::span<char> out) {
    if (read_full(fd, out) != out.size()) throw std::runtime_error("NBD: the server hung up");
}

template <class T>
T decode(const char* bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value = value << 8U | static_cast<unsigned char>(bytes[i]);
    return static_cast<T>(value);
}

template <class T>
T take(int fd) {
    std::array<char, sizeof(T)> raw{};
    read_exactly(fd, raw);
    return decode<T>(raw.data());
}

void expect(bool holds, const char* what) {
    if (!holds) throw std::runtime_error(std::string("NBD: ") + what);
}

}  // namespace

std::size_t read_full(int fd, std::span<char> out) {
    std::size_t done = 0;
    while (done < out.size()) {
        const ssize_t got = ::read(fd, out.data() + done, out.size() - done);
        if (got == 0) break;
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) throw std::system_error(errno, std::generic_category(), "read");
        done += static_cast<std::size_t>(got);
    }
    return done;
}

void write_full(int fd, std::span<const char> bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::write(fd, bytes.data(), bytes.size());
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) throw std::system_error(errno, std::generic_category(), "write");
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
}

Client::Client(UniqueFd socket, const std::string& name) : socket_(std::move(socket)) {
    negotiate(name);
}

Client::~Client() = default;

bool Client::writable() const {
    return (flags_ & flag_read_only) == 0;
}

void Client::negotiate(const std::string& name) {
    const int fd = socket_.get();
    expect(take<std::uint64_t>(fd) == init_magic, "not an NBD server");
    expect(take<std::uint64_t>(fd) == option_magic, "an old style of server");
    const auto offered = take<std::uint16_t>(fd);
    write_full(fd, Packet().add(std::uint32_t{offered & 3U}).bytes());
    const auto length = static_cast<std::uint32_t>(name.size());
    write_full(fd, Packet()
                       .add(option_magic)
                       .add(option_go)
                       .add(length + 6)
                       .add(length)
                       .add_text(name)
                       .add(std::uint16_t{0})
                       .bytes());
    for (;;) {
        expect(take<std::uint64_t>(fd) == option_reply_magic, "garbage in the negotiation");
        take<std::uint32_t>(fd);  // the option again
        const auto type = take<std::uint32_t>(fd);
        const auto bytes = take<std::uint32_t>(fd);
        expect(bytes <= option_data_bytes_max, "an answer too long");
        std::vector<char> data(bytes);
        read_exactly(fd, data);
        if (type == reply_ack) break;
        expect(type == reply_info, "the export was refused");
        if (data.size() >= 12 && decode<std::uint16_t>(data.data()) == info_export) {
            size_bytes_ = decode<std::uint64_t>(data.data() + 2);
            flags_ = decode<std::uint16_t>(data.data() + 10);
        }
    }
}

void Client::read(std::span<char> out, std::uint64_t offset) {
    send_request({command_read, offset, static_cast<std::uint32_t>(out.size())}, {});
    await_reply();
    read_exactly(socket_.get(), out);
}

void Client::write(std::span<const char> bytes, std::uint64_t offset) {
    send_request({command_write, offset, static_cast<std::uint32_t>(bytes.size())}, bytes);
    await_reply();
}

void Client::write_zeroes(std::uint64_t length, std::uint64_t offset) {
    if ((flags_ & flag_send_write_zeroes) == 0) {
        const std::vector<char> zeros(length);
        write(zeros, offset);
        return;
    }
    send_request({command_write_zeroes, offset, static_cast<std::uint32_t>(length)}, {});
    await_reply();
}

void Client::flush() {
    if ((flags_ & flag_send_flush) == 0) return;
    send_request({command_flush, 0, 0}, {});
    await_reply();
}

void Client::disconnect() {
    send_request({command_disconnect, 0, 0}, {});
    socket_.reset();
}

void Client::send_request(const Request& request, std::span<const char> payload) {
    write_full(socket_.get(), Packet()
                                  .add(request_magic)
                                  .add(std::uint16_t{0})
                                  .add(request.command)
                                  .add(++last_cookie_)
                                  .add(request.offset)
                                  .add(request.length)
                                  .bytes());
    write_full(socket_.get(), payload);
}

void Client::await_reply() {
    const int fd = socket_.get();
    expect(take<std::uint32_t>(fd) == reply_magic, "garbage instead of a reply");
    const auto error = take<std::uint32_t>(fd);
    expect(take<std::uint64_t>(fd) == last_cookie_, "a reply to nothing");
    if (error != 0)
        throw std::system_error(static_cast<int>(error), std::generic_category(), "NBD");
}

}  // namespace basalt::sm::nbd
