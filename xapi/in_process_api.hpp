#pragma once
#include "xapi/cli/api.hpp"
#include "xapi/rpc/dispatch.hpp"

namespace basalt {

/// XenAPI calls from within the daemon, for one peer: names, parameters, sessions and roles are
/// checked as for calls over the wire. The command line's server uses it.
class InProcessApi final : public cli::Api {
  public:
    InProcessApi(server::Dispatcher& dispatcher, server::Peer peer) : dispatcher_(dispatcher) {
        request_.peer = std::move(peer);
    }

    Task<wire::Value> call(std::string method, wire::Array params) override;
    Task<std::unique_ptr<cli::Records>> all_records(std::string class_name,
                                                    std::string session) override;

  private:
    server::Dispatcher& dispatcher_;
    server::HttpRequest request_;
};

}  // namespace basalt
