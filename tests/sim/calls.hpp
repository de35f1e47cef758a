#pragma once
#include <ostream>
#include <string>
#include <vector>

#include "tests/sim/sim_pool.hpp"

namespace basalt::testing {

/// A call that the fault tests make, and how to see whether it happened. A new call is a line in
/// `fault_calls`.
struct FaultCall {
    std::string name;
    std::string method;
    /// Makes what the call works on and answers its parameters.
    std::function<std::vector<wire::Value>(SimPool&)> prepare;
    /// In the records; the rest of the world is for `broken`.
    std::function<bool(SimPool&)> happened;
};

std::vector<FaultCall> fault_calls();
void PrintTo(const FaultCall& call, std::ostream* out);

/// Long enough for leftovers to be retried, results acknowledged, guests to boot.
constexpr Duration settling = std::chrono::minutes(2);

}  // namespace basalt::testing
