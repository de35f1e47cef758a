#include "host-agent/services/pci.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <system_error>

namespace basalt::agent {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view hide_word = "xen-pciback.hide=";
constexpr std::size_t address_size = 12;  // 0000:00:00.0
constexpr std::size_t slot_size = 10;     // without the function

bool is_address(std::string_view text) {
    constexpr std::string_view form = "hhhh:hh:hh.o";
    if (text.size() != form.size()) return false;
    for (std::size_t i = 0; i < form.size(); ++i) {
        const char c = text[i];
        const bool octal = c >= '0' && c <= '7';
        const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (form[i] == 'o' ? !octal : form[i] == 'h' ? !hex : c != form[i]) return false;
    }
    return true;
}

/// The first line; empty where the device has none.
std::string attribute(const fs::path& device, const char* name) {
    std::ifstream in(device / name);
    std::string line;
    std::getline(in, line);
    return line;
}

std::int64_t number(const std::string& text) {
    std::int64_t out = 0;
    std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
}

/// `0x8086` as `8086`; of a class, `0x020000`, the first `digits`.
std::string id_of(const fs::path& device, const char* name, std::size_t digits = 4) {
    const std::string text = attribute(device, name);
    return text.starts_with("0x") ? text.substr(2, digits) : std::string();
}

/// The last part of what a link leads to; empty: there is no such link.
std::string target_name(const fs::path& link) {
    std::error_code absent;
    const fs::path target = fs::read_symlink(link, absent);
    return absent ? std::string() : target.filename().string();
}

PciFacts facts_of(const fs::path& device) {
    PciFacts facts;
    facts.address = device.filename();
    facts.class_id = id_of(device, "class");
    facts.vendor_id = id_of(device, "vendor");
    facts.device_id = id_of(device, "device");
    facts.subsystem_vendor_id = id_of(device, "subsystem_vendor");
    facts.subsystem_device_id = id_of(device, "subsystem_device");
    // The bus shows zeros for those that have no such numbers.
    if (facts.subsystem_vendor_id == "0000" && facts.subsystem_device_id == "0000") {
        facts.subsystem_vendor_id.clear();
        facts.subsystem_device_id.clear();
    }
    facts.driver = target_name(device / "driver");
    facts.physical_function = target_name(device / "physfn");
    facts.functions_max = number(attribute(device, "sriov_totalvfs"));
    return facts;
}

// Functions of one card share its slot, and go together; virtual ones are given singly.
void relate(std::vector<PciFacts>& devices) {
    for (PciFacts& one : devices) {
        if (!one.physical_function.empty()) continue;
        for (const PciFacts& other : devices)
            if (other.address != one.address && other.physical_function.empty() &&
                other.address.starts_with(std::string_view(one.address).substr(0, slot_size)))
                one.related.push_back(other.address);
    }
}

/// Names out of the list that the PCI ID project keeps; only those that are asked for are kept.
class Names {
  public:
    void want(const PciFacts& facts) {
        wanted_.insert(facts.vendor_id);
        wanted_.insert(device_key(facts));
        if (!facts.subsystem_vendor_id.empty()) {
            wanted_.insert(facts.subsystem_vendor_id);
            wanted_.insert(subsystem_key(facts));
        }
        wanted_.insert(class_key(facts));
        wanted_.insert(class_key(facts).substr(0, 4));
    }

    // Lines are `VVVV  NAME`, `\tDDDD  NAME`, `\t\tSSSS SSSS  NAME`, and after `C CC  NAME` the
    // subclasses `\tSS  NAME`.
    void read(std::istream& in) {
        std::string first;
        std::string second;
        for (std::string line; std::getline(in, line);) {
            if (line.empty() || line.front() == '#') continue;
            const std::size_t depth = line.find_first_not_of('\t');
            if (depth == std::string::npos || depth > 2) continue;
            const std::size_t gap = line.find("  ", depth);
            if (gap == std::string::npos) continue;
            std::string key = line.substr(depth, gap - depth);
            if (depth == 0) first = key;
            if (depth == 1) second = key;
            if (depth == 1) key = first + "/" + key;
            if (depth == 2) key = first + "/" + second + "/" + key;
            if (wanted_.contains(key)) found_.try_emplace(std::move(key), line.substr(gap + 2));
        }
    }

    void fill(PciFacts& facts) const {
        facts.vendor_name = name(facts.vendor_id);
        facts.device_name = name(device_key(facts));
        facts.class_name = name(class_key(facts));
        if (facts.class_name.empty()) facts.class_name = name(class_key(facts).substr(0, 4));
        if (facts.subsystem_vendor_id.empty()) return;
        facts.subsystem_vendor_name = name(facts.subsystem_vendor_id);
        facts.subsystem_device_name = name(subsystem_key(facts));
    }

  private:
    static std::string device_key(const PciFacts& facts) {
        return facts.vendor_id + "/" + facts.device_id;
    }

    static std::string subsystem_key(const PciFacts& facts) {
        return device_key(facts) + "/" + facts.subsystem_vendor_id + " " +
               facts.subsystem_device_id;
    }

    /// `C 02/00`; its first four characters are the class alone.
    static std::string class_key(const PciFacts& facts) {
        if (facts.class_id.size() != 4) return "C   ";
        return "C " + facts.class_id.substr(0, 2) + "/" + facts.class_id.substr(2);
    }

    [[nodiscard]] std::string name(const std::string& key) const {
        const auto found = found_.find(key);
        return found == found_.end() ? std::string() : found->second;
    }

    std::set<std::string> wanted_;
    std::map<std::string, std::string> found_;
};

}  // namespace

std::vector<PciFacts> pci_devices(const PciFolders& folders) {
    std::vector<PciFacts> out;
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(folders.devices, absent)) {
        PciFacts facts = facts_of(entry.path());
        // One that is being pulled out has no attributes any more.
        if (is_address(facts.address) && facts.class_id.size() == 4 && !facts.vendor_id.empty())
            out.push_back(std::move(facts));
    }
    std::ranges::sort(out, {}, &PciFacts::address);
    relate(out);
    Names names;
    for (const PciFacts& facts : out)
        names.want(facts);
    std::ifstream list(folders.names);
    if (!out.empty()) names.read(list);
    for (PciFacts& facts : out)
        names.fill(facts);
    return out;
}

std::vector<std::string> hidden_pci_devices(const std::string& command_line) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < command_line.size();) {
        const std::size_t end =
            std::min(command_line.find_first_of(" \n", at), command_line.size());
        const std::string word = command_line.substr(at, end - at);
        at = end + 1;
        if (!word.starts_with(hide_word)) continue;
        out.clear();  // the kernel counts the last one, too
        for (std::size_t open = word.find('('); open != std::string::npos;
             open = word.find('(', open + 1)) {
            std::string address = word.substr(open + 1, address_size);
            if (is_address(address)) out.push_back(std::move(address));
        }
    }
    std::ranges::sort(out);
    return out;
}

std::vector<std::string> hidden_pci_devices(const PciFolders& folders) {
    std::ifstream in(folders.command_line);
    return hidden_pci_devices(std::string(std::istreambuf_iterator<char>(in), {}));
}

std::optional<std::string> set_pci_functions(const PciFolders& folders, const std::string& address,
                                             bool enabled) {
    if (!is_address(address)) return std::nullopt;
    const fs::path device = fs::path(folders.devices) / address;
    const std::string most = attribute(device, "sriov_totalvfs");
    if (number(most) <= 0) return std::nullopt;
    const bool divided = number(attribute(device, "sriov_numvfs")) > 0;
    if (divided == enabled) return enabled ? "manual" : "sysfs";
    std::ofstream out(device / "sriov_numvfs");
    out << (enabled ? most : "0") << std::flush;
    if (!out.good())
        throw std::system_error(errno, std::generic_category(), address + ": sriov_numvfs");
    return "sysfs";
}

}  // namespace basalt::agent
