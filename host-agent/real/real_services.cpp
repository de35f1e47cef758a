#include "host-agent/real/real_services.hpp"

#include "host-agent/services/clock.hpp"
#include "host-agent/services/terminal.hpp"

namespace basalt::agent {

namespace {

constexpr const char* agent_version = "0.1";

}  // namespace

RealServices::RealServices(RealLoop& loop, const Config& config)
    : loop_(loop),
      console_program_(config.hostd.console_program),
      host_(config.host),
      storage_(config.storage),
      inventory_(loop),
      auth_(loop, {config.hostd.pam_service, config.hostd.pam_dir}),
      plugins_(loop, config.hostd.plugin_dir,
               std::make_shared<Cgroups>("basalt-plugins-" + config.host.uuid)),
      extensions_(loop, config.hostd.extension_dir),
      machine_(loop, {.etc = config.hostd.etc_dir,
                      .control = config.hostd.control,
                      .usb = {.devices = config.hostd.usb_dir},
                      .pci = {.devices = config.hostd.pci_dir}}) {}

Task<HostFacts> RealServices::facts() {
    HostFacts facts = co_await inventory_.facts();
    facts.uuid = host_.uuid;
    if (!host_.hostname.empty()) facts.hostname = host_.hostname;
    if (!host_.boot_id.empty()) facts.boot_id = host_.boot_id;
    if (host_.boot_time != 0) facts.boot_time = host_.boot_time;
    co_await blocking(loop_, [this, &facts] {
        if (std::string set = machine_.hostname(); !set.empty()) facts.hostname = std::move(set);
        if (std::string set = machine_.iscsi_iqn(); !set.empty()) facts.iscsi_iqn = std::move(set);
    });
    facts.agent_version = agent_version;
    facts.address = host_.address;  // with its prefix: the records need the mask too
    facts.gateway = host_.gateway;
    facts.dns = host_.dns;
    facts.management_device = host_.management;
    facts.local_sr = storage_.local_sr;
    facts.iso_sr_path = storage_.iso_sr;
    co_return facts;
}

Task<void> RealServices::login(LoginArgs args) {
    return auth_.login(std::move(args.user), log::Secret(std::move(args.password)),
                       std::move(args.address));
}

Task<void> RealServices::change_password(ChangePasswordArgs args) {
    return auth_.change_password(std::move(args.user), log::Secret(std::move(args.old)),
                                 log::Secret(std::move(args.new_)));
}

Task<HostTime> RealServices::time() {
    HostTime now;
    now.seconds = loop_.wall_ns() / 1'000'000'000;
    now.utc_offset_seconds =
        co_await blocking(loop_, [at = now.seconds] { return utc_offset_seconds(at); });
    co_return now;
}

Task<UniqueFd> RealServices::open_console() {
    co_return open_terminal(loop_, console_program_);
}

Task<bool> RealServices::has_extension(std::string name) {
    return extensions_.has(std::move(name));
}

Task<std::string> RealServices::extension_call(ExtensionCallArgs args) {
    return extensions_.call(std::move(args.name), std::move(args.request));
}

Task<std::string> RealServices::plugin_call(PluginCallArgs args) {
    return plugins_.call(std::move(args.plugin), std::move(args.function), std::move(args.args),
                         std::move(args.session));
}

}  // namespace basalt::agent
