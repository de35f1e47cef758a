#pragma once
#include <string_view>

#include "base/async.hpp"
#include "idl/runtime/reply.hpp"

namespace basalt::xenapi {

/// Throws NOT_IMPLEMENTED [wire_name].
[[noreturn]] void not_implemented(std::string_view wire_name);

/// Awaits a typed answer and erases its type. Instantiated by the generator, once a result type.
template <class T>
basalt::Task<Reply> finish(basalt::Task<T> answer);

basalt::Task<Reply> finish(basalt::Task<void> answer);

}  // namespace basalt::xenapi
