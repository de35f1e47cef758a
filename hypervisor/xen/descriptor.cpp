#include "hypervisor/xen/descriptor.hpp"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "hypervisor/qemu/descriptor.hpp"

namespace basalt::hv::xen {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* suffix = ".json";

json rendered(const Descriptor& value) {
    return {{"dom", value.dom},
            {"complete", value.complete},
            {"boot_id", value.boot_id},
            {"started_at", value.started_at},
            {"config", value.config}};
}

std::optional<Descriptor> parsed(const std::string& text) {
    try {
        const json from = json::parse(text);
        Descriptor out;
        from.at("dom").get_to(out.dom);
        from.at("complete").get_to(out.complete);
        from.at("boot_id").get_to(out.boot_id);
        from.at("started_at").get_to(out.started_at);
        from.at("config").get_to(out.config);
        return out;
    } catch (const json::exception&) {
        return std::nullopt;
    }
}

}  // namespace

Descriptors::Descriptors(std::string folder) : folder_(std::move(folder)) {}

void Descriptors::write(const Descriptor& descriptor) const {
    fs::create_directories(folder_);
    qemu::write_file(folder_ + "/" + descriptor.config.spec.uuid + suffix,
                     rendered(descriptor).dump());
}

void Descriptors::remove(const std::string& uuid) const {
    fs::remove(folder_ + "/" + uuid + suffix);
}

Descriptors::Found Descriptors::read() const {
    Found found;
    fs::create_directories(folder_);
    for (const auto& entry : fs::directory_iterator(folder_)) {
        if (entry.path().extension() != suffix) continue;
        auto one = parsed(qemu::read_file(entry.path()));
        const std::string uuid = entry.path().stem();
        if (one && one->config.spec.uuid == uuid)
            found.all.push_back(std::move(*one));
        else
            found.broken.push_back(uuid);
    }
    return found;
}

}  // namespace basalt::hv::xen
