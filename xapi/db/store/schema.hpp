#pragma once
// The layout of a store file. Internal to the SQLite store.
//   meta(key, value)      epoch, store_id, reserved, lost_below, restored
//   rows                  the snapshot: every row as of the oldest commit still in the log, or
//   later commits               the log: what is not folded into the snapshot, one value a commit
//   tombstones            deletions of the last day
#include <string_view>

#include "xapi/db/store/sqlite.hpp"
#include "xapi/db/store/store.hpp"

namespace basalt::db::sqlite {

inline constexpr std::uint64_t schema_version = 2;
/// "BSLT": tells our files from other SQLite files.
inline constexpr std::uint64_t application_id = 0x42534c54;

/// Makes or brings up to date. Throws Error when the file is not ours or of a newer version.
void migrate(Connection& connection);

[[nodiscard]] std::uint64_t get_meta(Connection& connection, std::string_view key);
void set_meta(Connection& connection, std::string_view key, std::uint64_t value);

/// Enters changes in the snapshot; prepared once. Changes may come again in the same order.
class Folder {
  public:
    explicit Folder(Connection& connection);
    void fold(const Change& change, std::uint64_t generation, std::int64_t time_s);

  private:
    Statement put_;
    Statement erase_;
    Statement bury_;
};

/// Folds the whole log; inside a transaction of the caller.
void fold_log(Connection& connection);
/// Forgets tombstones that are too old or too many; inside a transaction of the caller.
void trim_tombstones(Connection& connection, std::int64_t now_s);

}  // namespace basalt::db::sqlite
