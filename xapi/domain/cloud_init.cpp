#include "xapi/domain/cloud_init.hpp"

#include <array>
#include <cstdlib>
#include <map>

#include "idl/errors.hpp"
#include "idl/records/secret.hpp"
#include "idl/records/vif.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr const char* prefix = "cloud-init:";
constexpr const char* in_secret = "_secret";
// The names by which cloud-init's NoCloud knows drive and files.
constexpr const char* drive_label = "cidata";
constexpr std::array<const char*, 4> file_names = {"user-data", "meta-data", "network-config",
                                                   "vendor-data"};
constexpr std::size_t content_bytes_max = std::size_t{256} << 10;

std::string secret_text(const db::Txn& txn, const std::string& uuid) {
    std::optional<std::string> text;
    txn.each<Secret>([&](Ref<Secret>, const Secret& secret) {
        if (secret.uuid == uuid) text = secret.value;
    });
    if (!text) throw err::uuid_invalid("secret", uuid);
    return *text;
}

std::optional<std::string> text_of(const db::Txn& txn, const Vm& vm, const std::string& file) {
    const std::string key = prefix + file;
    if (const auto plain = vm.other_config.find(key); plain != vm.other_config.end())
        return plain->second;
    const auto secret = vm.other_config.find(key + in_secret);
    if (secret == vm.other_config.end()) return std::nullopt;
    return secret_text(txn, secret->second);
}

// Who the guest is: another instance, as a clone is, runs everything anew.
std::string with_instance(std::string meta_data, const Vm& vm) {
    const bool says_it =
        meta_data.starts_with("instance-id:") || meta_data.contains("\ninstance-id:");
    if (says_it) return meta_data;
    return "instance-id: " + vm.uuid + "\n" + meta_data;
}

std::string default_meta_data(const Vm& vm) {
    const std::string host = host_name_of(vm.name_label);
    return host.empty() ? std::string() : "local-hostname: " + host + "\n";
}

// A line of the network's description for each address of the interface; empty: it says nothing.
std::string interface_lines(const Vif& vif) {
    const bool v4 = vif.ipv4_configuration_mode == VifIpv4ConfigurationMode::static_;
    const bool v6 = vif.ipv6_configuration_mode == VifIpv6ConfigurationMode::static_;
    std::string out;
    if (vif.ipv4_configuration_mode == VifIpv4ConfigurationMode::dhcp) out += "    dhcp4: true\n";
    if (vif.ipv6_configuration_mode == VifIpv6ConfigurationMode::autoconf)
        out += "    accept-ra: true\n";
    std::string addresses;
    std::string routes;
    const auto add = [&](const std::vector<std::string>& given, const std::string& gateway) {
        for (const std::string& address : given)
            addresses += "      - \"" + address + "\"\n";
        if (!gateway.empty()) routes += "      - {to: default, via: \"" + gateway + "\"}\n";
    };
    if (v4) add(vif.ipv4_addresses, vif.ipv4_gateway);
    if (v6) add(vif.ipv6_addresses, vif.ipv6_gateway);
    if (!addresses.empty()) out += "    addresses:\n" + addresses;
    if (!routes.empty()) out += "    routes:\n" + routes;
    return out;
}

/// What VIF.configure_ipv4 and its like said, in the form that cloud-init calls version 2.
std::string network_config(const db::Txn& txn, const Vm& vm) {
    std::map<std::int64_t, const Vif*> by_device;
    for (const auto ref : vm.VIFs)
        if (const Vif* vif = txn.find(ref); vif != nullptr)
            by_device.emplace(std::strtoll(vif->device.c_str(), nullptr, 10), vif);
    std::string out;
    for (const auto& [device, vif] : by_device) {
        const std::string lines = interface_lines(*vif);
        if (lines.empty()) continue;
        out += "  vif" + std::to_string(device) + ":\n    match: {macaddress: \"" + vif->MAC +
               "\"}\n" + lines;
    }
    return out.empty() ? out : "version: 2\nethernets:\n" + out;
}

}  // namespace

std::string host_name_of(const std::string& name_label) {
    constexpr std::size_t label_max = 63;
    std::string out;
    for (const char c : name_label) {
        const bool plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (plain)
            out += c;
        else if (!out.empty() && out.back() != '-')
            out += '-';
        if (out.size() == label_max) break;
    }
    while (!out.empty() && out.back() == '-')
        out.pop_back();
    return out;
}

std::optional<agent::SeedDrive> cloud_init_drive(const db::Txn& txn, const Vm& vm) {
    agent::SeedDrive drive;
    for (const char* name : file_names)
        if (auto text = text_of(txn, vm, name)) drive.files.emplace(name, *std::move(text));
    if (drive.files.empty()) return std::nullopt;
    drive.label = drive_label;
    const auto meta = drive.files.find("meta-data");
    drive.files.insert_or_assign(
        "meta-data",
        with_instance(meta == drive.files.end() ? default_meta_data(vm) : meta->second, vm));
    // Without it a drive is none of cloud-init's.
    drive.files.try_emplace("user-data", "#cloud-config\n{}\n");
    if (std::string network = network_config(txn, vm); !network.empty())
        drive.files.try_emplace("network-config", std::move(network));
    std::size_t bytes = 0;
    for (const auto& [name, text] : drive.files)
        bytes += text.size();
    if (bytes > content_bytes_max) throw err::invalid_value("cloud-init", std::to_string(bytes));
    return drive;
}

}  // namespace basalt::domain
