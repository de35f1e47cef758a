#pragma once
// What is done with whole store files. Internal to the SQLite store. Everything blocks.
#include <cstdint>
#include <string>

#include "base/fd.hpp"
#include "xapi/db/store/sqlite.hpp"
#include "xapi/db/store/store.hpp"
#include "xapi/db/types.hpp"

namespace basalt::db::sqlite {

/// Held for as long as the descriptor is open. Throws INTERNAL_ERROR when another process has it.
[[nodiscard]] UniqueFd lock_store(const std::string& store);

/// The same without rows and deletions, for who reads those one by one.
[[nodiscard]] StoreContents read_heading(Connection& connection);
void each_row(Connection& connection, FunctionRef<void(StoredRow)> f);
void each_tombstone(Connection& connection, FunctionRef<void(StoredTombstone)> f);

/// Everything in an up-to-date file whose log is folded. Throws Error, or INTERNAL_ERROR for a row
/// that no store of ours has written.
[[nodiscard]] StoreContents read_contents(Connection& connection);

/// One state of the store `from`, which may be in use, as a file of its own at `to`; durable, and
/// marked as restored. Throws Error.
void copy_database(const std::string& from, const std::string& to);

/// A store file that holds `contents`, whose layout is today's; durable, and marked as restored.
/// `epoch` is that of the contents or a later one: who opens the file enters the one after it.
void write_database(const StoreContents& contents, std::uint64_t epoch, const std::string& to);

/// What root makes beside another user's store becomes that user's, too; for others nothing
/// happens.
void keep_owner(const std::string& file, const std::string& like);

/// Where a store waits that is to take the place of `store`, and where the old one stays.
[[nodiscard]] std::string restored_name(const std::string& store);
[[nodiscard]] std::string replaced_name(const std::string& store);

/// Removes the files `STORE.scratch-*` that a kill left. Only with the store's lock held.
void remove_scratch(const std::string& store);

/// Lets a waiting store take its place. Whoever dies in the middle finds it done the next time.
/// Only with the store's lock held.
void take_restored(const std::string& store);

}  // namespace basalt::db::sqlite
