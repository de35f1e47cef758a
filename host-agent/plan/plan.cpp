#include "host-agent/plan/plan.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <stdexcept>

namespace basalt::agent::plan {

using Json = nlohmann::json;

namespace {

constexpr std::array<std::string_view, 27> kinds = {
    "remember",   "forget",     "open disk", "close disk",  "add port",      "remove port",
    "create",     "restore",    "destroy",   "run",         "pause",         "ask",
    "await end",  "save",       "plug disk", "unplug disk", "change medium", "plug nic",
    "unplug nic", "set memory", "set vcpus", "set cpu",     "send",          "plug usb",
    "unplug usb", "purge",      "call"};
constexpr std::array<std::string_view, 3> resolves = {"back", "again", "forward"};

template <class E, std::size_t N>
E parse_word(const std::array<std::string_view, N>& words, const std::string& word) {
    for (std::size_t i = 0; i < N; ++i)
        if (words.at(i) == word) return static_cast<E>(i);
    throw std::invalid_argument("plan: unknown word " + word);
}

std::string object_of(const Act& act) {
    if (act.kind == Kind::change_medium)
        return act.disk->device + (act.disk->disk ? " to " + act.disk->disk->vdi : " to nothing");
    if (act.disk) return act.disk->device;
    if (act.nic) return std::to_string(act.nic->device);
    if (act.usb) return act.usb->path;
    if (act.kind == Kind::save) return "into " + act.device;
    if (act.kind == Kind::restore) return "from " + act.device;
    if (act.kind == Kind::send) return act.device.empty() ? act.word : act.word + " " + act.device;
    if (!act.device.empty()) return act.device;
    return act.word;
}

}  // namespace

std::string_view text(Kind kind) {
    return kinds.at(static_cast<std::size_t>(kind));
}

std::string_view text(Resolve resolve) {
    return resolves.at(static_cast<std::size_t>(resolve));
}

bool acquires(const Plan& plan) {
    return std::ranges::any_of(plan.steps, [](const Step& step) {
        return step.act.kind == Kind::open_disk || step.act.kind == Kind::add_port ||
               step.act.kind == Kind::create || step.act.kind == Kind::restore;
    });
}

std::string describe(const Act& act) {
    std::string out(text(act.kind));
    if (const std::string object = object_of(act); !object.empty()) out += " " + object;
    if (act.force) out += " by force";
    if (act.timeout_seconds > 0) out += std::format(" within {} s", act.timeout_seconds);
    return out;
}

std::string describe(const Plan& plan) {
    std::string out = plan.verb + " " + plan.vm + "\n";
    for (const Step& step : plan.steps) {
        std::string line =
            std::format("  {:<32} weight {:<3} {:<8}", step.name, step.weight, text(step.resolve));
        for (const Act& act : step.undo)
            line += std::string(&act == &step.undo.front() ? "undo: " : ", ") + describe(act);
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    }
    return out;
}

void to_json(Json& json, const Act& act) {
    json = {{"kind", text(act.kind)}, {"vm", act.vm}};
    if (act.disk) json["disk"] = *act.disk;
    if (act.nic) json["nic"] = *act.nic;
    if (act.usb) json["usb"] = *act.usb;
    if (act.spec) json["spec"] = *act.spec;
    if (!act.device.empty()) json["device"] = act.device;
    if (!act.word.empty()) json["word"] = act.word;
    if (act.force) json["force"] = true;
    if (act.timeout_seconds != 0) json["timeout_seconds"] = act.timeout_seconds;
    if (!act.args.is_null()) json["args"] = act.args;
}

void from_json(const Json& json, Act& act) {
    act.kind = parse_word<Kind>(kinds, json.at("kind").get<std::string>());
    act.vm = json.value("vm", std::string());
    if (json.contains("disk")) act.disk = json.at("disk").get<DiskSpec>();
    if (json.contains("nic")) act.nic = json.at("nic").get<NicSpec>();
    if (json.contains("usb")) act.usb = json.at("usb").get<UsbSpec>();
    if (json.contains("spec")) act.spec = json.at("spec").get<VmSpec>();
    act.device = json.value("device", std::string());
    act.word = json.value("word", std::string());
    act.force = json.value("force", false);
    act.timeout_seconds = json.value("timeout_seconds", std::int64_t{0});
    act.args = json.value("args", Json());
}

void to_json(Json& json, const Plan& plan) {
    Json steps = Json::array();
    for (const Step& step : plan.steps)
        steps.push_back({{"name", step.name},
                         {"weight", step.weight},
                         {"act", step.act},
                         {"resolve", text(step.resolve)},
                         {"undo", step.undo}});
    json = {{"verb", plan.verb}, {"vm", plan.vm}, {"steps", std::move(steps)}};
}

void from_json(const Json& json, Plan& plan) {
    plan.verb = json.at("verb").get<std::string>();
    plan.vm = json.value("vm", std::string());
    for (const Json& step : json.at("steps"))
        plan.steps.push_back({step.at("name").get<std::string>(), step.value("weight", 1.0),
                              step.at("act").get<Act>(),
                              parse_word<Resolve>(resolves, step.at("resolve").get<std::string>()),
                              step.value("undo", std::vector<Act>())});
}

}  // namespace basalt::agent::plan
