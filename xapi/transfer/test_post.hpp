#pragma once
#include <string>

#include "idl/params/pool.hpp"
#include "xapi/transfer/vm_streams.hpp"

namespace basalt::transfer {

/// pool.send_test_post: posts the body to that machine over TLS and answers the body of what it
/// answers, of at most 256 KiB. For who wants to know whether the coordinator gets there at all, so
/// that any answer is one, whatever its status. INVALID_VALUE for the port; INTERNAL_ERROR
/// [what failed] when there is none within 30 seconds.
Task<std::string> send_test_post(Loop& loop, Dial dial, xenapi::PoolSendTestPost params);

}  // namespace basalt::transfer
