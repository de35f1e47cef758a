#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/wait.hpp"
#include "xapi/core/core.hpp"
#include "xapi/rpc/sessions.hpp"
#include "xapi/transfer/streams.hpp"

namespace basalt::transfer {

/// Serves disks to programs that back them up, over the NBD protocol and read-only (README.md).
/// VDI.get_nbd_info says where and by which name. Loop only; all outlive it.
class NbdServer {
  public:
    /// Begins TLS with a peer; null when that failed.
    using StartTls = std::function<Task<std::unique_ptr<Stream>>(std::unique_ptr<Stream> stream,
                                                                 std::string peer)>;

    NbdServer(core::Core& core, server::Sessions& sessions, Adopt adopt, StartTls start_tls);
    ~NbdServer();
    NbdServer(const NbdServer&) = delete;
    NbdServer& operator=(const NbdServer&) = delete;

    /// Accepts from it until `stop`.
    void listen(std::unique_ptr<Listener> listener);

    /// The addresses of a connection's two ends.
    struct Ends {
        std::string ours;
        std::string peer;
    };

    /// Serves a connection to its end. Nobody is answered on an address that belongs to no network
    /// of the purpose.
    Task<void> serve(std::unique_ptr<Stream> client, Ends ends);

    /// Cuts what is open.
    Task<void> stop();

    [[nodiscard]] std::size_t connections() const { return connections_.size(); }

  private:
    Task<void> accept_loop(std::shared_ptr<Listener> listener);
    Task<void> run(std::unique_ptr<Stream> client, Ends ends, std::uint64_t id);
    Task<std::unique_ptr<Stream>> open(std::string name, std::string peer);

    core::Core& core_;
    server::Sessions& sessions_;
    Adopt adopt_;
    StartTls start_tls_;
    std::shared_ptr<Listener> listener_;
    std::shared_ptr<Job> accepting_;
    std::map<std::uint64_t, std::shared_ptr<Job>> connections_;
    std::multimap<std::string, std::uint64_t> by_peer_;
    std::uint64_t last_id_ = 0;
};

}  // namespace basalt::transfer
