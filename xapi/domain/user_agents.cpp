#include "xapi/domain/user_agents.hpp"

#include <algorithm>

namespace basalt::domain {

void UserAgents::note(std::string_view text) {
    text = text.substr(0, text.find(' '));
    const std::size_t slash = std::min(text.find('/'), text.size());
    const std::string_view name = text.substr(0, std::min(slash, text_bytes_max));
    if (name.empty()) return;
    const std::string_view version = text.substr(std::min(slash + 1, text.size()));
    Program& program = programs_[std::string(name)];
    program.version = version.substr(0, text_bytes_max);
    program.seen = ++now_;
    if (programs_.size() <= programs_max) return;
    programs_.erase(std::ranges::min_element(programs_, {},
                                             [](const auto& entry) { return entry.second.seen; }));
}

xenapi::Map<std::string, std::string> UserAgents::programs() const {
    xenapi::Map<std::string, std::string> out;
    for (const auto& [name, program] : programs_)
        out.insert_or_assign(name, program.version);
    return out;
}

}  // namespace basalt::domain
