#include "xapi/transfer/nbd_server.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <optional>
#include <vector>

#include "base/log.hpp"
#include "base/real_net.hpp"
#include "idl/errors.hpp"
#include "idl/records/network.hpp"
#include "idl/records/pif.hpp"
#include "idl/records/sr.hpp"
#include "idl/records/vdi.hpp"
#include "xapi/core/homes.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/vdi_nbd.hpp"
#include "xapi/domain/views.hpp"
#include "xapi/rpc/accept.hpp"
#include "xapi/rpc/http_auth.hpp"
#include "xapi/transfer/nbd_haggling.hpp"

namespace basalt::transfer {

namespace {

using xenapi::Ref;

/// For what passes in one read: a backup reads much.
constexpr std::size_t piece_bytes = std::size_t{128} * 1024;

/// The numeric address of our end; empty for none.
std::string own_address(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* number = nullptr;
    if (address.ss_family == AF_INET)
        number = &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
    if (address.ss_family == AF_INET6)
        number = &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
    if (number == nullptr ||
        ::inet_ntop(address.ss_family, number, text.data(), text.size()) == nullptr)
        return {};
    return text.data();
}

/// What a client names: "/VDI?session_id=SESSION".
struct Wanted {
    std::string vdi;  // uuid
    std::string session;
};

Wanted parse_export_name(const std::string& name) {
    const std::size_t mark = name.find('?');
    if (!name.starts_with('/') || mark == std::string::npos)
        throw err::invalid_value("export name", "it is /VDI?session_id=SESSION");
    const server::Parameters query =
        server::parse_parameters(std::string_view(name).substr(mark + 1), "&");
    const std::string* session = server::find(query, "session_id");
    return {server::percent_decoded(std::string_view(name).substr(1, mark - 1), false),
            session == nullptr ? std::string() : *session};
}

}  // namespace

NbdServer::NbdServer(core::Core& core, server::Sessions& sessions, Adopt adopt, StartTls start_tls)
    : core_(core),
      sessions_(sessions),
      adopt_(std::move(adopt)),
      start_tls_(std::move(start_tls)) {}

NbdServer::~NbdServer() = default;

void NbdServer::listen(std::unique_ptr<Listener> listener) {
    listener_ = std::move(listener);
    accepting_ = spawn(core_.loop, "accept nbd", accept_loop(listener_));
}

Task<void> NbdServer::accept_loop(std::shared_ptr<Listener> listener) {
    while (auto stream = co_await server::accept_next(core_.loop, *listener,
                                                      [this] { return core_.stopping; })) {
        Ends ends{own_address(stream->fd()), peer_address(stream->fd())};
        const bool full = connections_.size() >= core_.limits.max(Limit::connections) ||
                          by_peer_.count(ends.peer) >= core_.limits.max(Limit::connections_of_peer);
        if (full) {
            core_.limits.exceeded(Limit::connections_of_peer);
            stream->close();
            continue;
        }
        const std::uint64_t id = ++last_id_;
        by_peer_.emplace(ends.peer, id);
        // The entry first: the coroutine may end before spawn returns.
        connections_[id] = nullptr;
        auto job = spawn(core_.loop, "nbd", run(std::move(stream), std::move(ends), id));
        if (const auto at = connections_.find(id); at != connections_.end()) at->second = job;
    }
}

Task<void> NbdServer::run(std::unique_ptr<Stream> client, Ends ends, std::uint64_t id) {
    struct Entry {
        NbdServer& server;
        std::uint64_t id;

        ~Entry() {
            std::erase_if(server.by_peer_, [&](const auto& entry) { return entry.second == id; });
            server.connections_.erase(id);
        }
    };

    const Entry entry{*this, id};
    co_await serve(std::move(client), std::move(ends));
}

Task<void> NbdServer::serve(std::unique_ptr<Stream> client, Ends ends) {
    const auto purpose = domain::nbd_purpose_of(core_, ends.ours);
    if (!purpose) {
        client->close();
        co_return;
    }
    NbdTerms terms;
    if (*purpose == xenapi::NetworkPurpose::nbd)
        terms.start_tls = [this, peer = ends.peer](std::unique_ptr<Stream> stream) {
            return start_tls_(std::move(stream), peer);
        };
    terms.open = [this, peer = ends.peer](std::string name) { return open(std::move(name), peer); };
    NbdPeers peers;
    try {
        peers = co_await haggle_nbd(core_.loop, core_.limits, std::move(client), terms);
    } catch (const boost::system::system_error&) {
        co_return;  // it left, or was never a client of this protocol
    }
    if (peers.disk) co_await join_streams(core_.loop, *peers.client, *peers.disk, piece_bytes);
    if (peers.client) peers.client->close();
}

Task<std::unique_ptr<Stream>> NbdServer::open(std::string name, std::string peer) {
    const Wanted wanted = parse_export_name(name);
    server::HttpRequest request;
    request.peer.address = std::move(peer);
    const Caller caller = sessions_.caller(wanted.session, request);
    if (caller.file) throw err::session_invalid(wanted.session);
    // As who attaches a disk to the host by hand.
    server::require_role(caller, server::roles_from("vm-admin"), "vbd.plug");
    const auto vdi = core_.db.by_uuid<xenapi::Vdi>(wanted.vdi);
    if (!vdi) throw err::uuid_invalid("VDI", wanted.vdi);
    core_.db.transact(
        [&](db::Txn& txn) { domain::require(txn, *vdi, xenapi::VdiOperations::copy); });
    log::info("nbd_export", {{"vdi", wanted.vdi}, {"peer", caller.address}, {"user", caller.user}});
    agent::Host& agent = core::home_agent(core_, core_.db.get(*vdi).SR);
    co_return adopt_(co_await agent.vdi_open({core::disk_ref(core_.db, *vdi), agent::Access::ro}));
}

Task<void> NbdServer::stop() {
    if (listener_) listener_->close();
    if (accepting_) accepting_->cancel();
    std::vector<std::shared_ptr<Job>> left;
    for (const auto& [id, job] : connections_)
        if (job) left.push_back(job);
    for (const auto& job : left)
        job->cancel();
    for (const auto& job : left)
        co_await job->wait();
    if (accepting_) co_await accepting_->wait();
}

}  // namespace basalt::transfer
