#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "xapi/db/rows.hpp"
#include "xapi/db/store/store.hpp"

/// The whole database as one XML file, and what else is done with a store from outside: by the HTTP
/// actions of /pool/xmldbdump while the server runs, by `xapi store` without it. Everything blocks,
/// and throws INTERNAL_ERROR when a file cannot be read or written.
///
///     <database format="1" schema="2" epoch=".." store_id=".." reserved=".." lost_below="..">
///       <row class="VM" ref=".." serial=".." created=".." modified="..">{"uuid":...}</row>
///       <deleted class="VM" ref=".." created=".." generation=".." time=".."/>
///       <end rows=".." deleted=".."/>
///     </database>
///
/// Rows are as the store has them, so that a restore brings back all that a restart would.
namespace basalt::db {

class Database;

/// Writes everything stored so far to `to`, which is replaced. The store may be in use.
void write_dump(const std::string& store, const std::string& to);

/// Throws COULD_NOT_IMPORT_DATABASE for what is no dump or not a whole one,
/// RESTORE_INCOMPATIBLE_VERSION for one of a newer version.
[[nodiscard]] StoreContents read_dump(const std::string& from);

/// The database in a dump, to be looked at: what is changed in it is stored nowhere. It may be made
/// on any thread, and is then used on one. Throws as `read_dump` does.
[[nodiscard]] std::shared_ptr<Database> open_dump(const std::string& from);

/// What a database stores, as it was at one moment. Taken at once; any thread may read it.
struct Picture {
    StoreContents heading;  ///< without rows
    std::vector<Rows> tables;
};

/// Loop only. Deletions are not in it: nobody asks a copy what went before it was made.
[[nodiscard]] Picture picture_of(const Database& db);
/// A dump of it. The same rows make the same text. Takes about a second for 100,000 rows: not on
/// the loop.
[[nodiscard]] std::string dump_text(const Picture& picture);

/// As `open_dump`, of the text itself.
[[nodiscard]] std::shared_ptr<Database> open_dump_text(const std::string& text);

/// What a store holds.
struct StoreReport {
    std::uint64_t version = 0;  ///< of the file's layout
    std::uint64_t epoch = 0;
    std::map<std::string, std::size_t> rows;  ///< by class, those of unknown classes too
    std::size_t tombstones = 0;
};

/// Reads every row as a start does. Throws INTERNAL_ERROR that names the first one that cannot be
/// read, or says what is wrong with the file. The store may be in use; it is not changed.
StoreReport check_store(const std::string& store);

/// The same for contents that are in no store yet. Throws COULD_NOT_IMPORT_DATABASE; a database in
/// which `host` (a uuid) is not: RESTORE_TARGET_MGMT_IF_NOT_IN_BACKUP. Another host that led the
/// pool then leads it no more: `host` does.
StoreReport check_contents(StoreContents& contents, std::string_view host);

/// Lays the contents beside the store; its next start takes them and keeps the old ones under
/// another name. A later call replaces what lies there.
void stage_restore(const StoreContents& contents, const std::string& store);

/// A copy that is a store of its own. The store may be in use.
void backup_store(const std::string& store, const std::string& to);

/// Brings a store up to date, as its next start would; the copy of the older file that is made
/// before is returned, empty when nothing was to do. Nobody else may have it open.
std::string migrate_store(const std::string& store);

}  // namespace basalt::db
