#include "host-agent/core/planners.hpp"

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

using Json = nlohmann::json;
using plan::Have;
using plan::Plan;

namespace {

using PlanOf = Plan (*)(const Json&, const Have&);

template <class T>
T get(const Json& args, const char* name) {
    const auto found = args.find(name);
    return found == args.end() || found->is_null() ? T{} : found->get<T>();
}

std::string device_of(const Json& args) {
    return get<std::string>(args, "device");
}

plan::Ending ending_of(const Json& args) {
    return {args.at("method").get<Method>(), get<std::int64_t>(args, "timeout_seconds")};
}

std::optional<VmSpec> spec_of(const Json& args) {
    const auto found = args.find("spec");
    if (found == args.end() || found->is_null()) return std::nullopt;
    return found->get<VmSpec>();
}

const std::map<std::string, PlanOf, std::less<>>& guest_verbs() {
    static const std::map<std::string, PlanOf, std::less<>> table = {
        {"vm_start",
         [](const Json& args, const Have& have) {
             return plan::vm_start(have, args.at("spec").get<VmSpec>(), get<bool>(args, "paused"));
         }},
        {"vm_shutdown", [](const Json& args,
                           const Have& have) { return plan::vm_shutdown(have, ending_of(args)); }},
        {"vm_reboot",
         [](const Json& args, const Have& have) {
             return plan::vm_reboot(have, ending_of(args), spec_of(args));
         }},
        {"vm_pause", [](const Json&, const Have& have) { return plan::vm_pause(have); }},
        {"vm_unpause", [](const Json&, const Have& have) { return plan::vm_unpause(have); }},
        {"vm_suspend",
         [](const Json& args, const Have& have) {
             return plan::vm_suspend(have, args.at("into").get<DiskRef>());
         }},
        {"vm_resume",
         [](const Json& args, const Have& have) {
             return plan::vm_resume(have, args.at("spec").get<VmSpec>(),
                                    args.at("from").get<DiskRef>(), get<bool>(args, "paused"));
         }},
        {"vm_set_memory",
         [](const Json& args, const Have& have) {
             return plan::vm_set_memory(have, get<std::int64_t>(args, "target_bytes"));
         }},
        {"vm_set_vcpus",
         [](const Json& args, const Have& have) {
             return plan::vm_set_vcpus(have, get<std::int64_t>(args, "count"));
         }},
        {"vm_set_cpu",
         [](const Json& args, const Have& have) {
             return plan::vm_set_cpu(have, args.at("cpu").get<CpuShares>());
         }},
        {"vm_signal",
         [](const Json& args, const Have& have) {
             return plan::vm_signal(have, args.at("signal").get<GuestSignal>(),
                                    get<std::string>(args, "key"));
         }},
        {"vm_purge", [](const Json&, const Have& have) { return plan::vm_purge(have); }},
        {"disk_plug",
         [](const Json& args, const Have& have) {
             return plan::disk_plug(have, args.at("disk").get<DiskSpec>());
         }},
        {"disk_unplug",
         [](const Json& args, const Have& have) {
             return plan::disk_unplug(have, device_of(args), get<bool>(args, "force"));
         }},
        {"disk_insert",
         [](const Json& args, const Have& have) {
             return plan::disk_insert(have, device_of(args), args.at("disk").get<DiskRef>());
         }},
        {"disk_eject", [](const Json& args,
                          const Have& have) { return plan::disk_eject(have, device_of(args)); }},
        {"nic_plug",
         [](const Json& args, const Have& have) {
             return plan::nic_plug(have, args.at("nic").get<NicSpec>());
         }},
        {"nic_change",
         [](const Json& args, const Have& have) {
             return plan::nic_change(have, args.at("nic").get<NicSpec>());
         }},
        {"nic_unplug",
         [](const Json& args, const Have& have) {
             return plan::nic_unplug(have, get<std::int64_t>(args, "device"),
                                     get<bool>(args, "force"));
         }},
        {"usb_plug",
         [](const Json& args, const Have& have) {
             return plan::usb_plug(have, args.at("usb").get<UsbSpec>());
         }},
        {"usb_unplug",
         [](const Json& args, const Have& have) {
             return plan::usb_unplug(have, get<std::string>(args, "vusb"));
         }},
    };
    return table;
}

}  // namespace

bool is_guest_verb(const std::string& verb) {
    return guest_verbs().contains(verb);
}

std::string object_of(const std::string& verb, const Json& args) {
    if (is_guest_verb(verb)) {
        if (const auto spec = args.find("spec"); spec != args.end() && spec->is_object())
            return get<std::string>(*spec, "uuid");
        return get<std::string>(args, "uuid");
    }
    if (verb == "network_apply") return "network";
    if (verb == "host_power" || verb == "host_change" || verb == "pci_hide") return "machine";
    if (verb == "pci_functions") return "pci " + get<std::string>(args, "address");
    if (const auto disk = args.find("disk"); disk != args.end())
        return "disk " + get<std::string>(*disk, "vdi");
    if (const auto spec = args.find("spec"); spec != args.end())
        return "disk " + get<std::string>(*spec, "uuid");
    return "sr " + get<std::string>(args, "uuid");
}

Plan make_plan(const std::string& verb, const Json& args, const Have& have) {
    const auto found = guest_verbs().find(verb);
    if (found == guest_verbs().end()) return plan::single_call(verb, args);
    try {
        return found->second(args, have);
    } catch (const Json::exception& error) {
        throw err::internal_error(verb + ": " + error.what());
    } catch (const std::invalid_argument& error) {
        throw err::internal_error(verb + ": " + error.what());
    }
}

}  // namespace basalt::agent
