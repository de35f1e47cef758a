#pragma once
#include <list>
#include <memory>

#include "base/wait.hpp"
#include "xapi/pool/client.hpp"
#include "xapi/rpc/http.hpp"

namespace basalt::member {

/// Connections to the coordinator on which a client's request has been answered, kept for the next
/// client of the same kind: making one costs more than most calls. One that ends, or says anything
/// unasked, is dropped at once. Loop only.
class IdleConnections {
  public:
    static constexpr std::size_t connections_max = 8;
    static constexpr Duration kept = 1min;

    explicit IdleConnections(Loop& loop) : loop_(loop) {}

    /// One that passes on for such a peer; null: there is none.
    Task<std::unique_ptr<pool::AnswerReader>> take(const server::Peer& peer);
    /// Keeps it, unless there are enough or the peer is not one of many alike.
    void give(const server::Peer& peer, std::unique_ptr<pool::AnswerReader> connection);
    /// Drops them all.
    void clear();

  private:
    struct Idle {
        std::unique_ptr<pool::AnswerReader> connection;
        bool trusted = false;
        bool over = false;
        std::shared_ptr<Job> watch{};
    };

    Task<void> watch(std::shared_ptr<Idle> idle);

    Loop& loop_;
    std::list<std::shared_ptr<Idle>> idle_;
};

}  // namespace basalt::member
