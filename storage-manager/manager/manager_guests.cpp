// The manager's half that lasts: SRs that are attached, disks that guests have open, and what a
// new hostd finds of both.
#include <algorithm>
#include <set>

#include "base/json.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"
#include "storage-manager/manager/manager.hpp"

namespace basalt::sm {

namespace {

const std::string& location(const agent::DiskRef& disk) {
    return disk.location.empty() ? disk.vdi : disk.location;
}

std::string key(const agent::DiskRef& disk) {
    return disk.sr + "/" + location(disk);
}

}  // namespace

Task<DiskServer> Manager::open_disk(std::string vm, agent::DiskSpec spec) {
    if (!spec.disk) throw err::internal_error("an empty drive has no disk to open");
    const auto lease = co_await queue_.acquire("plug " + vm + " " + spec.device);
    const Plug plug{vm, spec.device};
    const auto known = disks_.find(plug);
    if (known != disks_.end() && known->second.spec.disk == spec.disk &&
        known->second.spec.access == spec.access)
        co_return known->second.server;
    if (known != disks_.end()) co_await unplug(plug);
    co_await serve(plug, spec);
    co_return disks_.at(plug).server;
}

Task<void> Manager::serve(Plug plug, agent::DiskSpec spec) {
    const agent::DiskRef disk = *spec.disk;
    const auto lease = co_await queue_.acquire("disk " + key(disk));
    const auto sr = co_await driver(disk.sr);
    const Claims::Id claim =
        co_await claims_.take({key(disk), disk.vdi, spec.access, Claims::Kind::guest, "attach"});
    std::exception_ptr failure;
    try {
        Attachment attachment = co_await sr->open(location(disk), spec.access);
        // Remembered first: a hostd that dies now finds the server and knows whose it is.
        disks_[plug] = {spec, claim, {}};
        co_await save();
        disks_[plug].server =
            co_await parts_.datapath->open(plug.first, plug.second, std::move(attachment));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (!failure) co_return;
    co_await asio::this_coro::reset_cancellation_state();
    disks_.erase(plug);
    claims_.release(claim);
    co_await shielded(save());
    spawn(loop_, "close disk", close_later(shared_from_this(), disk));
    std::rethrow_exception(failure);
}

Task<void> Manager::close_disk(std::string vm, std::string device) {
    const auto lease = co_await queue_.acquire("plug " + vm + " " + device);
    co_await unplug({vm, device});
}

Task<void> Manager::unplug(Plug plug) {
    const auto found = disks_.find(plug);
    if (found == disks_.end()) co_return co_await parts_.datapath->close(plug.first, plug.second);
    const OpenDisk old = found->second;
    {
        // A snapshot of the disk may be about to give it another leaf.
        const auto lease = co_await queue_.acquire("disk " + key(*old.spec.disk));
        co_await parts_.datapath->close(plug.first, plug.second);
        disks_.erase(plug);
    }
    claims_.release(old.claim);
    co_await driver_close(*old.spec.disk);
    co_await save();
}

Task<void> Manager::close_all(std::string vm) {
    co_await parts_.datapath->close_all(vm);
    std::vector<std::string> devices;
    for (const auto& [plug, disk] : disks_)
        if (plug.first == vm) devices.push_back(plug.second);
    for (const std::string& device : devices)
        co_await close_disk(vm, device);
}

std::vector<std::string> Manager::vms() const {
    std::set<std::string> out;
    for (const auto& [plug, disk] : disks_)
        out.insert(plug.first);
    return {out.begin(), out.end()};
}

std::optional<Manager::Plug> Manager::writer(const agent::DiskRef& disk) const {
    for (const auto& [plug, open] : disks_)
        if (open.spec.access == agent::Access::rw && key(*open.spec.disk) == key(disk)) return plug;
    return std::nullopt;
}

// -- after a restart ------------------------------------------------------------------------------

Task<void> Manager::adopt() {
    co_await load();
    const auto served = co_await parts_.datapath->adopt();
    co_await attach_wanted();
    std::set<Plug> alive;
    for (const Datapath::Served& one : served)
        alive.insert({one.vm, one.device});
    std::vector<Plug> remembered;
    for (const auto& [plug, disk] : disks_)
        remembered.push_back(plug);
    for (const Plug& plug : remembered) {
        if (alive.erase(plug) == 0) {
            log::info("disk_not_served", {{"vm", plug.first}, {"device", plug.second}});
            disks_.erase(plug);
            continue;
        }
        co_await adopt_disk(plug);
    }
    for (const auto& [vm, device] : alive)  // its record would have been durable before it
        log::error("disk_of_nobody", {{"vm", vm}, {"device", device}});
    co_await save();
}

Task<void> Manager::attach_wanted() {
    std::vector<Task<void>> attaching;
    for (const auto& [uuid, sr] : srs_)
        if (sr.wanted) attaching.push_back(attach_quietly(uuid));
    co_await all(loop_, std::move(attaching));
}

Task<void> Manager::attach_quietly(std::string uuid) {
    try {
        co_await attach(uuid);
    } catch (const ApiError& error) {
        log::error("sr_attach_failed", {{"sr", uuid}, {"error", error.what()}});
    }
}

Task<void> Manager::adopt_disk(Plug plug) {
    const agent::DiskSpec spec = disks_.at(plug).spec;
    const agent::DiskRef disk = *spec.disk;
    const Claims::Id claim =
        co_await claims_.take({key(disk), disk.vdi, spec.access, Claims::Kind::guest, "attach"});
    disks_.at(plug).claim = claim;
    // Idempotent: tells where the disk is served.
    disks_.at(plug).server = co_await parts_.datapath->open(plug.first, plug.second, {});
    try {
        const auto sr = co_await driver(disk.sr);
        co_await sr->open(location(disk), spec.access);
    } catch (const ApiError& error) {
        log::error("disk_adopt_failed", {{"vdi", disk.vdi}, {"error", error.what()}});
    }
}

Task<agent::SrInfo> Manager::attach(std::string uuid) {
    if (!srs_.at(uuid).driver) {
        std::shared_ptr<Driver> made = co_await parts_.drivers->make(srs_.at(uuid).what);
        srs_.at(uuid).driver = std::move(made);
    }
    const auto sr = srs_.at(uuid).driver;
    const agent::SrInfo info = co_await sr->attach();
    srs_.at(uuid).ready = true;
    co_return info;
}

Task<std::shared_ptr<Driver>> Manager::driver(std::string uuid) {
    const auto found = srs_.find(uuid);
    if (found == srs_.end() || !found->second.wanted) throw err::sr_not_attached(uuid);
    if (found->second.ready) co_return found->second.driver;
    const auto lease = co_await queue_.acquire("sr " + uuid);
    if (!srs_.at(uuid).ready) co_await attach(uuid);
    co_return srs_.at(uuid).driver;
}

void Manager::require_unused(const std::string& sr) const {
    for (const auto& [plug, open] : disks_)
        if (open.spec.disk->sr == sr) throw err::vdi_in_use(open.spec.disk->vdi, "detach");
}

Task<void> Manager::load() {
    const std::string text = co_await parts_.state->load();
    if (text.empty()) co_return;
    const Json state = Json::parse(text, nullptr, false);
    if (!state.is_object()) {
        log::error("storage_state_unreadable");
        co_return;
    }
    for (const Json& one : state.value("srs", Json::array())) {
        Sr sr;
        sr.what = {one.at("uuid").get<std::string>(), one.at("type").get<std::string>(),
                   one.at("config").get<DeviceConfig>()};
        sr.wanted = one.at("attached").get<bool>();
        srs_[sr.what.uuid] = sr;
    }
    for (const Json& one : state.value("disks", Json::array())) {
        const auto spec = one.at("spec").get<agent::DiskSpec>();
        if (spec.disk) disks_[{one.at("vm").get<std::string>(), spec.device}] = {spec, 0, {}};
    }
}

Task<void> Manager::save() {
    Json srs = Json::array();
    for (const auto& [uuid, sr] : srs_)
        srs.push_back({{"uuid", uuid},
                       {"type", sr.what.type},
                       {"config", sr.what.config},
                       {"attached", sr.wanted}});
    Json disks = Json::array();
    for (const auto& [plug, open] : disks_)
        disks.push_back({{"vm", plug.first}, {"spec", open.spec}});
    const Json state = {{"srs", srs}, {"disks", disks}};
    return parts_.state->save(state.dump(1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace basalt::sm
