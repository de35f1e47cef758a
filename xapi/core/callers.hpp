#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "idl/records/caller.hpp"
#include "idl/records/rate_limit.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/fairness.hpp"

namespace basalt::core {

/// Client programs that an administrator has entered (class Caller), and the bounds on how much
/// they may ask (class Rate_limit). A program is known by its address and what it calls itself; a
/// bound is one bucket of tokens for all its programs, of which each call takes one. Who finds it
/// empty waits. Loop only.
class Callers {
  public:
    explicit Callers(Core& core) : core_(core) {}

    /// Counts a call, and returns when it may go on: at once for who is not entered or not bounded.
    /// Cancellable.
    Task<void> admit(std::string address, std::string user_agent);

    /// Whether anybody is entered at all: else nobody need be admitted.
    [[nodiscard]] bool any() const {
        return core_.db.count(xenapi::class_of<xenapi::Caller>()) > 0;
    }

    /// Since this process began.
    struct Usage {
        std::int64_t calls = 0;
        double tokens = 0;  // of buckets; a call of who is not bounded takes none
    };

    [[nodiscard]] Usage usage(xenapi::Ref<xenapi::Caller> caller) const;

    /// The entry that fits best: by address and program, by address, by program; null: none.
    [[nodiscard]] xenapi::Ref<xenapi::Caller> find(std::string_view address,
                                                   std::string_view user_agent) const;

  private:
    struct Bucket {
        double rate = 0;
        double burst = 0;
        RateLimit limit;
    };

    /// How long a call within the bound has to wait.
    Duration take(xenapi::Ref<xenapi::RateLimit> limit);
    void note_access(xenapi::Ref<xenapi::Caller> caller);

    Core& core_;
    std::map<xenapi::Ref<xenapi::Caller>, Usage> usage_;
    std::map<xenapi::Ref<xenapi::RateLimit>, Bucket> buckets_;
};

}  // namespace basalt::core
