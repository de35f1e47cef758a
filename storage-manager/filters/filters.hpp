#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/wait.hpp"
#include "storage-manager/api/driver.hpp"

/// Decorators over any driver. They stack: `trace(delay(loop, std::move(driver), 20ms), "sr1")`.
namespace basalt::sm {

/// Runs before each verb, with its name and what it is about; throwing keeps the verb from the
/// driver.
using BeforeVerb = std::function<Task<void>(std::string verb, std::string about)>;

std::unique_ptr<Driver> filtered(std::unique_ptr<Driver> driver, BeforeVerb before);

/// Logs each verb.
std::unique_ptr<Driver> trace(std::unique_ptr<Driver> driver, std::string name);
/// Makes each verb take longer.
std::unique_ptr<Driver> delay(Loop& loop, std::unique_ptr<Driver> driver, Duration time);

/// What shall go wrong, for as long as the test keeps it so.
struct Faults {
    std::map<std::string, ApiError> failing;  // by verb
    std::map<std::string, int> calls;         // by verb, counted
};

std::unique_ptr<Driver> fault(std::unique_ptr<Driver> driver, std::shared_ptr<Faults> faults);

}  // namespace basalt::sm
