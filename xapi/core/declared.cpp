#include "xapi/core/declared.hpp"

#include <algorithm>
#include <array>

#include "base/log.hpp"

namespace basalt::core {

namespace {

// What stands between a caller and any message: decoding, session, role, the database, the task
// around it, the connection to the host concerned. Source: the dispatch rules of the wire.
constexpr std::array<std::string_view, 23> of_every_message = {
    "DB_UNIQUENESS_CONSTRAINT_VIOLATION",
    "Fault",
    "HANDLE_INVALID",
    "HOST_IS_SLAVE",
    "HOST_OFFLINE",
    "HOST_STILL_BOOTING",
    "INTERNAL_ERROR",
    "INVALID_VALUE",
    "MAP_DUPLICATE_KEY",
    "MESSAGE_DEPRECATED",
    "MESSAGE_METHOD_UNKNOWN",
    "MESSAGE_PARAMETER_COUNT_MISMATCH",
    "MESSAGE_REMOVED",
    "NOT_IMPLEMENTED",
    "OTHER_OPERATION_IN_PROGRESS",
    "OUT_OF_SPACE",
    "PERMISSION_DENIED",
    "RBAC_PERMISSION_DENIED",
    "SESSION_INVALID",
    "TASK_CANCELLED",
    "TOO_BUSY",
    "TOO_MANY_PENDING_TASKS",
    "UUID_INVALID",
};
static_assert(std::ranges::is_sorted(of_every_message));

constexpr std::string_view any_backend_failure = "SR_BACKEND_FAILURE";

}  // namespace

bool declares(const xenapi::MessageInfo& message, std::string_view code) {
    if (std::ranges::binary_search(of_every_message, code)) return true;
    return std::ranges::any_of(message.errors, [&](std::string_view declared) {
        return declared == code ||
               (declared == any_backend_failure && code.starts_with(any_backend_failure));
    });
}

void UndeclaredErrors::note(const xenapi::MessageInfo& message, const std::string& code) {
    if (declares(message, code)) return;
    if (++seen_[{std::string(message.wire_name), code}] == 1)
        log::warn("undeclared_error", {{"message", message.wire_name}, {"error", code}});
}

}  // namespace basalt::core
