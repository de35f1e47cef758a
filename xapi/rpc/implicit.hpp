#pragma once
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "idl/runtime/reply.hpp"
#include "xapi/db/database.hpp"

namespace basalt::server {

/// Rows of an answer as they were published: all rows of a class are one, without being copied.
struct RowSet {
    enum class Form { references, records };

    Form form = Form::records;
    db::Rows rows;
};

/// The outcome of a call before it is text.
struct Answer {
    xenapi::Reply reply;
    std::optional<RowSet> rows;   ///< instead of `reply`
    db::Generation rests_on = 0;  ///< must be durable before anybody sees the answer
    bool bare = false;            ///< without the envelope's status (system.listMethods)
};

/// Whether the message is served here, from the tables alone: reads and writes of plain fields, and
/// creation and destruction of classes whose objects are nothing but their row.
[[nodiscard]] bool is_implicit(const xenapi::MessageInfo& message);

/// Runs it. `args` without the session, at least message.required of them. Throws ApiError:
/// HANDLE_INVALID, UUID_INVALID, MAP_DUPLICATE_KEY, INVALID_VALUE and what decoding throws.
[[nodiscard]] Answer run_implicit(db::Database& db, const xenapi::MessageInfo& message,
                                  std::span<const wire::Value> args);

/// Whether it looks at every row of a class (get_all_where, get_all_records_where).
[[nodiscard]] bool is_filter(const xenapi::MessageInfo& message);
/// A filter in two halves: this one reads the rows that there are; what it returns does the rest,
/// on any thread. Throws INVALID_VALUE for what is no expression.
[[nodiscard]] std::function<Answer()> prepared_filter(const db::Database& db,
                                                      const xenapi::MessageInfo& message,
                                                      std::span<const wire::Value> args);

/// The text of a string parameter; throws as decoding a string does.
[[nodiscard]] const std::string& text_argument(const wire::Value& value);

}  // namespace basalt::server
