#pragma once
#include <functional>
#include <string>

#include "xapi/rpc/http_auth.hpp"

namespace basalt::transfer {

struct DatabaseFiles {
    std::string store;      ///< the store's file
    std::string host_uuid;  ///< of this host
    /// A restored database waits for the next start: ends the process, soon but not at once.
    std::function<void()> restart;
};

/// GET and PUT /pool/xmldbdump: the whole database out, and in. `dry_run` only looks. A restore
/// answers (its task ends) when the new database is durable beside the old one; the restart that
/// follows takes it. All outlive the router.
void add_database_routes(server::Router& router, server::HttpAuth& auth, DatabaseFiles files);

}  // namespace basalt::transfer
