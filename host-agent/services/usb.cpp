#include "host-agent/services/usb.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <format>
#include <fstream>

namespace basalt::agent {

namespace {

namespace fs = std::filesystem;

constexpr const char* hub_class = "09";  // bDeviceClass, USB 2.0 table 9-8

// A device writes its own texts: control characters have no place in records.
std::string plain(std::string text) {
    std::erase_if(text, [](char c) { return (c >= '\0' && c < ' ') || c == '\x7f'; });
    const std::size_t first = text.find_first_not_of(' ');
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// Empty where the device does not say.
std::string attribute(const fs::path& device, const char* name) {
    std::ifstream in(device / name);
    std::string line;
    std::getline(in, line);
    return plain(std::move(line));
}

template <class N>
N number(const std::string& text) {
    N out{};
    std::from_chars(text.data(), text.data() + text.size(), out);
    return out;
}

// BUS-PORT[.PORT...]: neither a root hub (usb1) nor an interface (1-2:1.0).
bool is_device(const std::string& name) {
    return name.contains('-') && !name.contains(':');
}

UsbFacts facts_of(const fs::path& device) {
    return {.path = device.filename(),
            .vendor_id = attribute(device, "idVendor"),
            .product_id = attribute(device, "idProduct"),
            .version = attribute(device, "version"),
            .speed_mbps = number<double>(attribute(device, "speed")),
            .serial = attribute(device, "serial"),
            .vendor_desc = attribute(device, "manufacturer"),
            .product_desc = attribute(device, "product")};
}

}  // namespace

std::vector<UsbFacts> usb_devices(const UsbFolders& folders) {
    std::vector<UsbFacts> out;
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(folders.devices, absent)) {
        if (!is_device(entry.path().filename())) continue;
        if (attribute(entry.path(), "bDeviceClass") == hub_class) continue;
        UsbFacts facts = facts_of(entry.path());
        // One that is being pulled out has no attributes any more.
        if (facts.vendor_id.size() == 4 && facts.product_id.size() == 4)
            out.push_back(std::move(facts));
    }
    std::ranges::sort(out, {}, &UsbFacts::path);
    return out;
}

std::optional<std::string> usb_node(const UsbFolders& folders, const UsbSpec& spec) {
    if (!is_device(spec.path) || spec.path.contains('/')) return std::nullopt;
    const fs::path device = fs::path(folders.devices) / spec.path;
    if (attribute(device, "idVendor") != spec.vendor_id ||
        attribute(device, "idProduct") != spec.product_id)
        return std::nullopt;
    const int bus = number<int>(attribute(device, "busnum"));
    const int address = number<int>(attribute(device, "devnum"));
    if (bus <= 0 || address <= 0) return std::nullopt;
    return std::format("{}/{:03}/{:03}", folders.nodes, bus, address);
}

}  // namespace basalt::agent
