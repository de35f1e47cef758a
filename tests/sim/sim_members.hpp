#pragma once
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/sim_pool.hpp"
#include "xapi/member/member.hpp"
#include "xapi/pool/links.hpp"
#include "xapi/rpc/dispatch.hpp"
#include "xapi/rpc/server.hpp"

namespace basalt::testing {

/// A SimPool whose coordinator has doors, and members before further simulated hosts: real relays,
/// real links, in one process under virtual time.
class SimMembers {
  public:
    SimMembers(std::uint64_t seed, int members);
    ~SimMembers();

    /// What a client gets who POSTs an XML-RPC call to that member.
    struct Client {
        bool unix_socket = true;
        bool trusted = true;
    };

    std::string post(std::size_t member, const std::string& method,
                     const std::vector<std::string>& params, Client client);
    std::string post(std::size_t member, const std::string& method,
                     const std::vector<std::string>& params);

    /// Between a member and the coordinator nothing goes through any more, or again.
    void cut(std::size_t member, bool off);
    /// The coordinator's xapi is killed with power and started again.
    void crash_coordinator();

    [[nodiscard]] bool is_ready(std::size_t member);
    [[nodiscard]] xenapi::Ref<xenapi::Host> row(std::size_t member);

    SimPool pool;

    struct Node {
        std::unique_ptr<agent::sim::SimHost> host;
        std::unique_ptr<member::Member> member;
        Limits limits;
        server::Router router;
        std::unique_ptr<server::Server> server;
        std::vector<std::weak_ptr<Stream>> wires;  // to the coordinator
        bool cut = false;
    };

    std::vector<std::unique_ptr<Node>> nodes;

  private:
    struct Front;
    Task<std::unique_ptr<Stream>> dial(Node& node);
    void open_front();
    void close_front();

    server::Metrics metrics_;
    std::unique_ptr<Front> front_;
};

}  // namespace basalt::testing
