#pragma once
#include "xapi/cli/api.hpp"
#include "xapi/member/member.hpp"

namespace basalt {

/// The calls that a pool's member serves itself, for the command line's server. Others throw
/// HOST_IS_SLAVE, or why this host is cut off.
class MemberApi final : public cli::Api {
  public:
    MemberApi(member::Member& member, server::Peer peer)
        : member_(member), peer_(std::move(peer)) {}

    Task<wire::Value> call(std::string method, wire::Array params) override {
        const xenapi::Reply reply =
            co_await member_.local_call(std::move(method), std::move(params), peer_);
        std::string text;
        wire::JsonWriter writer(text);
        reply.write_json(writer);
        co_return wire::parse_json(text);
    }

  private:
    member::Member& member_;
    server::Peer peer_;
};

}  // namespace basalt
