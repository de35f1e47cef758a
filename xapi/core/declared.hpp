#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "idl/runtime/model.hpp"

namespace basalt::core {

/// Whether a message may answer this code: it declares it (`errors` of its class file, or
/// idl/raises.toml), or every message may. SR_BACKEND_FAILURE stands for all numbered ones.
[[nodiscard]] bool declares(const xenapi::MessageInfo& message, std::string_view code);

/// The errors that left although their message does not declare them: clients that were written
/// from the model do not expect them. Kept in every build, since the tests of clients run against
/// the one that users get, and a log line says when a new pair is met. Loop only.
class UndeclaredErrors {
  public:
    using Pair = std::pair<std::string, std::string>;  // message, code

    /// Called with each code that ends a call or its task.
    void note(const xenapi::MessageInfo& message, const std::string& code);

    /// How often each was answered.
    [[nodiscard]] const std::map<Pair, std::uint64_t>& seen() const { return seen_; }

  private:
    std::map<Pair, std::uint64_t> seen_;
};

}  // namespace basalt::core
