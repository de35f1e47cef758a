#pragma once
#include <cstdint>
#include <optional>

#include "base/error.hpp"

namespace basalt::agent {

/// How a host refuses the coordinator of a term that is over: INTERNAL_ERROR ["term over", given,
/// seen].
[[nodiscard]] ApiError term_over(std::int64_t given, std::int64_t seen);
/// The term that was seen, when `error` is that.
[[nodiscard]] std::optional<std::int64_t> newer_term(const ApiError& error);

}  // namespace basalt::agent
