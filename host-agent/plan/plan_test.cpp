#include "host-agent/plan/vm_plans.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/error.hpp"
#include "host-agent/testing/specs.hpp"

namespace basalt::agent::plan {
namespace {

using testing::cd_drive;
using testing::data_disk;
using testing::nic_of;
using testing::web;

Have running() {
    return {.vm = "web", .spec = web(), .power = DomainPower::running};
}

void expect_golden(const std::string& name, const Plan& plan) {
    const std::string path = "host-agent/plan/golden/" + name + ".txt";
    const std::string text = describe(plan);
    if (std::getenv("GOLDEN_UPDATE") != nullptr) std::ofstream(path) << text;
    std::stringstream golden;
    golden << std::ifstream(path).rdbuf();
    EXPECT_EQ(golden.str(), text) << path;
    const nlohmann::json json = plan;
    EXPECT_EQ(nlohmann::json::parse(json.dump()).get<Plan>(), plan) << "a journaled plan differs";
}

TEST(Plan, start) {
    expect_golden("vm_start", vm_start({.vm = "web"}, web(), false));
    expect_golden("vm_start_paused", vm_start({.vm = "web"}, web(), true));
}

TEST(Plan, shutdown_and_reboot) {
    expect_golden("vm_shutdown_clean", vm_shutdown(running(), {Method::clean, 60}));
    expect_golden("vm_shutdown_hard", vm_shutdown(running(), {Method::hard, 0}));
    expect_golden("vm_reboot_hard", vm_reboot(running(), {Method::hard, 0}, std::nullopt));
    VmSpec changed = web();
    changed.memory_bytes *= 2;
    changed.disks.push_back(data_disk("xvdb"));
    changed.nics.clear();
    expect_golden("vm_reboot_clean_changed", vm_reboot(running(), {Method::clean, 60}, changed));
}

TEST(Plan, suspend_and_resume) {
    const DiskRef image{"sr", "vdi-suspend", "vdi-suspend"};
    expect_golden("vm_suspend", vm_suspend(running(), image));
    expect_golden("vm_resume", vm_resume({.vm = "web"}, web(), image, false));
}

TEST(Plan, disks_and_nics) {
    const DiskRef medium{"iso", "vdi-medium", "medium.iso"};
    expect_golden("disk_plug", disk_plug(running(), data_disk("xvdb")));
    expect_golden("disk_unplug", disk_unplug(running(), "xvda", false));
    expect_golden("disk_insert", disk_insert(running(), "xvdd", medium));
    Have full = running();
    full.spec->disks.back().disk = medium;
    expect_golden("disk_eject", disk_eject(full, "xvdd"));
    expect_golden("nic_plug", nic_plug(running(), nic_of(1)));
    NicSpec locked = nic_of(0);
    locked.locked = true;
    expect_golden("nic_change", nic_change(running(), locked));
    expect_golden("nic_unplug", nic_unplug(running(), 0, true));
}

TEST(Plan, usb_devices) {
    const UsbSpec stick{"vusb-1", "1-2.3", "0781", "5591"};
    expect_golden("usb_plug", usb_plug(running(), stick));
    Have with_stick = running();
    with_stick.spec->usbs.push_back(stick);
    expect_golden("usb_unplug", usb_unplug(with_stick, "vusb-1"));
    EXPECT_THROW(usb_plug(with_stick, stick), ApiError);
    EXPECT_THROW(usb_unplug(running(), "vusb-1"), ApiError);
}

TEST(Plan, live_changes) {
    expect_golden("vm_set_memory", vm_set_memory(running(), 128 << 20));
    Have more = running();
    more.spec->vcpus_max = 4;
    expect_golden("vm_set_vcpus", vm_set_vcpus(more, 3));
    expect_golden("vm_set_cpu",
                  vm_set_cpu(running(), {.weight = 512, .cap_percent = 0, .mask = {0, 1}}));
    expect_golden("vm_signal", vm_signal(running(), GuestSignal::sysrq, "b"));
    expect_golden("vm_purge", vm_purge({.vm = "web"}));
}

TEST(Plan, a_live_change_is_what_the_vm_runs_from_next) {
    const Plan plan = vm_set_memory(running(), 128 << 20);
    EXPECT_EQ(plan.steps.back().act.kind, Kind::remember);
    EXPECT_EQ(plan.steps.back().act.spec->memory_target_bytes, 128 << 20);
    // A guest that was never told a target goes back to all it was made with.
    EXPECT_EQ(plan.steps.front().undo.front().spec->memory_target_bytes, web().memory_bytes);
}

TEST(Plan, guest_ends) {
    expect_golden("vm_ended", vm_ended(running()));
    expect_golden("vm_rebuild", vm_rebuild(running()));
}

TEST(Plan, verbs_that_cannot_begin) {
    const auto code = [](auto&& make) {
        try {
            make();
        } catch (const ApiError& error) {
            return error.code();
        }
        return std::string("planned");
    };
    EXPECT_EQ(code([] { vm_start(running(), web(), false); }), "VM_BAD_POWER_STATE");
    EXPECT_EQ(code([] { vm_shutdown({.vm = "web"}, {}); }), "VM_BAD_POWER_STATE");
    EXPECT_EQ(code([] { disk_plug(running(), data_disk("xvda")); }), "DEVICE_ALREADY_ATTACHED");
    EXPECT_EQ(code([] { disk_unplug(running(), "xvdz", false); }), "DEVICE_ALREADY_DETACHED");
    EXPECT_EQ(code([] { disk_eject(running(), "xvdd"); }), "VBD_IS_EMPTY");
    EXPECT_EQ(code([] { disk_insert(running(), "xvda", {}); }), "VBD_NOT_REMOVABLE_MEDIA");
    EXPECT_EQ(code([] { nic_plug(running(), nic_of(0)); }), "DEVICE_ALREADY_ATTACHED");
    EXPECT_EQ(code([] { nic_change(running(), nic_of(1)); }), "DEVICE_ALREADY_DETACHED");
    EXPECT_EQ(code([] { vm_set_memory(running(), web().memory_bytes + 1); }), "INVALID_VALUE");
    EXPECT_EQ(code([] { vm_set_memory({.vm = "web"}, 1); }), "VM_BAD_POWER_STATE");
    EXPECT_EQ(code([] { vm_set_vcpus(running(), 2); }), "INVALID_VALUE");
    EXPECT_EQ(code([] { vm_purge(running()); }), "VM_BAD_POWER_STATE");
    NicSpec other = nic_of(0);
    other.mac = "02:00:00:00:00:99";
    EXPECT_EQ(code([&] { nic_change(running(), other); }), "INVALID_VALUE");
}

}  // namespace
}  // namespace basalt::agent::plan
