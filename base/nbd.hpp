#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/stream.hpp"

/// The client half of the NBD protocol, as much of it as a byte store needs: one export, one
/// request at a time.
namespace basalt::nbd {

/// The most that one read or write may carry: every server takes it.
constexpr std::size_t request_bytes_max = std::size_t{1} << 20;

/// Throws INTERNAL_ERROR with what the server answered. Loop only.
class Client {
  public:
    /// Greets the server at the other end of `stream` in the fixed newstyle and opens `name`.
    static Task<std::unique_ptr<Client>> open(std::unique_ptr<Stream> stream, std::string name);

    [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

    /// The transmission flags of the protocol, as the server gave them.
    [[nodiscard]] std::uint16_t flags() const { return flags_; }

    Task<void> read(std::uint64_t offset, std::span<char> out);
    /// `bytes` must outlive the call. SR_FULL-like failures come as INTERNAL_ERROR "no space".
    Task<void> write(std::uint64_t offset, std::string_view bytes);
    /// The range reads as zeros; it may become a hole.
    Task<void> write_zeroes(std::uint64_t offset, std::uint32_t length);
    /// What has been written is durable when it returns.
    Task<void> flush();
    /// Says good-bye and closes.
    Task<void> disconnect();
    void close();

  private:
    explicit Client(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) {}

    struct Head {
        std::uint16_t type = 0;
        std::uint64_t offset = 0;
        std::uint32_t length = 0;
    };

    Task<void> greet(std::string name);
    Task<std::string> take(std::size_t size);
    Task<void> take_into(std::span<char> out);
    Task<void> send(Head head, std::string_view payload);
    Task<void> await_reply();

    std::unique_ptr<Stream> stream_;
    std::uint64_t size_bytes_ = 0;
    std::uint64_t last_cookie_ = 0;
    std::uint16_t flags_ = 0;
};

}  // namespace basalt::nbd
