#include "xapi/member/idle_connections.hpp"

#include <algorithm>
#include <array>

#include "idl/errors.hpp"

namespace basalt::member {

namespace {

Task<void> hear_something(pool::AnswerReader& connection) {
    std::array<char, 1> byte{};
    co_await connection.read_some(byte);
}

}  // namespace

Task<std::unique_ptr<pool::AnswerReader>> IdleConnections::take(const server::Peer& peer) {
    const bool trusted = peer.trusted;
    while (peer.unix_socket) {
        const auto found = std::ranges::find_if(
            idle_, [trusted](const auto& idle) { return idle->trusted == trusted; });
        if (found == idle_.end()) break;
        const std::shared_ptr<Idle> idle = *found;
        idle_.erase(found);
        // A read that is cancelled has taken nothing.
        idle->watch->cancel();
        co_await idle->watch->wait();
        if (!idle->over) co_return std::move(idle->connection);
    }
    co_return nullptr;
}

void IdleConnections::give(const server::Peer& peer,
                           std::unique_ptr<pool::AnswerReader> connection) {
    // A client over the network has an address of its own, which its connection told.
    if (!peer.unix_socket || idle_.size() >= connections_max) return;
    const auto idle =
        std::make_shared<Idle>(Idle{.connection = std::move(connection), .trusted = peer.trusted});
    idle_.push_front(idle);
    idle->watch = spawn(loop_, "idle connection", watch(idle));
}

Task<void> IdleConnections::watch(std::shared_ptr<Idle> idle) {
    try {
        co_await within(loop_, kept, hear_something(*idle->connection), err::host_still_booting());
    } catch (const std::exception&) {
        if (is_cancellation(std::current_exception()) &&
            std::ranges::find(idle_, idle) == idle_.end())
            co_return;  // somebody takes it
    }
    idle->over = true;
    idle_.remove(idle);
}

void IdleConnections::clear() {
    for (const auto& idle : std::exchange(idle_, {})) {
        idle->over = true;
        idle->connection->stream().close();
    }
}

}  // namespace basalt::member
