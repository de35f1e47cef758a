#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace basalt::cli::client {

/// A blocking connection: this program does one thing at a time. Failures throw
/// std::runtime_error with a text for the user.
class Channel {
  public:
    virtual ~Channel() = default;
    /// At least one byte, or 0 at the end.
    virtual std::size_t read(std::span<char> buffer) = 0;
    virtual void write(std::string_view bytes) = 0;
    /// Tells the peer that no more comes; reading goes on.
    virtual void end_writing() = 0;
    /// For poll; with `buffered`, whether a read would not wait.
    [[nodiscard]] virtual int fd() const = 0;

    [[nodiscard]] virtual bool buffered() const { return false; }

    /// Exactly that many bytes; nullopt when the peer ends at their start.
    std::optional<std::string> read_exactly(std::size_t count);
};

/// Where the server is.
struct Address {
    std::string unix_path;  ///< wins over the rest
    std::string host;
    std::string port;
    bool tls = false;
};

/// Throws std::runtime_error.
[[nodiscard]] std::unique_ptr<Channel> open_channel(const Address& address);

}  // namespace basalt::cli::client
