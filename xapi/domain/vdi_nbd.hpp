#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "idl/enums.hpp"
#include "xapi/core/core.hpp"

namespace basalt::domain {

/// Where disks are served over the NBD protocol.
constexpr std::int64_t nbd_port = 10809;

/// What NBD connections to this address of the coordinator are for, as its network says; absent:
/// nothing, nobody is to be answered there.
[[nodiscard]] std::optional<xenapi::NetworkPurpose> nbd_purpose_of(const core::Core& core,
                                                                   const std::string& address);

}  // namespace basalt::domain
