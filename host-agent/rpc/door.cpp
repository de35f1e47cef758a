#include "host-agent/rpc/door.hpp"

#include <boost/system/system_error.hpp>

#include "base/log.hpp"

namespace basalt::agent {

namespace {
// xapi, its restarted self, a few tools: more peers than this are a fault of theirs.
constexpr std::size_t connections_max = 64;
}  // namespace

Door::Door(Server& server, std::set<std::int64_t> users)
    : server_(server), users_(std::move(users)) {}

Task<void> Door::run(Listener& listener) {
    for (;;) {
        std::unique_ptr<FdStream> stream;
        try {
            stream = co_await listener.accept();
        } catch (const boost::system::system_error& error) {
            log::info("socket_closed", {{"why", error.what()}});
            co_return;
        }
        const std::int64_t uid = peer_uid(stream->fd());
        if (!users_.contains(uid)) {
            log::warn("peer_refused", {{"uid", uid}});
            continue;
        }
        if (server_.connections() >= connections_max) {
            log::warn("too_many_peers", {{"uid", uid}});
            continue;
        }
        server_.serve(rpc::socket_channel(server_.loop(), std::move(stream)));
    }
}

}  // namespace basalt::agent
