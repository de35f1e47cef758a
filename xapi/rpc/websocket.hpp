#pragma once
#include <optional>

#include "xapi/rpc/connection.hpp"

namespace basalt::server {

/// Whether a GET asks to become a WebSocket (RFC 6455). Such clients follow no redirects.
[[nodiscard]] bool wants_websocket(const HttpRequest& request);

/// The page for a request that cannot become a WebSocket here: 400 for one that does not ask
/// properly or that offers subprotocols without `binary`, 426 for another version than 13.
[[nodiscard]] std::optional<Response> why_no_websocket(const HttpRequest& request);

/// Answers 101 to a request that `why_no_websocket` lets pass, then copies both ways until either
/// side has ended. What messages of any type carry goes to `other` as bytes; what `other` says goes
/// out in binary messages of at most 16 KiB. Pings are answered; an idle peer is pinged each
/// websocket_ping_time and cut when it stays silent as long again; a message over
/// websocket_message_bytes ends with close code 1009, the end of `other` with 1000. Closes both.
/// Throws only cancellation. All outlive it.
Task<void> serve_websocket(Loop& loop, Limits& limits, Exchange& exchange, Stream& other);

}  // namespace basalt::server
