#include "storage-manager/sim/sim_driver.hpp"

#include <algorithm>
#include <set>

#include "base/json.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"

namespace basalt::sm::sim {

namespace {

constexpr std::int64_t size_unit_bytes = 1024 * 1024;
constexpr std::int64_t size_bytes_max = std::int64_t{16} << 40;
constexpr std::size_t chain_images_max = 30;

std::int64_t rounded_size(const std::string& vdi, std::int64_t size_bytes) {
    if (size_bytes <= 0) throw backend_failure(Failure::vdi_size, std::to_string(size_bytes));
    if (size_bytes > size_bytes_max) throw err::vdi_too_large(vdi, std::to_string(size_bytes_max));
    return (size_bytes + size_unit_bytes - 1) / size_unit_bytes * size_unit_bytes;
}

agent::VdiSpec named(agent::VdiSpec spec, Loop& loop) {
    if (spec.uuid.empty()) spec.uuid = loop.new_uuid().text();
    checked_uuid(spec.uuid);
    return spec;
}

// The part of an image's path that serves as its uuid when it shows up as a hidden disk.
std::string uuid_of(const std::string& image) {
    return image.substr(image.rfind('/') + 1);
}

Task<std::string> probed(SharedWorld world, std::string name) {
    const auto known = world->repositories.find(name);
    if (known == world->repositories.end() || known->second.sr.empty())
        co_return "<SRlist></SRlist>";
    co_return "<SRlist><SR><UUID>" + known->second.sr + "</UUID></SR></SRlist>";
}

struct NewRepository {
    std::string name;
    std::string type;
    std::string sr;
};

Task<void> make_repository(Loop& loop, SharedWorld world, NewRepository wanted) {
    co_await sleep_for(loop, 10ms);
    Repository& made = world->repositories[wanted.name];
    made.type = wanted.type;
    made.sr = wanted.sr;
}

Task<void> drop_repository(Loop& loop, SharedWorld world, std::string name) {
    co_await sleep_for(loop, 10ms);
    world->repositories.erase(name);
}

}  // namespace

std::uint64_t World::read(const std::string& image, std::uint64_t block) const {
    for (std::string next = image; !next.empty();) {
        const auto found = images.find(next);
        if (found == images.end()) break;
        if (const auto own = found->second.blocks.find(block); own != found->second.blocks.end())
            return own->second;
        next = found->second.backing;
    }
    return 0;
}

SimDriver::SimDriver(Loop& loop, SharedWorld world, std::string repository, std::string sr_uuid)
    : loop_(loop),
      world_(std::move(world)),
      name_(std::move(repository)),
      sr_uuid_(std::move(sr_uuid)) {}

Task<agent::SrInfo> SimDriver::attach() {
    co_await pause();
    co_return measure();
}

Task<void> SimDriver::detach() {
    co_await pause();
    if (!open_.empty()) throw backend_failure(Failure::sr_in_use, "disks are open");
}

Task<agent::SrContents> SimDriver::scan() {
    co_await pause();
    collect_garbage();
    agent::SrContents out;
    std::set<std::string> inner;
    for (const auto& [uuid, disk] : repository().disks) {
        out.vdis.push_back(describe(uuid, disk));
        for (auto below = world_->images.at(disk.image).backing; !below.empty();
             below = world_->images.at(below).backing)
            inner.insert(below);
    }
    for (const std::string& image : inner) {
        agent::VdiInfo info = describe(uuid_of(image), {image, {}});
        info.hidden = info.read_only = true;
        out.vdis.push_back(std::move(info));
    }
    out.sr = measure();
    co_return out;
}

Task<agent::VdiInfo> SimDriver::stat(Location vdi) {
    co_await pause();
    co_return describe(vdi, disk(vdi));
}

Task<agent::VdiInfo> SimDriver::create(agent::VdiSpec spec) {
    spec = named(std::move(spec), loop_);
    const std::int64_t size = rounded_size(spec.uuid, spec.size_bytes);
    co_await pause();
    const auto known = repository().disks.find(spec.uuid);
    if (known != repository().disks.end()) {
        agent::VdiInfo info = describe(spec.uuid, known->second);
        if (info.size_bytes == size) co_return info;
        throw backend_failure(Failure::vdi_exists, spec.uuid);
    }
    co_return add(spec, make_image("", size));
}

Task<void> SimDriver::destroy(Location vdi) {
    checked_uuid(vdi);
    if (open_.contains(vdi)) throw err::vdi_in_use(vdi, "destroy");
    co_await pause();
    repository().disks.erase(vdi);
    collect_garbage();
}

Task<Attachment> SimDriver::open(Location vdi, agent::Access access) {
    co_await pause();
    Attachment out;
    out.read_only = access == agent::Access::ro;
    for (std::string next = disk(vdi).image; !next.empty(); next = world_->images.at(next).backing)
        out.chain.push_back({next, "sim"});
    open_[vdi] = access;
    co_return out;
}

Task<void> SimDriver::close(Location vdi) {
    co_await pause();
    open_.erase(vdi);
}

Task<Snapshots::Prepared> SimDriver::snapshot_prepare(Location vdi, agent::VdiSpec spec) {
    spec = named(std::move(spec), loop_);
    co_await pause();
    const std::string base = disk(vdi).image;
    if (repository().disks.contains(spec.uuid))
        throw backend_failure(Failure::vdi_exists, spec.uuid);
    Prepared out;
    out.leaf = {freeze(vdi), "sim"};
    out.snapshot = describe(spec.uuid, {base, spec});
    out.token = Json{{"vdi", vdi}, {"base", base}, {"leaf", out.leaf.path}, {"spec", spec}}.dump();
    co_return out;
}

Task<agent::VdiInfo> SimDriver::snapshot_commit(std::string token) {
    const Json words = Json::parse(token);
    const auto spec = words.at("spec").get<agent::VdiSpec>();
    const auto base = words.at("base").get<std::string>();
    co_await pause();
    const auto done = repository().disks.find(spec.uuid);
    if (done != repository().disks.end()) co_return describe(spec.uuid, done->second);
    if (!world_->images.contains(base)) throw backend_failure(Failure::snapshot_failed, base);
    co_return add(spec, make_image(base, world_->images.at(base).size_bytes));
}

Task<void> SimDriver::snapshot_abort(std::string token) {
    const Json words = Json::parse(token);
    const auto vdi = words.at("vdi").get<std::string>();
    co_await pause();
    const auto found = repository().disks.find(vdi);
    if (found != repository().disks.end() &&
        found->second.image == words.at("leaf").get<std::string>())
        found->second.image = words.at("base").get<std::string>();
    collect_garbage();
}

Task<agent::VdiInfo> SimDriver::clone(Location vdi, agent::VdiSpec spec) {
    spec = named(std::move(spec), loop_);
    const auto open = open_.find(vdi);
    if (open != open_.end() && open->second == agent::Access::rw)
        throw err::vdi_in_use(vdi, "clone");
    co_await pause();
    const auto done = repository().disks.find(spec.uuid);
    if (done != repository().disks.end()) co_return describe(spec.uuid, done->second);
    const std::int64_t size = world_->images.at(disk(vdi).image).size_bytes;
    co_return add(spec, make_image(frozen_content(vdi), size));
}

Task<agent::VdiInfo> SimDriver::revert(Location vdi, Location snapshot) {
    checked_uuid(vdi);
    checked_uuid(snapshot);
    if (open_.contains(vdi)) throw err::vdi_in_use(vdi, "revert");
    const auto open = open_.find(snapshot);
    if (open != open_.end() && open->second == agent::Access::rw)
        throw err::vdi_in_use(snapshot, "revert");
    co_await pause();
    (void)disk(vdi);
    const std::int64_t size = world_->images.at(disk(snapshot).image).size_bytes;
    const std::string fresh = make_image(frozen_content(snapshot), size);
    disk(vdi).image = fresh;
    collect_garbage();
    co_return describe(vdi, disk(vdi));
}

std::string SimDriver::frozen_content(const Location& vdi) {
    const std::string image = disk(vdi).image;
    const SimImage& now = world_->images.at(image);
    if (!now.backing.empty() && now.blocks.empty()) return now.backing;
    freeze(vdi);
    return image;
}

Task<agent::VdiInfo> SimDriver::resize(Location vdi, std::int64_t size_bytes) {
    const std::int64_t size = rounded_size(vdi, size_bytes);
    if (open_.contains(vdi)) throw err::vdi_in_use(vdi, "resize");
    co_await pause();
    SimImage& image = world_->images.at(disk(vdi).image);
    if (size < image.size_bytes) throw backend_failure(Failure::vdi_size, "a disk cannot shrink");
    image.size_bytes = size;
    co_return describe(vdi, disk(vdi));
}

Task<void> SimDriver::pause() {
    co_await sleep_for(loop_, Duration(1 + loop_.random() % 2'000'000));
}

Repository& SimDriver::repository() {
    const auto found = world_->repositories.find(name_);
    if (found == world_->repositories.end()) throw backend_failure(Failure::sr_unavailable, name_);
    return found->second;
}

SimDisk& SimDriver::disk(const Location& vdi) {
    checked_uuid(vdi);
    auto& disks = repository().disks;
    const auto found = disks.find(vdi);
    if (found == disks.end()) throw backend_failure(Failure::vdi_unavailable, vdi);
    return found->second;
}

std::string SimDriver::make_image(const std::string& backing, std::int64_t size_bytes) {
    const std::int64_t image_bytes = repository().image_bytes;
    const std::int64_t free_bytes = repository().size_bytes - used_bytes();
    if (image_bytes > free_bytes)
        throw ApiError("SR_FULL", {std::to_string(image_bytes), std::to_string(free_bytes)});
    std::string path = name_ + "/" + loop_.new_uuid().text();
    world_->images[path] = {backing, size_bytes, {}};
    return path;
}

agent::VdiInfo SimDriver::add(const agent::VdiSpec& spec, const std::string& image) {
    return describe(spec.uuid, repository().disks[spec.uuid] = {image, spec});
}

agent::VdiInfo SimDriver::describe(const std::string& uuid, const SimDisk& disk) const {
    const SimImage& image = world_->images.at(disk.image);
    agent::VdiInfo info;
    info.uuid = info.location = uuid;
    info.size_bytes = image.size_bytes;
    info.used_bytes = static_cast<std::int64_t>(image.blocks.size()) * block_bytes;
    info.name = disk.spec.name;
    info.description = disk.spec.description;
    info.sm_config = disk.spec.sm_config;
    if (!image.backing.empty()) {
        info.parent = uuid_of(image.backing);
        info.sm_config["vhd-parent"] = info.parent;
    }
    return info;
}

agent::SrInfo SimDriver::measure() {
    agent::SrInfo info;
    info.uuid = sr_uuid_;
    info.size_bytes = repository().size_bytes;
    for (const auto& [uuid, disk] : repository().disks)
        info.virtual_bytes += world_->images.at(disk.image).size_bytes;
    info.used_bytes = used_bytes();
    return info;
}

std::int64_t SimDriver::used_bytes() {
    const std::int64_t image_bytes = repository().image_bytes;
    const std::string start = name_ + "/";
    std::int64_t used = 0;
    for (auto at = world_->images.lower_bound(start);
         at != world_->images.end() && at->first.starts_with(start); ++at)
        used += static_cast<std::int64_t>(at->second.blocks.size()) * block_bytes + image_bytes;
    return used;
}

std::string SimDriver::freeze(const Location& vdi) {
    SimDisk& it = disk(vdi);
    if (chain_length(it.image) >= chain_images_max) throw backend_failure(Failure::chain_too_long);
    it.image = make_image(it.image, world_->images.at(it.image).size_bytes);
    return it.image;
}

std::size_t SimDriver::chain_length(const std::string& image) const {
    std::size_t length = 0;
    for (std::string next = image; !next.empty(); next = world_->images.at(next).backing)
        ++length;
    return length;
}

void SimDriver::collect_garbage() {
    for (bool found = true; found;) {
        std::set<std::string> needed;
        for (const auto& [uuid, disk] : repository().disks)
            needed.insert(disk.image);
        for (const auto& [path, image] : world_->images)
            needed.insert(image.backing);
        found = std::erase_if(world_->images, [&](const auto& entry) {
                    return entry.first.starts_with(name_ + "/") && !needed.contains(entry.first);
                }) > 0;
    }
}

Kind sim_kind(Loop& loop, SharedWorld world, const std::string& type) {
    const auto name_of = [type](const DeviceConfig& config) { return type + Json(config).dump(); };
    Kind kind;
    kind.facts.type = type;
    kind.facts.name = "Simulated " + type;
    kind.facts.description = "Disks in memory";
    kind.facts.vendor = "Basalt";
    kind.facts.version = "1.0";
    kind.facts.capabilities = {
        "SR_PROBE",       "SR_SCAN",           "SR_ATTACH",      "SR_DETACH",
        "VDI_CREATE",     "VDI_DELETE",        "VDI_ATTACH",     "VDI_DETACH",
        "VDI_CLONE",      "VDI_SNAPSHOT",      "VDI_RESIZE",     "VDI_ACTIVATE",
        "LARGE_VDI",      "THIN_PROVISIONING", "VDI_DEACTIVATE", "VDI_RESIZE_ONLINE",
        "VDI_CONFIG_CBT", "VDI_INTRODUCE",     "VDI_REVERT",     "SR_METADATA"};
    kind.make = [&loop, world, type, name_of](std::string sr_uuid,
                                              DeviceConfig config) -> std::unique_ptr<Driver> {
        const std::string name = name_of(config);
        world->repositories[name].type = type;  // as a folder that is simply there
        return std::make_unique<SimDriver>(loop, world, name, std::move(sr_uuid));
    };
    kind.create = [&loop, world, type, name_of](std::string sr_uuid, DeviceConfig config) {
        return make_repository(loop, world, {name_of(config), type, std::move(sr_uuid)});
    };
    kind.destroy = [&loop, world, name_of](std::string, DeviceConfig config) {
        return drop_repository(loop, world, name_of(config));
    };
    kind.probe = [world, name_of](DeviceConfig config) { return probed(world, name_of(config)); };
    return kind;
}

}  // namespace basalt::sm::sim
