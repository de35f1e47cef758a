#include "xapi/member/hostd_client.hpp"

#include <boost/system/system_error.hpp>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/rpc.hpp"
#include "idl/errors.hpp"

namespace basalt::member {

struct HostdClient::Connection {
    Connection(Loop& loop, std::unique_ptr<rpc::Channel> channel)
        : peer(loop, std::move(channel), nullptr), client(loop, peer) {}

    rpc::Peer peer;
    agent::Client client;
};

namespace {

template <class Connection>
Task<void> pump(std::shared_ptr<Connection> connection) {
    co_await connection->peer.run();
}

}  // namespace

HostdClient::~HostdClient() {
    if (connection_) connection_->peer.close();
}

Task<std::shared_ptr<HostdClient::Connection>> HostdClient::connected() {
    if (connection_ && !connection_->peer.closed()) co_return connection_;
    std::string failure;
    try {
        connection_ = std::make_shared<Connection>(loop_, co_await parts_.connect_hostd());
    } catch (const boost::system::system_error& error) {
        if (is_cancellation(std::current_exception())) throw;
        failure = error.what();
    }
    if (!failure.empty()) {
        log::warn("hostd_unreachable", {{"error", failure}});
        throw err::host_still_booting();
    }
    spawn(loop_, "hostd client", pump(connection_));
    co_return connection_;
}

Task<void> HostdClient::login(std::string user, std::string password, std::string address) {
    const std::shared_ptr<Connection> connection = co_await connected();
    co_await connection->client.login({std::move(user), std::move(password), std::move(address)});
}

Task<UniqueFd> HostdClient::figure_updates(agent::MetricsUpdatesArgs args) {
    const std::shared_ptr<Connection> connection = co_await connected();
    co_return co_await connection->client.metrics_updates(std::move(args));
}

Task<UniqueFd> HostdClient::figures(agent::MetricsWholeArgs args) {
    const std::shared_ptr<Connection> connection = co_await connected();
    co_return co_await connection->client.metrics_whole(std::move(args));
}

}  // namespace basalt::member
