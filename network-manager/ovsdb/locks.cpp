#include "network-manager/ovsdb/locks.hpp"

#include <algorithm>
#include <charconv>
#include <format>
#include <nlohmann/json.hpp>

#include "base/json.hpp"

namespace basalt::nm::ovsdb {

namespace {

// FNV-1a: the same in every build, so that a later hostd finds the rules of an earlier one.
std::uint64_t cookie_of(const std::string& port) {
    std::uint64_t hash = 0xcbf29ce484222325;
    for (const char c : port)
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return hash;
}

// The address that a guest gives itself before it has any other: neighbour discovery needs it.
std::string link_local(const std::string& mac) {
    std::vector<unsigned> bytes;
    for (std::size_t at = 0; at + 2 <= mac.size(); at += 3) {
        unsigned byte = 0;
        std::from_chars(mac.data() + at, mac.data() + at + 2, byte, 16);
        bytes.push_back(byte);
    }
    bytes.resize(6);
    return std::format("fe80::{:02x}{:02x}:{:02x}ff:fe{:02x}:{:02x}{:02x}", bytes[0] ^ 2U, bytes[1],
                       bytes[2], bytes[3], bytes[4], bytes[5]);
}

// Rules of one port, all with its cookie.
class Rules {
  public:
    Rules(const std::string& port, std::int64_t number, const std::string& mac)
        : from_(std::format("in_port={}", number)),
          station_(std::format("{},dl_src={}", from_, mac)),
          cookie_(std::format("cookie={:#x}", cookie_of(port))) {
        text_ = "delete " + cookie_ + "/-1\n";
    }

    void drop_all() { add(100, from_, "drop"); }

    void allow(const std::string& match) { add(300, station_ + "," + match, "NORMAL"); }

    /// Stronger than what `allow` allows, unless `allow_before` names it.
    void drop_before(const std::string& match) { add(400, station_ + "," + match, "drop"); }

    void allow_before(const std::string& match) { add(500, station_ + "," + match, "NORMAL"); }

    [[nodiscard]] const std::string& text() const { return text_; }

  private:
    void add(int priority, const std::string& match, const char* action) {
        text_ +=
            std::format("add {},priority={},{},actions={}\n", cookie_, priority, match, action);
    }

    std::string from_;
    std::string station_;
    std::string cookie_;
    std::string text_;
};

void add_ipv4(Rules& rules, const std::vector<std::string>& addresses, const std::string& mac) {
    for (const std::string& address : addresses) {
        rules.allow(std::format("arp,arp_sha={},arp_spa={}", mac, address));
        rules.allow("ip,nw_src=" + address);
    }
    if (addresses.empty()) return;
    // A guest that asks for its address, and one that asks whether somebody has it.
    rules.allow("udp,nw_src=0.0.0.0,nw_dst=255.255.255.255,tp_src=68,tp_dst=67");
    rules.allow(std::format("arp,arp_op=1,arp_sha={},arp_spa=0.0.0.0", mac));
}

void add_ipv6(Rules& rules, std::vector<std::string> addresses, const std::string& mac) {
    if (addresses.empty()) return;
    addresses.push_back(link_local(mac));
    for (const std::string& address : addresses) {
        rules.allow("ipv6,ipv6_src=" + address);
        // Who it says it is, and that it asks whether somebody else is.
        rules.allow_before(
            std::format("icmp6,icmp_type=136,icmp_code=0,ipv6_src={0},nd_target={0}", address));
        rules.allow(
            std::format("icmp6,icmp_type=135,icmp_code=0,ipv6_src=::,nd_target={}", address));
    }
    rules.allow("icmp6,icmp_type=143,icmp_code=0,ipv6_src=::");  // joins the groups of both
    rules.drop_before("icmp6,icmp_type=136");
    rules.drop_before("icmp6,icmp_type=134");  // no guest is a router for the others
}

}  // namespace

std::optional<Lock> lock_of(const agent::NicSpec& nic) {
    if (nic.disabled) return Lock{nic.mac, {}, {}};
    if (!nic.locked) return std::nullopt;
    return Lock{nic.mac, nic.ipv4, nic.ipv6};
}

std::string to_text(const Lock& lock) {
    return Json{{"mac", lock.mac}, {"ipv4", lock.ipv4}, {"ipv6", lock.ipv6}}.dump();
}

std::optional<Lock> lock_from(const std::string& text) {
    const Json json = Json::parse(text, nullptr, false);
    if (!json.is_object()) return std::nullopt;
    try {
        return Lock{json.at("mac").get<std::string>(),
                    json.at("ipv4").get<std::vector<std::string>>(),
                    json.at("ipv6").get<std::vector<std::string>>()};
    } catch (const Json::exception&) {
        return std::nullopt;
    }
}

std::string lock_rules(const std::string& port, std::int64_t number, const Lock& lock) {
    Rules rules(port, number, lock.mac);
    rules.drop_all();
    add_ipv4(rules, lock.ipv4, lock.mac);
    add_ipv6(rules, lock.ipv6, lock.mac);
    return rules.text();
}

std::string unlock_rules(const std::string& port) {
    return std::format("delete cookie={:#x}/-1\n", cookie_of(port));
}

std::map<std::string, std::string> all_lock_rules(const Snapshot& snapshot) {
    std::map<std::string, std::string> out;
    for (const auto& [name, interface] : snapshot.interfaces) {
        const auto kept = interface.external_ids.find(lock_key);
        const PortRow* port = snapshot.port(name);
        const BridgeRow* bridge = port == nullptr ? nullptr : snapshot.bridge_of(*port);
        if (kept == interface.external_ids.end() || bridge == nullptr) continue;
        const auto lock = lock_from(kept->second);
        if (lock && interface.ofport.value_or(0) > 0)
            out[bridge->name] += lock_rules(name, *interface.ofport, *lock);
    }
    return out;
}

}  // namespace basalt::nm::ovsdb
