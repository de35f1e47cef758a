#pragma once
#include <string_view>

/// What the hosts of a pool say to each other, over TLS that proves both ends (rpc/tls.hpp,
/// PoolConnector). Paths and headers; bodies are JSON, an error is {"error": ["CODE", "p", ...]}.
namespace basalt::pool {

/// {} -> {"pool", "coordinator", "fingerprint", "fingerprint_sha1"}: I live; do you lead?
inline constexpr std::string_view hello_path = "/basalt/pool/hello";
/// {"session"} -> {"user", "root", "pool", "roles"}: who holds this session.
inline constexpr std::string_view session_path = "/basalt/pool/session";
/// Becomes the host-agent protocol; the coordinator asks, the member's hostd answers.
inline constexpr std::string_view agent_path = "/basalt/pool/agent";
/// Becomes the bytes of a descriptor that hostd handed over in a frame, by `token_header`.
inline constexpr std::string_view stream_path = "/basalt/pool/stream";
/// Becomes a connection of a client of the member's; see the headers below.
inline constexpr std::string_view relay_path = "/basalt/pool/relay";

inline constexpr std::string_view token_header = "Basalt-Token";
/// "unix": by the member's socket; absent: over the network.
inline constexpr std::string_view door_header = "Basalt-Door";
/// "yes": the client is root on the member.
inline constexpr std::string_view trusted_header = "Basalt-Trusted";
inline constexpr std::string_view address_header = "Basalt-Address";

/// In a frame of the host-agent protocol: the tokens of its descriptors, in order.
inline constexpr const char* streams_key = "streams";

}  // namespace basalt::pool
