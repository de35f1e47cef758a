#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/loop.hpp"
#include "base/stream.hpp"
#include "xapi/cli/api.hpp"
#include "xapi/rpc/connection.hpp"

namespace basalt::cli {

/// Calls on behalf of a connection's peer: the peer decides what a login needs.
using OpenApi = std::function<std::unique_ptr<Api>(const server::Peer& peer)>;

/// `POST /cli`: reads the command, takes the connection over and drives the client.
void add_cli_route(server::Router& router, OpenApi open);

/// `POST /cli` of a pool's member.
struct MemberDoor {
    OpenApi open_here;  ///< for commands that are never forwarded
    /// Everything else goes to the coordinator, with the body that was read. Throws ApiError while
    /// the coordinator has heard nothing.
    std::function<Task<void>(server::Exchange&, std::string body)> pass_on;
    /// Why a peer's command is not passed on: HOST_IS_SLAVE over the network, or being cut off.
    std::function<std::optional<ApiError>(const server::Peer&)> why_refused;
};

void add_member_cli_route(server::Router& router, MemberDoor door);

/// Runs the command of a request's body with the client at the other end of `stream`.
/// Throws what the stream throws; everything else is told to the user.
Task<void> serve_command(Stream& stream, Api& api, std::string body);

}  // namespace basalt::cli
