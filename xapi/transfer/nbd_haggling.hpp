#pragma once
#include <functional>
#include <memory>
#include <string>

#include "base/stream.hpp"
#include "xapi/core/limits.hpp"

/// The server's side of what NBD peers say to each other before they move data. What the client
/// names is opened on the disk's host by an NBD server of its own, which answers all that concerns
/// the disk; from then on the bytes are those two's.
namespace basalt::transfer {

struct NbdTerms {
    /// Begins TLS on what was in the clear; null when that failed. Empty: all stays in the clear.
    std::function<Task<std::unique_ptr<Stream>>(std::unique_ptr<Stream>)> start_tls;
    /// Opens what the client named: a stream to an NBD server whose export is called "disk".
    /// Throws ApiError, whose text the client is told.
    std::function<Task<std::unique_ptr<Stream>>(std::string name)> open;
};

struct NbdPeers {
    std::unique_ptr<Stream> client;  ///< null: TLS failed
    std::unique_ptr<Stream> disk;    ///< null: the client left without a disk
};

/// Agrees with the client on a disk. With TLS nothing is named before it has begun. The client must
/// be done within head_time in the clear and again behind TLS. Throws system_error when it leaves
/// or breaks the protocol.
Task<NbdPeers> haggle_nbd(Loop& loop, Limits& limits, std::unique_ptr<Stream> client,
                          const NbdTerms& terms);

}  // namespace basalt::transfer
