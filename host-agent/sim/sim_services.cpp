#include "host-agent/sim/sim_services.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <format>
#include <utility>

#include "idl/errors.hpp"

namespace basalt::agent::sim {

namespace {

UniqueFd memory_file() {
    UniqueFd fd(::memfd_create("suspend-image", MFD_CLOEXEC));
    if (!fd) throw err::internal_error(std::string("memfd: ") + std::strerror(errno));
    return fd;
}

UniqueFd same_file(const UniqueFd& fd) {
    return UniqueFd(::dup(fd.get()));
}

std::string contents_of(const UniqueFd& fd) {
    std::string out(static_cast<std::size_t>(::lseek(fd.get(), 0, SEEK_END)), '\0');
    if (::pread(fd.get(), out.data(), out.size(), 0) != static_cast<ssize_t>(out.size()))
        throw err::internal_error("the suspend image cannot be read");
    return out;
}

}  // namespace

Task<HostFacts> SimServices::facts() {
    HostFacts facts = options_.facts;
    if (options_.services) {
        HostFacts set = co_await options_.services->facts();
        facts.hostname = std::move(set.hostname);
        if (!set.iscsi_iqn.empty()) facts.iscsi_iqn = std::move(set.iscsi_iqn);
    }
    if (machine_.settings.hostname) facts.hostname = *machine_.settings.hostname;
    if (machine_.settings.iscsi_iqn) facts.iscsi_iqn = *machine_.settings.iscsi_iqn;
    co_return facts;
}

Task<void> SimMachine::power(PowerAct act) {
    acts.push_back(act);
    co_return;
}

Task<void> SimMachine::change(HostChange change) {
    if (auto failing = std::exchange(fault, std::nullopt)) throw ApiError(std::move(*failing));
    if (change.hostname && (change.hostname->empty() || change.hostname->contains(' ')))
        throw err::host_name_invalid("not a name");
    if (change.iscsi_iqn && !change.iscsi_iqn->starts_with("iqn."))
        throw err::invalid_value("iscsi_iqn", *change.iscsi_iqn);
    if (change.timezone && !std::ranges::contains(co_await timezones(), *change.timezone))
        throw err::invalid_value("timezone", *change.timezone);
    const auto take = [](auto& kept, auto& fresh) {
        if (fresh) kept = std::move(fresh);
    };
    take(settings.hostname, change.hostname);
    take(settings.timezone, change.timezone);
    take(settings.ntp, change.ntp);
    take(settings.clock_seconds, change.clock_seconds);
    take(settings.syslog_destination, change.syslog_destination);
    take(settings.ssh_enabled, change.ssh_enabled);
    take(settings.console_idle_seconds, change.console_idle_seconds);
    take(settings.iscsi_iqn, change.iscsi_iqn);
    take(settings.multipathing, change.multipathing);
    take(settings.max_cstate, change.max_cstate);
}

Task<HostClock> SimMachine::clock() {
    HostClock out;
    out.timezone = settings.timezone.value_or("UTC");
    out.synchronised = !settings.ntp || settings.ntp->enabled;
    if (settings.ntp)
        for (const std::string& server : settings.ntp->servers)
            out.sources[server] = "synchronized";
    co_return out;
}

Task<void> SimMachine::debug_keys(std::string) {
    throw err::operation_not_allowed("a simulated machine has no hypervisor to write of");
    co_return;
}

Task<std::vector<std::string>> SimMachine::timezones() {
    co_return std::vector<std::string>{"Asia/Tokyo", "Europe/Zurich", "UTC"};
}

Task<std::string> SimMachine::log(HostLog which, bool clear) {
    if (which == HostLog::agent) co_return "host_ready\n";
    std::string text = kernel_log;
    if (clear) kernel_log.clear();
    co_return text;
}

// The other end is closed at once: an empty archive.
Task<UniqueFd> SimMachine::bundle(std::vector<std::string>, std::string) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw err::internal_error(std::string("bundle: ") + std::strerror(errno));
    const UniqueFd closed(ends[0]);
    co_return UniqueFd(ends[1]);
}

Task<std::vector<UsbFacts>> SimMachine::usb_devices() {
    std::vector<UsbFacts> out;
    for (const auto& [path, device] : usbs)
        out.push_back(device);
    co_return out;
}

Task<std::string> SimMachine::usb_node(UsbSpec spec) {
    const auto found = usbs.find(spec.path);
    if (found == usbs.end() || found->second.vendor_id != spec.vendor_id ||
        found->second.product_id != spec.product_id)
        throw err::invalid_device(spec.path);
    co_return "/dev/bus/usb/" + spec.path;
}

Task<std::vector<PciFacts>> SimMachine::pci_devices() {
    std::vector<PciFacts> out;
    for (const auto& [address, device] : pcis)
        out.push_back(device);
    co_return out;
}

Task<PciHiding> SimMachine::pci_hiding() {
    co_return hiding;
}

Task<PciHiding> SimMachine::pci_hide(std::string address, bool hidden) {
    if (!pcis.contains(address)) throw err::invalid_value("address", address);
    if (hidden && address == boots_from) throw err::boot_device_passthrough_disallowed(address);
    std::erase(hiding.next, address);
    if (hidden) hiding.next.push_back(address);
    std::ranges::sort(hiding.next);
    co_return hiding;
}

// Its functions lie in the slot behind it.
Task<std::string> SimMachine::pci_functions(std::string address, bool enabled) {
    if (fault) throw ApiError(*std::exchange(fault, {}));
    const auto card = pcis.find(address);
    if (card == pcis.end() || card->second.functions_max <= 0)
        throw err::invalid_value("address", address);
    std::erase_if(pcis, [&](const auto& each) { return each.second.physical_function == address; });
    for (std::int64_t i = 0; enabled && i < card->second.functions_max; ++i) {
        PciFacts function = card->second;
        function.address = std::format("{}{:02x}.{}", address.substr(0, 8), 16 + i / 8, i % 8);
        function.physical_function = address;
        function.functions_max = 0;
        function.related.clear();
        pcis.insert_or_assign(function.address, std::move(function));
    }
    co_return "sysfs";
}

void SimMachine::reboot() {
    hiding.now = hiding.next;
    std::erase_if(pcis, [](const auto& each) { return !each.second.physical_function.empty(); });
}

Task<Account> SimMachine::account(std::string who) {
    for (const auto& [name, account] : accounts)
        if (name == who || account.id == who) co_return account;
    throw err::subject_cannot_be_resolved();
    co_return Account{};
}

Task<void> SimServices::login(LoginArgs args) {
    if (options_.services) co_return co_await options_.services->login(std::move(args));
    // Its other users have one password for all.
    const bool known = args.user == "root" || machine_.accounts.contains(args.user);
    if (!known || args.password != options_.password)
        throw err::session_authentication_failed(args.user, "wrong password");
    co_return;
}

Task<void> SimServices::change_password(ChangePasswordArgs args) {
    if (options_.services) co_return co_await options_.services->change_password(std::move(args));
    if (args.user != "root" || args.old != options_.password)
        throw err::session_authentication_failed(args.user, "wrong password");
    options_.password = args.new_;
    co_return;
}

Task<std::string> SimServices::plugin_call(PluginCallArgs args) {
    if (options_.services) co_return co_await options_.services->plugin_call(std::move(args));
    throw err::xenapi_missing_plugin(args.plugin);
    co_return "";
}

Task<bool> SimServices::has_extension(std::string name) {
    if (options_.services) co_return co_await options_.services->has_extension(std::move(name));
    co_return false;
}

Task<std::string> SimServices::extension_call(ExtensionCallArgs args) {
    if (options_.services) co_return co_await options_.services->extension_call(std::move(args));
    throw err::message_method_unknown(args.name);
    co_return "";
}

Task<HostTime> SimServices::time() {
    HostTime now;
    now.seconds = loop_.wall_ns() / 1'000'000'000;
    now.utc_offset_seconds = options_.utc_offset_seconds;
    co_return now;
}

// One end says who it is and is kept, so that the other stays open.
Task<UniqueFd> SimServices::open_console() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
        throw err::internal_error(std::string("console: ") + std::strerror(errno));
    UniqueFd ours(ends[0]);
    UniqueFd theirs(ends[1]);
    const std::string greeting = options_.facts.hostname + " login: ";
    ::send(ours.get(), greeting.data(), greeting.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    consoles_.push_back(std::move(ours));
    co_return theirs;
}

std::string Shared::leaf_of(const std::string& vdi) const {
    for (const auto& [name, repository] : disks->repositories)
        if (const auto found = repository.disks.find(vdi); found != repository.disks.end())
            return found->second.image;
    return {};
}

const std::string* Shared::suspended_in(const std::string& vdi) const {
    for (std::string path = leaf_of(vdi); !path.empty(); path = disks->images.at(path).backing)
        if (const auto found = images.find(path); found != images.end()) return &found->second;
    return nullptr;
}

Task<void> SimImages::store(hv::DiskAttachment disk, Use fill) {
    const std::string key = shared_.leaf_of(disk.spec.disk->vdi);
    shared_.images.erase(key);
    const UniqueFd file = memory_file();
    co_await fill(same_file(file));
    shared_.images[key] = contents_of(file);
}

Task<void> SimImages::load(hv::DiskAttachment disk, Use drain) {
    const std::string* found = shared_.suspended_in(disk.spec.disk->vdi);
    if (found == nullptr) throw err::internal_error("the disk holds no suspend image");
    const UniqueFd file = memory_file();
    const std::string bytes = *found;
    if (::pwrite(file.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
        throw err::internal_error("the suspend image cannot be copied");
    co_await drain(same_file(file));
}

}  // namespace basalt::agent::sim
