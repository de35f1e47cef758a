#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "xapi/domain/figures.hpp"

/// Alarms on figures over time: what `perfmon` in the other_config of a host, VM or storage
/// repository asks for, as clients write it. Pure.
namespace basalt::domain::perfmon {

/// Whose figures a configuration is about.
using Owner = agent::MetricsOwner;

/// One `<variable>` of a configuration.
struct Variable {
    std::string name;     ///< cpu_usage, network_usage ..., or that of a data source
    std::string pattern;  ///< of the data sources that are meant; from the beginning of their names
    bool averaged = false;  ///< else they are added
    double level = 0;
    bool above = true;                    ///< alarm above the level, else below
    std::int64_t period_seconds = 60;     ///< over which figures are averaged
    std::int64_t silence_seconds = 3600;  ///< after an alarm
    std::int64_t priority = 3;            ///< of the message
    std::string xml;                      ///< as it was written
};

/// Variables without a name or a level, or with a pattern that is none, are left out, as is all of
/// a text that is not XML.
[[nodiscard]] std::vector<Variable> parse(const std::string& xml, Owner owner);

/// What the variable comes to, from the mean of each data source; nullopt when none is meant.
[[nodiscard]] std::optional<double> figure(const Variable& variable,
                                           const std::map<std::string, double>& means);

[[nodiscard]] bool is_alarm(const Variable& variable, double figure);

/// Body of the message, as clients parse it.
[[nodiscard]] std::string body(const Variable& variable, double figure);
/// The variable's name in such a body; empty when it has another form.
[[nodiscard]] std::string variable_in(const std::string& body);

}  // namespace basalt::domain::perfmon
