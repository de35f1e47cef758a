#include "xapi/domain/guest_agents.hpp"

#include "idl/errors.hpp"

namespace basalt::domain {

namespace {

const std::string update_enabled = "auto_update_enabled";
const std::string update_url = "auto_update_url";

bool is_good(const std::string& key, const std::string& value) {
    if (key == update_enabled) return value == "true" || value == "false";
    if (key == update_url) return value.starts_with("http://") || value.starts_with("https://");
    return false;
}

}  // namespace

void require_agent_setting(const std::string& key, const std::string& value) {
    if (!is_good(key, value)) throw err::invalid_value("guest_agent_config", key + " = " + value);
}

std::map<std::string, std::string> guest_features(
    const xenapi::Map<std::string, std::string>& config) {
    // There is one edition, which has them all.
    const std::string update = "Guest_agent_auto_update";
    std::map<std::string, std::string> out = {{"VSS/licensed", "1"}, {update + "/licensed", "1"}};
    if (config.contains(update_enabled))
        out[update + "/parameters/enabled"] = config.get(update_enabled) == "true" ? "1" : "0";
    if (config.contains(update_url))
        out[update + "/parameters/update_url"] = config.get(update_url);
    return out;
}

Task<void> tell_guest_features(agent::Host& agent,
                               const xenapi::Map<std::string, std::string>& config) {
    agent::PluginCallArgs args;
    args.plugin = "guest_features.py";
    args.function = "write";
    args.args = guest_features(config);
    co_await agent.plugin_call(std::move(args));
}

}  // namespace basalt::domain
