#pragma once
#include <optional>

#include "base/async.hpp"
#include "base/error.hpp"

namespace basalt::member {

/// Whether the coordinator is there, from what was heard of it. No sockets, no clock.
class CoordinatorWatch {
  public:
    static constexpr Duration hello_every = 2s;
    static constexpr Duration hello_limit = 5s;  // for the answer to one
    /// Silence for so long means that this host is cut off.
    static constexpr Duration silence_max = 10s;

    void heard(Time now);
    /// The coordinator answered, and will not have us for `reason`.
    void refused(ApiError reason);

    /// Why this host can serve emergency calls only; nullopt while the coordinator is there.
    /// HOST_STILL_BOOTING, or what the coordinator said.
    [[nodiscard]] std::optional<ApiError> why_cut_off(Time now) const;

  private:
    std::optional<Time> last_;
    std::optional<ApiError> refusal_;
};

}  // namespace basalt::member
