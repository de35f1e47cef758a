#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "base/fd.hpp"

/// The client half of the NBD protocol over a connected socket, one request at a time.
/// Every call blocks: helper programs and tests, never the loop. Failures throw std::runtime_error.
namespace basalt::sm::nbd {

constexpr std::size_t request_bytes_max = std::size_t{1} << 20;

class Client {
  public:
    /// Negotiates the export `name` in the fixed newstyle.
    Client(UniqueFd socket, const std::string& name);
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

    [[nodiscard]] bool writable() const;

    /// At most request_bytes_max.
    void read(std::span<char> out, std::uint64_t offset);
    void write(std::span<const char> bytes, std::uint64_t offset);
    /// The range reads as zeros; it may become a hole.
    void write_zeroes(std::uint64_t length, std::uint64_t offset);
    /// What was written before is durable when it returns.
    void flush();
    /// Says good-bye and closes; the destructor only closes.
    void disconnect();

  private:
    struct Request {
        std::uint16_t command;
        std::uint64_t offset;
        std::uint32_t length;
    };

    void negotiate(const std::string& name);
    void send_request(const Request& request, std::span<const char> payload);
    void await_reply();

    UniqueFd socket_;
    std::uint64_t size_bytes_ = 0;
    std::uint16_t flags_ = 0;
    std::uint64_t last_cookie_ = 0;
};

/// Reads until the buffer is full or the stream ends; answers with the number of bytes.
std::size_t read_full(int fd, std::span<char> out);
void write_full(int fd, std::span<const char> bytes);

}  // namespace basalt::sm::nbd
