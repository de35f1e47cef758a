#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "base/real_loop.hpp"
#include "base/stream.hpp"

namespace basalt {

/// Takes over a descriptor (made non-blocking). Any loop thread object of the real loop.
std::unique_ptr<FdStream> adopt_stream(RealLoop& loop, UniqueFd fd);
std::unique_ptr<Listener> adopt_listener(RealLoop& loop, UniqueFd fd);

/// Throws system_error (no such file, refused).
Task<std::unique_ptr<FdStream>> connect_unix(RealLoop& loop, std::string path);
/// `address` is numeric, v4 or v6: names are never resolved here.
Task<std::unique_ptr<FdStream>> connect_tcp(RealLoop& loop, std::string address,
                                            std::uint16_t port);
/// Replaces a stale socket file. `mode` as for chmod.
std::unique_ptr<Listener> listen_unix(RealLoop& loop, const std::string& path, unsigned mode);

/// The uid at the other end of a unix socket (SO_PEERCRED), or -1.
std::int64_t peer_uid(int fd);
/// The numeric address of the other end; empty for unix sockets.
std::string peer_address(int fd);

/// A connected pair of unix stream sockets.
std::pair<UniqueFd, UniqueFd> socket_pair();

}  // namespace basalt
