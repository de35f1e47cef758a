#pragma once
#include <string>

#include "idl/records/message.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// What an administrator should know later: a row of class message, about the object with `uuid`.
/// Priorities: 1 critical, 2 major, 3 warning, 4 minor, 5 informational.
void post_message(core::Core& core, db::Txn& txn, std::string name, std::int64_t priority,
                  xenapi::Cls cls, std::string uuid, std::string body = {});

}  // namespace basalt::domain
