#pragma once
#include "base/async.hpp"
#include "idl/classes.hpp"
#include "xapi/core/call.hpp"

namespace basalt::domain {

// The domain speaks the datamodel's words unqualified. One of its classes is called Task; here the
// word means the coroutine, and the row is xenapi::Task.
using namespace xenapi;  // NOLINT(google-build-using-namespace)
using basalt::Task;

}  // namespace basalt::domain
