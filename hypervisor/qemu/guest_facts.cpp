#include "hypervisor/qemu/guest_facts.hpp"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "base/json.hpp"

namespace basalt::hv::qemu {

namespace {

std::string lower(std::string text) {
    std::ranges::transform(text, text.begin(),
                           [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

// A guest must not fill records, nor frames to xapi: more than any real one has is left out.
constexpr std::size_t text_bytes_max = 255;
constexpr int addresses_max = 32;  // of one interface and family

// Everything here was written inside the guest: any field may be missing or of another type.
std::string text_of(const Json& object, const char* key) {
    std::string text = text_member(object, key);
    if (text.size() > text_bytes_max) text.clear();
    return text;
}

void add_addresses(std::map<std::string, std::string>& out, const std::string& device,
                   const Json& addresses) {
    int v4 = 0;
    int v6 = 0;
    for (const Json& address : addresses) {
        const std::string ip = text_of(address, "ip-address");
        if (ip.empty()) continue;
        if (text_of(address, "ip-address-type") == "ipv6") {
            if (v6 < addresses_max) out[device + "/ipv6/" + std::to_string(v6++)] = ip;
        } else if (v4 < addresses_max) {
            if (v4 == 0) out[device + "/ip"] = ip;
            out[device + "/ipv4/" + std::to_string(v4++)] = ip;
        }
    }
}

}  // namespace

std::map<std::string, std::string> os_version(const Json& osinfo) {
    std::map<std::string, std::string> out;
    const auto put = [&out](const char* key, std::string value) {
        if (!value.empty()) out[key] = std::move(value);
    };
    const std::string pretty = text_of(osinfo, "pretty-name");
    put("name", pretty.empty() ? text_of(osinfo, "name") : pretty);
    put("distro", text_of(osinfo, "id"));
    put("uname", text_of(osinfo, "kernel-release"));
    const std::string version = text_of(osinfo, "version-id");
    const auto dot = version.find('.');
    put("major", version.substr(0, dot));
    if (dot != std::string::npos) put("minor", version.substr(dot + 1));
    return out;
}

std::map<std::string, std::string> guest_networks(const Json& interfaces,
                                                  const std::vector<NicAttachment>& nics) {
    std::map<std::string, std::string> out;
    if (!interfaces.is_array()) return out;
    for (const Json& interface : interfaces) {
        const std::string mac = lower(text_of(interface, "hardware-address"));
        const auto nic = std::ranges::find_if(
            nics, [&mac](const NicAttachment& n) { return lower(n.spec.mac) == mac; });
        if (mac.empty() || nic == nics.end()) continue;
        const auto addresses = interface.find("ip-addresses");
        if (addresses != interface.end() && addresses->is_array())
            add_addresses(out, std::to_string(nic->spec.device), *addresses);
    }
    return out;
}

std::map<std::string, std::string> guest_features(const Json& info) {
    // The whole machine is frozen and kept: no guest needs to take part, however many processors.
    std::map<std::string, std::string> out = {{"feature-suspend", "1"},
                                              {"platform-feature-multiprocessor-suspend", "1"}};
    const auto commands = info.is_object() ? info.find("supported_commands") : info.end();
    if (!info.is_object() || commands == info.end() || !commands->is_array()) return out;
    for (const Json& command : *commands) {
        if (!command.is_object() || !command.value("enabled", false)) continue;
        const std::string name = text_of(command, "name");
        if (name == "guest-shutdown") out["feature-poweroff"] = out["feature-reboot"] = "1";
        if (name == "guest-set-vcpus") out["feature-vcpu-hotplug"] = "1";
    }
    return out;
}

std::optional<Json> vcpus_to_set(const Json& vcpus, std::int64_t count) {
    if (!vcpus.is_array()) return std::nullopt;
    std::int64_t in_use = 0;
    for (const Json& cpu : vcpus) {
        // Written inside the guest.
        if (!cpu.is_object() || !cpu.contains("logical-id") ||
            !cpu.at("logical-id").is_number_integer())
            return std::nullopt;
        in_use += cpu.value("online", false) ? 1 : 0;
    }
    Json changes = Json::array();
    const auto change = [&changes, &in_use](const Json& cpu, bool online) {
        changes.push_back({{"logical-id", cpu.at("logical-id")}, {"online", online}});
        in_use += online ? 1 : -1;
    };
    for (const Json& cpu : vcpus)
        if (in_use < count && !cpu.value("online", false)) change(cpu, true);
    for (auto cpu = vcpus.rbegin(); cpu != vcpus.rend(); ++cpu)
        if (in_use > count && cpu->value("online", false) && cpu->value("can-offline", false))
            change(*cpu, false);
    if (in_use != count) return std::nullopt;
    return changes;
}

bool worth_telling(const agent::GuestFacts& before, const agent::GuestFacts& now) {
    agent::GuestFacts same_memory = now;
    same_memory.memory_free_bytes = before.memory_free_bytes;
    if (same_memory != before) return true;
    const std::int64_t moved = std::llabs(now.memory_free_bytes - before.memory_free_bytes);
    return moved * 20 > now.memory_total_bytes;
}

}  // namespace basalt::hv::qemu
