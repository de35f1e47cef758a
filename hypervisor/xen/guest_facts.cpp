#include "hypervisor/xen/guest_facts.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string_view>

namespace basalt::hv::xen {

namespace {

constexpr std::int64_t kibibyte = 1024;
// More than any real agent says is left out: records and messages must stay small.
constexpr std::size_t text_bytes_max = 255;
constexpr std::size_t addresses_max = 32;  // of one interface and family
constexpr std::size_t features_max = 64;

struct Key {
    const char* node;
    const char* name;
};

// XenAPI's keys of VM_guest_metrics.os_version ...
constexpr std::array os_keys = {
    Key{"data/os_name", "name"},       Key{"data/os_distro", "distro"},
    Key{"data/os_uname", "uname"},     Key{"data/os_majorver", "major"},
    Key{"data/os_minorver", "minor"},  Key{"attr/os/spmajor", "spmajor"},
    Key{"attr/os/spminor", "spminor"},
};
// ... and of PV_drivers_version.
constexpr std::array driver_keys = {
    Key{"attr/PVAddons/MajorVersion", "major"},
    Key{"attr/PVAddons/MinorVersion", "minor"},
    Key{"attr/PVAddons/MicroVersion", "micro"},
    Key{"attr/PVAddons/BuildVersion", "build"},
    Key{"attr/PVAddons/Application", "application"},
    Key{"drivers/xenevtchn", "xenevtchn"},
    Key{"drivers/xenvbd", "xenvbd"},
    Key{"drivers/xennet", "xennet"},
};

// Written inside the guest: bytes that are no text would not pass as one.
bool is_plain(std::string_view text) {
    return !text.empty() && text.size() <= text_bytes_max &&
           std::ranges::all_of(text, [](unsigned char c) { return c >= ' ' && c < 0x7f; });
}

std::string text_of(const Nodes& nodes, const std::string& node) {
    const auto found = nodes.find(node);
    return found != nodes.end() && is_plain(found->second) ? found->second : std::string();
}

std::optional<std::int64_t> number_of(std::string_view text) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end != text.data() + text.size() || number < 0) return std::nullopt;
    return number;
}

std::int64_t memory_of(const Nodes& nodes, const std::string& node) {
    constexpr std::int64_t kib_max = std::int64_t{1} << 40;
    const auto kib = number_of(text_of(nodes, node));
    return kib && *kib <= kib_max ? *kib * kibibyte : 0;
}

template <std::size_t Count>
std::map<std::string, std::string> keyed(const Nodes& nodes, const std::array<Key, Count>& keys) {
    std::map<std::string, std::string> out;
    for (const Key& key : keys)
        if (std::string text = text_of(nodes, key.node); !text.empty())
            out.emplace(key.name, std::move(text));
    return out;
}

struct Address {
    std::int64_t device = 0;
    bool v6 = false;
    std::string text;
};

std::vector<std::string_view> parts_of(std::string_view path) {
    std::vector<std::string_view> out;
    while (!path.empty()) {
        const std::size_t end = std::min(path.find('/'), path.size());
        out.push_back(path.substr(0, end));
        path.remove_prefix(std::min(end + 1, path.size()));
    }
    return out;
}

// attr/vif/0/ipv4/0 and attr/vif/0/ipv6/0 of today's agents, attr/eth0/ip and
// attr/eth0/ipv6/0/addr of earlier ones.
std::optional<Address> address_at(const std::string& path, const std::string& value) {
    if (!path.starts_with("attr/") || !is_plain(value)) return std::nullopt;
    const auto parts = parts_of(path);
    if (parts.size() == 5 && parts[1] == "vif" && (parts[3] == "ipv4" || parts[3] == "ipv6")) {
        const auto device = number_of(parts[2]);
        if (device) return Address{.device = *device, .v6 = parts[3] == "ipv6", .text = value};
    }
    if (parts.size() < 3 || !parts[1].starts_with("eth")) return std::nullopt;
    const auto device = number_of(parts[1].substr(3));
    if (!device) return std::nullopt;
    if (parts.size() == 3 && parts[2] == "ip") return Address{.device = *device, .text = value};
    if (parts.size() == 5 && parts[2] == "ipv6" && parts[4] == "addr")
        return Address{.device = *device, .v6 = true, .text = value};
    return std::nullopt;
}

std::map<std::string, std::string> networks_of(const Nodes& nodes,
                                               const std::set<std::int64_t>& nics) {
    std::map<std::int64_t, std::vector<std::string>> v4;
    std::map<std::int64_t, std::vector<std::string>> v6;
    for (const auto& [path, value] : nodes) {
        const auto address = address_at(path, value);
        if (!address || !nics.contains(address->device)) continue;
        auto& list = (address->v6 ? v6 : v4)[address->device];
        // Some agents write the old keys beside the new ones.
        if (list.size() < addresses_max && !std::ranges::contains(list, address->text))
            list.push_back(address->text);
    }
    std::map<std::string, std::string> out;
    const auto put = [&out](const auto& all, const char* family) {
        for (const auto& [device, list] : all)
            for (std::size_t i = 0; i < list.size(); ++i)
                out[std::to_string(device) + family + std::to_string(i)] = list[i];
    };
    put(v4, "/ipv4/");
    put(v6, "/ipv6/");
    for (const auto& [device, list] : v4)
        out[std::to_string(device) + "/ip"] = list.front();
    return out;
}

// Every control/feature-... that is set; the guest's kernel writes some of them, its agent others.
std::map<std::string, std::string> features_of(const Nodes& nodes) {
    const std::string folder = "control/";
    std::map<std::string, std::string> out;
    for (auto at = nodes.lower_bound(folder); at != nodes.end() && at->first.starts_with(folder);
         ++at) {
        const std::string name = at->first.substr(folder.size());
        const bool feature = name.starts_with("feature-") || name.starts_with("platform-feature-");
        if (feature && is_plain(name) && is_plain(at->second) && out.size() < features_max)
            out.emplace(name, at->second);
    }
    return out;
}

}  // namespace

const std::vector<std::string>& agent_folders() {
    static const std::vector<std::string> all = {"data", "attr", "control", "drivers"};
    return all;
}

agent::GuestFacts facts_of(const std::string& vm, const Nodes& nodes,
                           const std::set<std::int64_t>& nics) {
    agent::GuestFacts out;
    out.uuid = vm;
    out.features = features_of(nodes);
    out.agent = nodes.contains("attr/PVAddons/MajorVersion") || nodes.contains("data/updated");
    if (!out.agent) return out;
    out.drivers = keyed(nodes, driver_keys);
    for (const char* part : {"major", "minor", "micro"})
        if (const auto found = out.drivers.find(part); found != out.drivers.end())
            out.agent_version += (out.agent_version.empty() ? "" : ".") + found->second;
    out.os = keyed(nodes, os_keys);
    out.hostname = text_of(nodes, "data/host_name");
    out.networks = networks_of(nodes, nics);
    out.memory_total_bytes = memory_of(nodes, "data/meminfo_total");
    out.memory_free_bytes = memory_of(nodes, "data/meminfo_free");
    return out;
}

}  // namespace basalt::hv::xen
