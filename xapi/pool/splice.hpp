#pragma once
#include "base/loop.hpp"
#include "base/stream.hpp"

namespace basalt::pool {

/// Copies both ways between a client and a server until the server has ended. The client's end of
/// stream is passed on and the answer still comes: uploads end so. A side that breaks ends both.
/// Closes both; throws only cancellation.
Task<void> splice(Loop& loop, Stream& client, Stream& server);

}  // namespace basalt::pool
