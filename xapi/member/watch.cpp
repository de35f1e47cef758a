#include "xapi/member/watch.hpp"

#include "idl/errors.hpp"

namespace basalt::member {

void CoordinatorWatch::heard(Time now) {
    last_ = now;
    refusal_.reset();
}

void CoordinatorWatch::refused(ApiError reason) {
    last_.reset();
    refusal_ = std::move(reason);
}

std::optional<ApiError> CoordinatorWatch::why_cut_off(Time now) const {
    if (refusal_) return refusal_;
    if (last_ && now - *last_ < silence_max) return std::nullopt;
    return err::host_still_booting();
}

}  // namespace basalt::member
