#pragma once
#include <string>

#include "base/stream.hpp"
#include "idl/params/host.hpp"
#include "xapi/transfer/vm_streams.hpp"

namespace basalt::transfer {

/// host.bugreport_upload: sends the bundle of /system-status of that host to a web server, by PUT.
/// INVALID_VALUE for an address that is none of http or https, and for options; INTERNAL_ERROR
/// [what failed] when the server does not take it.
Task<void> upload_bugreport(Call& call, Adopt adopt, Dial dial, xenapi::HostBugreportUpload params);

/// Sends all that `from` still has to a web server, by PUT, in chunks (RFC 9112, 7.1). A server
/// that takes nothing for a minute, and any answer but a success, is an INTERNAL_ERROR.
Task<void> put_stream(Loop& loop, Dial dial, std::string url, Stream& from);

}  // namespace basalt::transfer
