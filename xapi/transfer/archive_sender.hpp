#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/nbd.hpp"
#include "xapi/core/call.hpp"
#include "xapi/rpc/http_auth.hpp"
#include "xapi/transfer/archive_writer.hpp"

namespace basalt::transfer {

/// An archive on its way to a client, whose answer has begun before the first bytes are sent. Looks
/// after the call's progress and stops when its task is cancelled.
class ArchiveSender {
  public:
    /// `total_bytes`: of all disks, for the progress. The first two outlive it.
    ArchiveSender(server::Exchange& exchange, Call& call, Compression compression,
                  std::uint64_t total_bytes);

    Task<void> file(std::string name, std::string content);
    /// The first so many bytes of a disk, as pieces under `folder`.
    Task<void> disk(std::string folder, std::unique_ptr<nbd::Client> from,
                    std::uint64_t size_bytes);
    Task<void> finish();

  private:
    struct Chunk {
        std::string name;
        std::string content;
        bool needed = false;  // also when it is all zeros
    };

    Task<void> send(std::string bytes);
    Task<void> put(std::shared_ptr<Chunk> chunk);

    server::Exchange& exchange_;
    Call& call_;
    Loop& loop_;
    std::shared_ptr<ArchiveWriter> writer_;
    std::uint64_t total_bytes_;
    std::uint64_t done_bytes_ = 0;
    Time last_output_;
};

}  // namespace basalt::transfer
