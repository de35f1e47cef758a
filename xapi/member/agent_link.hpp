#pragma once
#include <memory>

#include "base/wait.hpp"
#include "xapi/member/parts.hpp"

namespace basalt::member {

/// Lets the coordinator ask this host's hostd: a connection to each, and every frame passed on as
/// it is, both ways. Descriptors that hostd hands over become streams of their own. Kept up for
/// ever; the loss of one side ends the other, so that neither believes in a partner that is gone.
class AgentLink {
  public:
    AgentLink(Loop& loop, const MemberParts& parts) : loop_(loop), parts_(parts) {}

    /// Until cancelled.
    Task<void> keep_up();

  private:
    struct Ends;
    Task<void> connect_and_pass();
    Task<void> pass(std::shared_ptr<Ends> ends, rpc::Channel& from, rpc::Channel& to);
    Task<void> open_streams(rpc::Frame& frame);
    Task<std::string> open_stream(UniqueFd fd);

    Loop& loop_;
    const MemberParts& parts_;
};

}  // namespace basalt::member
