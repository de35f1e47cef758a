#include "xapi/transfer/ovf_document.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <pugixml.hpp>
#include <set>

#include "idl/errors.hpp"

namespace basalt::transfer {

namespace {

constexpr const char* null_ref = "OpaqueRef:NULL";
constexpr const char* vm_id = "ovf:vm";
constexpr std::int64_t mib = std::int64_t{1} << 20;
constexpr std::uint64_t disk_bytes_max = std::uint64_t{1} << 46;
constexpr std::int64_t memory_bytes_max = std::int64_t{1} << 44;
constexpr std::int64_t vcpus_max = 254;

// CIM_ResourceAllocationSettingData.ResourceType
constexpr int type_processor = 3;
constexpr int type_memory = 4;
constexpr int type_ethernet = 10;
constexpr int type_disk = 17;

/// Writers choose their own prefixes: only what is behind them tells.
std::string_view local(const char* name) {
    const std::string_view all(name);
    const std::size_t colon = all.find(':');
    return colon == std::string_view::npos ? all : all.substr(colon + 1);
}

std::string attribute(const pugi::xml_node& node, std::string_view name) {
    for (const pugi::xml_attribute one : node.attributes())
        if (local(one.name()) == name) return one.value();
    return {};
}

pugi::xml_node child(const pugi::xml_node& node, std::string_view name) {
    for (const pugi::xml_node one : node.children())
        if (local(one.name()) == name) return one;
    return {};
}

std::string text(const pugi::xml_node& node, std::string_view name) {
    return child(node, name).child_value();
}

std::uint64_t number(const std::string& value, const char* of) {
    std::uint64_t out = 0;
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, out);
    if (value.empty() || error != std::errc{} || stop != end)
        throw err::import_error(std::string(of) + " is no number: " + value.substr(0, 32));
    return out;
}

/// "byte * 2^20" as newer writers have it, words of older ones; empty means `otherwise`.
std::uint64_t unit_bytes(std::string unit, std::uint64_t otherwise) {
    std::erase(unit, ' ');
    std::ranges::transform(unit, unit.begin(), [](unsigned char c) {
        return static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    });
    if (unit.empty()) return otherwise;
    constexpr std::string_view power = "byte*2^";
    if (unit.starts_with(power)) {
        const std::uint64_t exponent = number(unit.substr(power.size()), "a unit");
        if (exponent <= 40) return std::uint64_t{1} << exponent;
    }
    static const std::map<std::string, std::uint64_t> words = {{"byte", 1},
                                                               {"bytes", 1},
                                                               {"kilobytes", 1U << 10U},
                                                               {"megabytes", 1 << 20},
                                                               {"gigabytes", 1 << 30},
                                                               {"kb", 1U << 10U},
                                                               {"mb", 1 << 20},
                                                               {"gb", 1 << 30}};
    const auto known = words.find(unit);
    if (known == words.end()) throw err::import_error("an unknown unit: " + unit.substr(0, 32));
    return known->second;
}

std::uint64_t product(std::uint64_t count, std::uint64_t unit, std::uint64_t most, const char* of) {
    if (count == 0 || count > most / unit)
        throw err::import_error(std::string(of) + " has no size that could be");
    return count * unit;
}

class Reading {
  public:
    explicit Reading(std::string_view text);
    OvfDocument run();

  private:
    struct Disk {
        std::string file;  // id of the file; empty: an empty disk
        std::string format;
        std::uint64_t bytes = 0;
    };

    struct Machine {
        std::uint64_t vcpus = 1;
        std::uint64_t memory_bytes = 0;
        std::vector<std::string> disks;     // ids, by their places
        std::vector<std::string> networks;  // names
    };

    void read_files();
    void read_disks();
    Machine read_machine(const pugi::xml_node& hardware);
    void add(std::string cls, std::string id, wire::Object snapshot);
    void add_vm(const pugi::xml_node& system, const Machine& machine);
    void add_disk(const std::string& id, std::size_t place);
    void add_interface(const std::string& network, std::size_t place);

    pugi::xml_document document_;
    pugi::xml_node envelope_;
    std::map<std::string, std::string> files_;  // id -> name in the archive
    std::map<std::string, Disk> disks_;
    std::set<std::string> networks_;
    OvfDocument out_;
};

Reading::Reading(std::string_view text) {
    if (!document_.load_buffer(text.data(), text.size()))
        throw err::import_error("the OVF description cannot be read");
    envelope_ = document_.document_element();
    if (local(envelope_.name()) != "Envelope")
        throw err::import_error("the OVF description has no Envelope");
}

void Reading::read_files() {
    for (const pugi::xml_node file : child(envelope_, "References").children()) {
        if (local(file.name()) != "File") continue;
        const bool packed =
            !attribute(file, "compression").empty() && attribute(file, "compression") != "identity";
        if (packed || !attribute(file, "chunkSize").empty())
            throw err::import_error("files in pieces or compressed ones are not read: " +
                                    attribute(file, "href"));
        files_[attribute(file, "id")] = attribute(file, "href");
    }
}

/// What the reader of disks calls it. Source: the URIs that VMware, VirtualBox and others write.
std::string format_of(const std::string& uri, const std::string& file) {
    constexpr std::array known = {"vmdk", "vhd", "qcow2"};
    for (const char* format : known)
        if (uri.find(format) != std::string::npos || file.ends_with(std::string(".") + format))
            return format;
    if (file.ends_with(".img") || file.ends_with(".raw")) return "raw";
    throw err::import_error("an unknown format of disk: " + uri);
}

void Reading::read_disks() {
    for (const pugi::xml_node node : child(envelope_, "DiskSection").children()) {
        if (local(node.name()) != "Disk") continue;
        Disk disk;
        const std::uint64_t unit = unit_bytes(attribute(node, "capacityAllocationUnits"), 1);
        disk.bytes = product(number(attribute(node, "capacity"), "a disk's capacity"), unit,
                             disk_bytes_max, "a disk");
        disk.file = attribute(node, "fileRef");
        if (!disk.file.empty()) {
            if (!files_.contains(disk.file))
                throw err::import_error_failed_to_find_object(disk.file);
            disk.format = format_of(attribute(node, "format"), files_.at(disk.file));
        }
        disks_[attribute(node, "diskId")] = std::move(disk);
    }
}

/// "ovf:/disk/ID", with or without what is before the slash.
std::optional<std::string> disk_named(const std::string& resource) {
    constexpr std::string_view mark = "/disk/";
    const std::size_t at = resource.find(mark);
    if (at == std::string::npos) return std::nullopt;
    return resource.substr(at + mark.size());
}

Reading::Machine Reading::read_machine(const pugi::xml_node& hardware) {
    Machine out;
    for (const pugi::xml_node item : hardware.children()) {
        const std::string_view kind = local(item.name());
        if (kind != "Item" && kind != "StorageItem" && kind != "EthernetPortItem") continue;
        const std::string type = text(item, "ResourceType");
        const auto said = static_cast<int>(type.empty() ? 0 : number(type, "a resource's type"));
        if (said == type_processor)
            out.vcpus = number(text(item, "VirtualQuantity"), "the number of processors");
        if (said == type_memory)
            out.memory_bytes =
                product(number(text(item, "VirtualQuantity"), "the memory"),
                        unit_bytes(text(item, "AllocationUnits"), static_cast<std::uint64_t>(mib)),
                        memory_bytes_max, "the memory");
        if (said == type_ethernet) out.networks.push_back(text(item, "Connection"));
        if (said != type_disk) continue;
        const auto id = disk_named(text(item, "HostResource"));
        if (!id || !disks_.contains(*id))
            throw err::import_error_failed_to_find_object(text(item, "HostResource"));
        if (std::ranges::find(out.disks, *id) != out.disks.end())
            throw err::import_error("a disk is in two drives: " + *id);
        out.disks.push_back(*id);
    }
    if (out.memory_bytes == 0) throw err::import_error("the VM has no memory");
    if (out.vcpus == 0 || out.vcpus > vcpus_max)
        throw err::import_error("the VM has no number of processors that could be");
    return out;
}

void Reading::add(std::string cls, std::string id, wire::Object snapshot) {
    out_.objects.push_back({std::move(cls), std::move(id), wire::Value(std::move(snapshot))});
}

/// Whether it boots by UEFI, as VMware and others tell it beside the standard.
bool says_uefi(const pugi::xml_node& hardware) {
    for (const pugi::xml_node node : hardware.children())
        if (local(node.name()) == "Config" && attribute(node, "key") == "firmware")
            return attribute(node, "value") == "efi";
    return false;
}

void Reading::add_vm(const pugi::xml_node& system, const Machine& machine) {
    const pugi::xml_node hardware = child(system, "VirtualHardwareSection");
    std::string name = text(system, "Name");
    if (name.empty()) name = attribute(system, "id");
    const std::string memory = std::to_string(machine.memory_bytes);
    const std::string vcpus = std::to_string(machine.vcpus);
    wire::Object boot{{"order", "cd"}};
    boot.push_back({"firmware", says_uefi(hardware) ? "uefi" : "bios"});
    wire::Object row{{"name_label", name},
                     {"name_description", text(child(system, "AnnotationSection"), "Annotation")},
                     {"power_state", "Halted"},
                     {"user_version", "1"},
                     {"is_a_template", false},
                     {"is_control_domain", false},
                     {"memory_static_max", memory},
                     {"memory_dynamic_max", memory},
                     {"memory_dynamic_min", memory},
                     {"memory_static_min", memory},
                     {"VCPUs_max", vcpus},
                     {"VCPUs_at_startup", vcpus},
                     {"actions_after_shutdown", "destroy"},
                     {"actions_after_reboot", "restart"},
                     {"actions_after_crash", "restart"},
                     {"HVM_boot_policy", "BIOS order"},
                     {"suspend_VDI", null_ref}};
    row.push_back({"HVM_boot_params", std::move(boot)});
    add("VM", vm_id, std::move(row));
}

void Reading::add_disk(const std::string& id, std::size_t place) {
    const Disk& disk = disks_.at(id);
    const std::string object = "ovf:disk:" + id;
    const std::string number = std::to_string(place < 3 ? place : place + 1);  // 3 is for CDs
    add("VBD", "ovf:drive:" + id,
        {{"VM", vm_id},
         {"VDI", object},
         {"userdevice", number},
         {"bootable", place == 0},
         {"mode", "RW"},
         {"type", "Disk"},
         {"empty", false},
         {"other_config", wire::Object{{"owner", ""}}}});
    add("VDI", object,
        {{"name_label", disk.file.empty() ? id : files_.at(disk.file)},
         {"name_description", ""},
         {"virtual_size", std::to_string(disk.bytes)},
         {"type", place == 0 ? "system" : "user"},
         {"sharable", false},
         {"read_only", false}});
    if (!disk.file.empty()) out_.files[files_.at(disk.file)] = {object, disk.format};
}

void Reading::add_interface(const std::string& network, std::size_t place) {
    const std::string id = "ovf:network:" + network;
    add("VIF", "ovf:interface:" + std::to_string(place),
        {{"VM", vm_id},
         {"network", id},
         {"device", std::to_string(place)},
         {"MAC", ""},
         {"MTU", "0"}});
    if (networks_.insert(network).second)
        add("network", id, {{"name_label", network.empty() ? "imported" : network}});
}

OvfDocument Reading::run() {
    read_files();
    read_disks();
    const pugi::xml_node system = child(envelope_, "VirtualSystem");
    if (!system) throw err::import_error("the OVF description has not one VirtualSystem");
    const Machine machine = read_machine(child(system, "VirtualHardwareSection"));
    add_vm(system, machine);
    for (std::size_t i = 0; i < machine.disks.size(); ++i)
        add_disk(machine.disks[i], i);
    for (std::size_t i = 0; i < machine.networks.size(); ++i)
        add_interface(machine.networks[i], i);
    return std::move(out_);
}

}  // namespace

OvfDocument parse_ovf(std::string_view text) {
    return Reading(text).run();
}

}  // namespace basalt::transfer
