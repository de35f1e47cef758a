#pragma once
#include <memory>

#include "base/rpc_fwd.hpp"
#include "base/stream.hpp"

namespace basalt::rpc {

/// Frames over any stream, in the form that `socket_channel` has; for peers on other machines. A
/// frame with descriptors cannot be sent: system_error (not_supported).
std::unique_ptr<Channel> stream_channel(Loop& loop, std::unique_ptr<Stream> stream);

}  // namespace basalt::rpc
