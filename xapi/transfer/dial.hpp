#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "base/real_loop.hpp"
#include "base/stream.hpp"

namespace basalt::transfer {

/// A connection to a host by its name or address, the first of its addresses that answers. With
/// TLS whatever certificate is shown counts, as while a pool has TLS verification switched off.
/// Throws IMPORT_ERROR.
Task<std::unique_ptr<Stream>> dial(RealLoop& loop, std::string host, std::uint16_t port, bool tls);

}  // namespace basalt::transfer
