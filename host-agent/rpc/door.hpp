#pragma once
#include <set>

#include "base/real_net.hpp"
#include "host-agent/rpc/server.hpp"

namespace basalt::agent {

/// Accepts peers at a unix socket. Only processes of the given users are let in; the others are
/// closed at once, with a warning.
class Door {
  public:
    /// The server must outlive it.
    Door(Server& server, std::set<std::int64_t> users);

    /// Until the listener is closed; it must outlive the call.
    Task<void> run(Listener& listener);

  private:
    Server& server_;
    std::set<std::int64_t> users_;
};

}  // namespace basalt::agent
