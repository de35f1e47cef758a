#pragma once
#include <functional>
#include <memory>

#include "base/loop.hpp"
#include "base/stream.hpp"
#include "xapi/cli/api.hpp"
#include "xapi/rpc/connection.hpp"

namespace basalt::cli {

/// Calls on behalf of a connection's peer: the peer decides what a login needs.
using OpenApi = std::function<std::unique_ptr<Api>(const server::Peer& peer)>;

/// `POST /cli`: reads the command, takes the connection over and drives the client.
void add_cli_route(server::Router& router, OpenApi open);

/// Runs the command of a request's body with the client at the other end of `stream`.
/// Throws what the stream throws; everything else is told to the user.
Task<void> serve_command(Stream& stream, Api& api, std::string body);

}  // namespace basalt::cli
