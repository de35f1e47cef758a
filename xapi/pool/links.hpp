#pragma once
#include <map>
#include <memory>
#include <string>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/pool/loan.hpp"
#include "xapi/rpc/connection.hpp"
#include "xapi/rpc/sessions.hpp"

namespace basalt::pool {

/// What the coordinator needs to serve its members.
struct LinkParts {
    Loop& loop;
    core::Core& core;
    server::Sessions& sessions;
    /// Serves what members pass on; the router to which the routes are added will do.
    const server::Router& router;
    /// From the moment a host announces itself: keep its agent connected. Once a host.
    std::function<void(std::string uuid, core::Hosts::Connect connect)> keep;
    /// A descriptor whose other end carries what the stream does. Null where there are none.
    std::function<UniqueFd(std::unique_ptr<Stream>)> descriptor_of;
    /// Of the certificate that clients see here.
    std::function<std::string()> fingerprint_sha256;
};

/// The coordinator's side of its members: they call, it answers. A member proves by its certificate
/// which host it is; then it says hello every few seconds, offers the connection by which its hostd
/// is asked, and passes on its clients' requests. Loop only.
class MemberLinks {
  public:
    /// A member that has said nothing for so long is gone, whatever its connections look like.
    static constexpr Duration silence_max = 20s;
    static constexpr std::size_t streams_max = 256;  // of one member, not yet asked for
    static constexpr Duration stream_kept = 30s;     // until somebody asks for it

    explicit MemberLinks(LinkParts parts);
    ~MemberLinks();
    MemberLinks(const MemberLinks&) = delete;
    MemberLinks& operator=(const MemberLinks&) = delete;

    void add_routes(server::Router& router);
    /// Lets go of members that fell silent, and of streams that nobody wanted. Until cancelled.
    Task<void> watch();
    /// Ends all connections to members, so that a server that stops need not wait for them.
    void close();

  private:
    struct Member;
    class FarChannel;
    using Answer = Json (MemberLinks::*)(const server::HttpRequest&, const Json&);

    void add_question(server::Router& router, std::string_view path, Answer answer);
    Json hello(const server::HttpRequest& request, const Json& question);
    Json session(const server::HttpRequest& request, const Json& question);
    Task<void> serve_agent(server::Exchange& exchange);
    Task<void> serve_stream(server::Exchange& exchange);
    Task<void> serve_relay(server::Exchange& exchange);
    std::shared_ptr<Member> member(const server::HttpRequest& request);
    Task<std::unique_ptr<rpc::Channel>> next_channel(std::string uuid);
    UniqueFd take_descriptor(const std::string& uuid, const Json& token);

    LinkParts parts_;
    std::map<std::string, std::shared_ptr<Member>> members_;
    server::HttpCounts relayed_;
};

}  // namespace basalt::pool
