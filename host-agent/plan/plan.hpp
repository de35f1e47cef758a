#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent_values.hpp"

/// What a verb does to one host, as data: made by pure functions, journaled, run by run/.
namespace basalt::agent::plan {

/// The acts a plan is made of. All are idempotent: taking away what is absent succeeds.
enum class Kind : std::uint8_t {
    remember,       // keeps `spec` as what the VM runs from
    forget,         // the VM is gone from this host
    open_disk,      // `disk` of the VM, served by its datapath
    close_disk,     // by `device`
    add_port,       // `nic`
    remove_port,    // `nic`
    create,         // a paused domain from `spec`
    restore,        // a paused domain from `spec` and the open disk `device`
    destroy,        // the domain, at once
    run,            // the domain's processors
    pause,          // and their opposite
    ask,            // the guest to end: `word` is shutdown or reboot
    await_end,      // until it did, `timeout_seconds` at most
    save,           // memory and devices into the open disk `device`
    plug_disk,      // `disk`
    unplug_disk,    // `device`, `force`
    change_medium,  // of drive `disk`; an absent DiskRef ejects
    plug_nic,       // `nic`
    unplug_nic,     // `nic`, `force`
    set_memory,     // the running domain's target, to that of `spec`
    set_vcpus,      // its processors, to those of `spec`
    set_cpu,        // its share of the host's, to that of `spec`
    send,           // the signal `word` to the guest, with the key `device`
    plug_usb,       // `usb`
    unplug_usb,     // the VUSB `device`
    purge,          // what the host keeps of a VM that is off
    call,           // a verb that is one act: `word` with `args`
};

std::string_view text(Kind kind);

struct Act {
    Kind kind{};
    std::string vm;
    std::optional<DiskSpec> disk;
    std::optional<NicSpec> nic;
    std::optional<UsbSpec> usb;
    std::optional<VmSpec> spec;
    std::string device;
    std::string word;
    bool force = false;
    std::int64_t timeout_seconds = 0;
    nlohmann::json args;

    bool operator==(const Act&) const = default;
};

/// What follows when a step fails, or when hostd was killed inside it.
enum class Resolve : std::uint8_t {
    back,     // all is undone; a restart undoes this step too
    again,    // a restart tries the step again and goes on; a failure undoes what came before
    forward,  // never given up: a failure becomes a leftover that is retried, and the plan goes on
};

std::string_view text(Resolve resolve);

struct Step {
    std::string name;
    double weight = 1;
    Act act;
    Resolve resolve = Resolve::back;
    std::vector<Act> undo;  // in order of execution

    bool operator==(const Step&) const = default;
};

/// Steps of resolve `forward` come last: once one has begun, there is no way back and no cancel.
struct Plan {
    std::string verb;
    std::string vm;
    std::vector<Step> steps;

    bool operator==(const Plan&) const = default;
};

/// Whether the plan takes hold of anything: a disk, a port, a domain.
bool acquires(const Plan& plan);

/// The plan as text, a line a step: what the golden files hold.
std::string describe(const Plan& plan);
/// An act in words: "open disk xvda".
std::string describe(const Act& act);

void to_json(nlohmann::json& json, const Act& act);
void from_json(const nlohmann::json& json, Act& act);
void to_json(nlohmann::json& json, const Plan& plan);
void from_json(const nlohmann::json& json, Plan& plan);

}  // namespace basalt::agent::plan
