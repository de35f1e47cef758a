#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "base/fd.hpp"

namespace basalt {

class Loop;

/// A connection: bytes in order, both ways. Loop only; one reader and one writer at a time;
/// cancellable.
class Stream {
  public:
    virtual ~Stream() = default;

    /// At least one byte, or 0 at the end of the stream. Throws system_error.
    virtual Task<std::size_t> read_some(std::span<char> buffer) = 0;
    /// All of it. The bytes must outlive the call.
    virtual Task<void> write(std::string_view bytes) = 0;
    /// The peer reads an end of stream; reading here goes on.
    virtual void shutdown_write() = 0;
    /// Idempotent; a read or write under way fails.
    virtual void close() = 0;
};

/// A message with descriptors, as a unix socket carries it.
struct FdMessage {
    std::size_t bytes = 0;
    std::vector<UniqueFd> fds;
};

/// A Stream over any descriptor that can be polled (socket, socketpair, pipe, terminal).
class FdStream : public Stream {
  public:
    [[nodiscard]] virtual int fd() const = 0;
    /// Unix sockets only: what arrives, with the descriptors that came with it.
    virtual Task<FdMessage> read_with_fds(std::span<char> buffer) = 0;
    /// Unix sockets only: all of it, the descriptors with its first byte.
    virtual Task<void> write_with_fds(std::string_view bytes, std::span<const UniqueFd> fds) = 0;
};

/// Accepts connections from a listening socket.
class Listener {
  public:
    virtual ~Listener() = default;
    virtual Task<std::unique_ptr<FdStream>> accept() = 0;
    virtual void close() = 0;
};

/// Two ends joined in memory, with a buffer of at most 256 KiB each way.
std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> memory_streams(Loop& loop);

}  // namespace basalt
