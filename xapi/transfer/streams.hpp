#pragma once
#include <functional>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "base/stream.hpp"
#include "xapi/rpc/http_auth.hpp"

/// Byte streams of disks and consoles: control here, the bytes come from and go to the host's
/// agent.
namespace basalt::transfer {

/// Makes a stream of a descriptor that hostd handed over.
using Adopt = std::function<std::unique_ptr<Stream>(UniqueFd)>;

/// CONNECT /console and, as a WebSocket, GET /console (README.md). All outlive the router.
void add_console_routes(server::Router& router, server::HttpAuth& auth, Adopt adopt);

/// Copies both ways until either side ends, at most so many bytes at a time.
Task<void> join_streams(Loop& loop, Stream& one, Stream& other, std::size_t piece_bytes = 16384);

/// Throws what `{"error":["CODE",...]}` says, as a host's agent writes it at either end of a
/// stream; VDI_IO_ERROR when the line is no answer at all.
void throw_if_error(const std::string& line);

/// Reads lines, and the bytes after them, from one stream.
class LineReader {
  public:
    explicit LineReader(Stream& stream) : stream_(stream) {}

    /// Up to the next newline, which is dropped; what there is when the stream ends before. At most
    /// 64 KiB.
    Task<std::string> line();
    /// As Stream::read_some, what was read ahead first.
    Task<std::size_t> read_some(std::span<char> buffer);

  private:
    Stream& stream_;
    std::string pending_;
};

}  // namespace basalt::transfer
