#include "host-agent/core/ends.hpp"

#include "host-agent/core/planners.hpp"

namespace basalt::agent {

using Json = nlohmann::json;

namespace {

std::string text_at(const Json& json, const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

Json member(const Json& json, const char* name) {
    const auto found = json.find(name);
    return found != json.end() && found->is_object() ? *found : Json::object();
}

std::string disk_of(const Entry& entry) {
    // A driver whose disks are named by what they are answers the name itself.
    if (entry.result.is_object())
        if (std::string made = text_at(entry.result, "uuid"); !made.empty()) return made;
    if (std::string made = text_at(member(entry.args, "spec"), "uuid"); !made.empty()) return made;
    // What is copied or snapshot is not what was made.
    const bool changes = entry.verb == "vdi_destroy" || entry.verb == "vdi_resize";
    return changes ? text_at(member(entry.args, "disk"), "vdi") : std::string();
}

std::string repository_of(const Entry& entry) {
    if (std::string sr = text_at(entry.args, "sr"); !sr.empty()) return sr;
    if (std::string sr = text_at(member(entry.args, "disk"), "sr"); !sr.empty()) return sr;
    return text_at(entry.args, "uuid");
}

}  // namespace

OperationEnd end_of(const Entry& entry) {
    OperationEnd end{.id = entry.id, .verb = entry.verb, .done = entry.phase == Phase::done};
    if (is_guest_verb(entry.verb)) {
        end.vm = object_of(entry.verb, entry.args);
        const Json image = member(entry.args, entry.args.contains("into") ? "into" : "from");
        end.vdi = text_at(image, "vdi");
        end.sr = text_at(image, "sr");
    } else if (entry.verb.starts_with("vdi_") || entry.verb.starts_with("sr_")) {
        end.sr = repository_of(entry);
        if (entry.verb.starts_with("vdi_")) end.vdi = disk_of(entry);
        if (entry.result.is_object()) end.location = text_at(entry.result, "location");
    }
    return end;
}

}  // namespace basalt::agent
