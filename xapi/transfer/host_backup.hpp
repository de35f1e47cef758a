#pragma once
#include "xapi/rpc/http_auth.hpp"
#include "xapi/transfer/database.hpp"

namespace basalt::transfer {

/// GET /host_backup and PUT /host_restore: all that a host that was installed anew needs to be the
/// old one. A tar archive of
///
///     backup.json       what it is of: `format`, `host` (uuid), `time`, and the machine's settings
///     database.xml      as /pool/xmldbdump has it
///     certificate.pem   key and certificate that clients are shown
///     files/...         what lies beside the database: bytes of blobs, trusted certificates
///
/// It opens doors, as its database holds secrets: whoever keeps it guards it. Passwords of the
/// machine's users and the contents of disks are not in it.
///
/// A restore first looks at all of it, then puts it in place; the database is taken by the restart
/// that follows. What fails before has changed nothing.
/// RESTORE_SCRIPT_FAILED [why], RESTORE_INCOMPATIBLE_VERSION, COULD_NOT_IMPORT_DATABASE [why],
/// RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP. All outlive the router.
void add_host_backup_routes(server::Router& router, server::HttpAuth& auth, DatabaseFiles files);

}  // namespace basalt::transfer
