#include "idl/runtime/finish.hpp"

#include <utility>

#include "idl/errors.hpp"

namespace basalt::xenapi {

void not_implemented(std::string_view wire_name) {
    throw err::not_implemented(wire_name);
}

basalt::Task<Reply> finish(basalt::Task<void> answer) {
    co_await std::move(answer);
    co_return Reply{};
}

}  // namespace basalt::xenapi
