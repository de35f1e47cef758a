#pragma once
#include <functional>
#include <memory>

#include "base/stream.hpp"

namespace basalt::server {

/// The next connection, however long descriptors have run out; null once `stopping` says so.
Task<std::unique_ptr<FdStream>> accept_next(Loop& loop, Listener& listener,
                                            std::function<bool()> stopping);

}  // namespace basalt::server
