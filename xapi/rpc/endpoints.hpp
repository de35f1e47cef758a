#pragma once
#include <string>

#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/connection.hpp"

namespace basalt::server {

/// Serves decoded calls; the dispatcher, or a member's relay.
class Answerer {
  public:
    virtual ~Answerer() = default;
    /// Writes exactly one answer to `exchange`. Throws only what ends the connection.
    virtual Task<void> answer(Exchange& exchange, MethodCall call) = 0;

    /// The same, with the text that the call was read from, for who passes it on.
    virtual Task<void> answer_text(Exchange& exchange, MethodCall call, std::string /*body*/) {
        return answer(exchange, std::move(call));
    }
};

/// POST and OPTIONS on every path that carries calls. XML-RPC on `/` and so on any path that nobody
/// else takes; `/json` is XML-RPC too, in spite of its name; JSON-RPC on `/jsonrpc`.
void add_rpc_routes(Router& router, Loop& loop, Answerer& answerer, Limits& limits);

/// GET of the files under `directory` (the web UI) for paths that nobody else takes, with
/// `index.html` for what is no file. A file's copy with `.br` or `.gz` after its name is served to
/// who takes it; what lies under `/assets` never changes under its name, all else is asked for anew
/// by its tag. `policy` is the Content-Security-Policy; empty: nothing but the folder's own scripts
/// and styles, and calls of this host. Without a directory: 403 over the network, 404 on the unix
/// socket.
void add_static_route(Router& router, Loop& loop, std::string directory, std::string policy = {});

/// GET of the reference manual's pages under `/docs`, which need no session; 404 for what is no
/// page. Without a directory nothing is served there.
void add_manual_route(Router& router, Loop& loop, std::string directory);

/// The headers that let pages of other origins read answers.
[[nodiscard]] Parameters cors_headers();
/// The same as lines of a head.
[[nodiscard]] std::string_view cors_lines();

}  // namespace basalt::server
