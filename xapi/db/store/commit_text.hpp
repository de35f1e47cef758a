#pragma once
#include <string>
#include <string_view>

#include "xapi/db/store/store.hpp"

namespace basalt::db {

/// The one form of a commit, for every engine: lines of text.
///   basalt-commit 1 <epoch> <generation> <time> <number of changes>
///   <class> <ref> <serial> <created> <row as JSON, or - when deleted>
/// Stored JSON is compact, so it holds no line end.
[[nodiscard]] std::string encode_commit(const CommitRecord& record);
/// Throws std::invalid_argument on anything else.
[[nodiscard]] CommitRecord decode_commit(std::string_view text);

}  // namespace basalt::db
