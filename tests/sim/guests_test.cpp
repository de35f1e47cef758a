// Guests beside each other on a simulated host: their memory and processors, their order, their
// schedules, what they are told at their first boot.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "idl/records.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"

namespace basalt::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;
using wire::Value;
using xenapi::Ref;
using xenapi::Vm;
using xenapi::VmPowerState;

constexpr std::int64_t mib = std::int64_t{1} << 20;
constexpr std::int64_t gib = std::int64_t{1} << 30;

Value number(std::int64_t value) {
    return Value(std::to_string(value));
}

class Guests : public ::testing::Test {
  protected:
    Ref<Vm> vm_of(const std::string& name, std::int64_t least = 64 * mib,
                  std::int64_t most = 64 * mib) {
        const Ref<Vm> vm = pool.insert_vm(name);
        pool.db().transact([&](db::Txn& txn) {
            Vm& row = txn.edit(vm);
            row.memory_static_min = row.memory_dynamic_min = least;
            row.memory_dynamic_max = row.memory_static_max = most;
        });
        return vm;
    }

    void start(Ref<Vm> vm) { pool.call("VM.start", {of(vm), Value(false), Value(false)}); }

    void stop(Ref<Vm> vm) { pool.call("VM.hard_shutdown", {of(vm)}); }

    const Vm& row(Ref<Vm> vm) { return pool.db().get(vm); }

    std::int64_t actual(Ref<Vm> vm) { return pool.db().get(row(vm).metrics).memory_actual; }

    std::int64_t free_bytes() {
        return pool.get<std::int64_t>("host.compute_free_memory",
                                      {of(pool.xapi->core().this_host)});
    }

    hv::SimHost& machine() { return pool.hosts.front()->machine(); }

    // How long after the first of them each VM came to have a domain, in seconds.
    std::vector<std::int64_t> starts(const std::vector<Ref<Vm>>& vms) {
        std::vector<std::int64_t> out;
        for (const Ref<Vm> vm : vms)
            out.push_back(pool.db().get(row(vm).metrics).start_time.seconds);
        const std::int64_t first = out.empty() ? 0 : *std::ranges::min_element(out);
        for (std::int64_t& one : out)
            one -= first;
        return out;
    }

    SimPool pool{77};
};

TEST_F(Guests, a_start_squeezes_all_alike_and_what_is_free_again_is_given_back) {
    const Ref<Vm> big = vm_of("big", 2 * gib, 10 * gib);
    const Ref<Vm> small = vm_of("small", 1 * gib, 4 * gib);
    start(big);
    start(small);
    pool.pass(10s);
    EXPECT_EQ(actual(big), 10 * gib);
    EXPECT_EQ(actual(small), 4 * gib);

    const Ref<Vm> late = vm_of("late", 3 * gib, 8 * gib);
    start(late);
    EXPECT_EQ(row(late).power_state, VmPowerState::running);
    const auto fraction = [&](Ref<Vm> vm) {
        return static_cast<double>(row(vm).memory_target - row(vm).memory_dynamic_min) /
               static_cast<double>(row(vm).memory_dynamic_max - row(vm).memory_dynamic_min);
    };
    EXPECT_LT(row(big).memory_target, 10 * gib);
    EXPECT_NEAR(fraction(big), fraction(small), 0.01);
    EXPECT_NEAR(fraction(big), fraction(late), 0.01);
    EXPECT_EQ(actual(big), row(big).memory_target);
    EXPECT_EQ(machine().config(row(late).uuid)->spec.memory_target_bytes, row(late).memory_target);
    EXPECT_EQ(machine().config(row(late).uuid)->spec.memory_bytes, 8 * gib);
    pool.pass(30s);
    EXPECT_GE(free_bytes(), 0);

    stop(late);
    pool.pass(30s);
    EXPECT_EQ(actual(big), 10 * gib);
    EXPECT_EQ(actual(small), 4 * gib);
}

TEST_F(Guests, who_cannot_be_squeezed_keeps_others_out) {
    const Ref<Vm> stubborn = vm_of("stubborn", 1 * gib, 12 * gib);
    machine().scripts[row(stubborn).uuid] = {.balloons = false};
    start(stubborn);
    pool.pass(10s);
    const Ref<Vm> late = vm_of("late", 5 * gib, 6 * gib);
    EXPECT_EQ(code_of([&] { start(late); }), "HOST_NOT_ENOUGH_FREE_MEMORY");
    EXPECT_EQ(row(late).memory_target, 0);
    EXPECT_EQ(row(stubborn).memory_target, 12 * gib);
    EXPECT_TRUE(pool.get<bool>("VM.get_cooperative", {of(stubborn)}));

    // It says it has a balloon, and does not move it.
    const Ref<Vm> liar = vm_of("liar", 512 * mib, 1 * gib);
    machine().scripts[row(liar).uuid] = {.balloons_after = std::chrono::hours(1)};
    start(liar);
    pool.pass(10s);
    pool.call("VM.set_memory_dynamic_range", {of(liar), number(512 * mib), number(512 * mib)});
    EXPECT_FALSE(pool.get<bool>("VM.get_cooperative", {of(liar)}));
    EXPECT_THAT(pool.get<std::vector<Ref<Vm>>>("host.get_uncooperative_resident_VMs",
                                               {of(pool.xapi->core().this_host)}),
                ElementsAre(liar));
    EXPECT_EQ(code_of([&] { pool.call("VM.wait_memory_target_live", {of(liar)}); }),
              "VM_MEMORY_TARGET_WAIT_TIMEOUT");
    EXPECT_TRUE(row(liar).current_operations.empty());
}

TEST_F(Guests, the_memory_of_a_running_guest_follows_its_dynamic_range) {
    const Ref<Vm> vm = vm_of("one", 256 * mib, 1 * gib);
    start(vm);
    pool.pass(10s);
    pool.call("VM.set_memory_target_live", {of(vm), number(512 * mib)});
    pool.call("VM.wait_memory_target_live", {of(vm)});
    EXPECT_EQ(actual(vm), 512 * mib);
    EXPECT_EQ(row(vm).memory_dynamic_min, 512 * mib);
    pool.call("VM.set_memory_dynamic_max", {of(vm), number(1 * gib)});
    pool.pass(1s);
    EXPECT_EQ(actual(vm), 1 * gib);
    EXPECT_EQ(code_of([&] {
                  pool.call("VM.set_memory_dynamic_range", {of(vm), number(1), number(2 * gib)});
              }),
              "MEMORY_CONSTRAINT_VIOLATION_ORDER");
    EXPECT_EQ(code_of([&] { pool.call("VM.set_memory_static_max", {of(vm), number(2 * gib)}); }),
              "VM_BAD_POWER_STATE");
    // It sleeps and wakes with what it had.
    pool.call("VM.set_memory_target_live", {of(vm), number(512 * mib)});
    pool.call("VM.suspend", {of(vm)});
    pool.call("VM.resume", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(machine().config(row(vm).uuid)->spec.memory_target_bytes, 512 * mib);
    EXPECT_EQ(row(vm).memory_target, 512 * mib);
    stop(vm);
    EXPECT_EQ(row(vm).memory_target, 0);
}

TEST_F(Guests, processors_and_their_shares_change_while_it_runs) {
    const Ref<Vm> vm = vm_of("one");
    pool.call("VM.set_VCPUs_max", {of(vm), number(4)});
    pool.db().transact([&](db::Txn& txn) {
        txn.edit(vm).VCPUs_params = {{"weight", "512"}, {"mask", "nonsense"}};
    });
    start(vm);
    const auto spec = [&] { return machine().config(row(vm).uuid)->spec; };
    EXPECT_EQ(spec().cpu.weight, 512);
    EXPECT_THAT(spec().cpu.mask, IsEmpty());
    pool.call("VM.set_VCPUs_number_live", {of(vm), number(3)});
    EXPECT_EQ(spec().vcpus, 3);
    EXPECT_EQ(row(vm).VCPUs_at_startup, 3);
    EXPECT_EQ(pool.db().get(row(vm).metrics).VCPUs_number, 3);
    const auto set = [&](std::int64_t count) {
        return code_of([&] { pool.call("VM.set_VCPUs_number_live", {of(vm), number(count)}); });
    };
    EXPECT_EQ(set(5), "INVALID_VALUE");
    EXPECT_EQ(set(0), "INVALID_VALUE");
    pool.call("VM.add_to_VCPUs_params_live", {of(vm), Value("cap"), Value("50")});
    EXPECT_EQ(spec().cpu.cap_percent, 50);
    EXPECT_EQ(spec().cpu.weight, 512);
    const auto add = [&](const char* key, const char* value) {
        return code_of(
            [&] { pool.call("VM.add_to_VCPUs_params_live", {of(vm), Value(key), Value(value)}); });
    };
    EXPECT_EQ(add("cap", "60"), "MAP_DUPLICATE_KEY");
    EXPECT_EQ(add("weight", "heavy"), "INVALID_VALUE");
    machine().scripts[row(vm).uuid] = {.has_agent = false};
    EXPECT_EQ(set(1), "VM_LACKS_FEATURE");
    EXPECT_EQ(row(vm).VCPUs_at_startup, 3);
    // What changed holds over a reboot of hostd's making.
    pool.call("VM.hard_reboot", {of(vm)});
    EXPECT_EQ(spec().vcpus, 3);
    EXPECT_EQ(spec().cpu.cap_percent, 50);
}

TEST_F(Guests, signals_reach_the_guest) {
    const Ref<Vm> vm = vm_of("one");
    const auto send = [&](const char* message, std::vector<Value> more = {}) {
        std::vector<Value> args = {of(vm)};
        args.insert(args.end(), more.begin(), more.end());
        return code_of([&] { pool.call(message, std::move(args)); });
    };
    EXPECT_EQ(send("VM.send_trigger", {Value("nmi")}), "VM_BAD_POWER_STATE");
    start(vm);
    pool.pass(5s);
    EXPECT_EQ(send("VM.send_trigger", {Value("nmi")}), "success");
    EXPECT_EQ(send("VM.send_trigger", {Value("meteor")}), "INVALID_VALUE");
    EXPECT_EQ(send("VM.send_sysrq", {Value("b")}), "success");
    EXPECT_EQ(send("VM.s3_suspend"), "success");
    EXPECT_EQ(send("VM.s3_resume"), "success");
    EXPECT_THAT(machine().signals(row(vm).uuid), ElementsAre("nmi", "sysrq b", "sleep", "wakeup"));
    EXPECT_EQ(send("VM.call_plugin", {Value("p"), Value("f"), text_map({})}),
              "XENAPI_MISSING_PLUGIN");
    EXPECT_EQ(send("VM.call_host_plugin", {Value("p"), Value("f"), text_map({})}),
              "XENAPI_MISSING_PLUGIN");
}

TEST_F(Guests, a_device_model_is_exchanged_below_a_guest_that_goes_on) {
    const Ref<Vm> vm = pool.make_vm("one");
    start(vm);
    pool.pass(10s);
    const std::int64_t domid = row(vm).domid;
    pool.call("VM.restart_device_models", {of(vm)});
    EXPECT_EQ(row(vm).power_state, VmPowerState::running);
    EXPECT_NE(row(vm).domid, domid);
    EXPECT_GE(machine().uptime(row(vm).uuid), 10s);
    EXPECT_TRUE(row(vm).current_operations.empty());
    EXPECT_FALSE(row(vm).suspend_VDI);
}

TEST_F(Guests, cloud_init_is_told_what_the_fields_say) {
    const Ref<Vm> vm = vm_of("Web server #1");
    start(vm);
    EXPECT_FALSE(machine().config(row(vm).uuid)->spec.seed);
    stop(vm);
    const auto add = [&](const char* key, const std::string& value) {
        pool.call("VM.add_to_other_config", {of(vm), Value(key), Value(value)});
    };
    add("cloud-init:network-config", "version: 2\n");
    const Ref<xenapi::Secret> secret = pool.get<Ref<xenapi::Secret>>(
        "secret.create", {text_map({{"value", "#cloud-config\npassword: x\n"}})});
    add("cloud-init:user-data_secret", pool.db().get(secret).uuid);
    start(vm);
    const auto seed = machine().config(row(vm).uuid)->spec.seed;
    ASSERT_TRUE(seed);
    EXPECT_EQ(seed->label, "cidata");
    EXPECT_EQ(seed->files.at("user-data"), "#cloud-config\npassword: x\n");
    EXPECT_EQ(seed->files.at("network-config"), "version: 2\n");
    EXPECT_EQ(seed->files.at("meta-data"),
              "instance-id: " + row(vm).uuid + "\nlocal-hostname: Web-server-1\n");
    EXPECT_EQ(seed->files.size(), 3U);
    stop(vm);

    // A clone is another instance.
    const Ref<Vm> clone = pool.get<Ref<Vm>>("VM.clone", {of(vm), Value(std::string("other"))});
    start(clone);
    EXPECT_THAT(machine().config(row(clone).uuid)->spec.seed->files.at("meta-data"),
                ::testing::HasSubstr("instance-id: " + row(clone).uuid));

    pool.call("secret.destroy", {of(secret)});
    EXPECT_EQ(code_of([&] { start(vm); }), "UUID_INVALID");
    pool.call("VM.remove_from_other_config", {of(vm), Value("cloud-init:user-data_secret")});
    add("cloud-init:user-data", std::string(300 * 1024, 'x'));
    EXPECT_EQ(code_of([&] { start(vm); }), "INVALID_VALUE");
    EXPECT_TRUE(row(vm).current_operations.empty());
}

TEST_F(Guests, what_a_host_keeps_goes_with_the_vm) {
    const Ref<Vm> vm = vm_of("uefi");
    pool.db().transact(
        [&](db::Txn& txn) { txn.edit(vm).HVM_boot_params = {{"firmware", "uefi"}}; });
    const std::string uuid = row(vm).uuid;
    start(vm);
    stop(vm);
    EXPECT_THAT(machine().purged(), IsEmpty());
    pool.call("VM.destroy", {of(vm)});
    EXPECT_THAT(machine().purged(), ElementsAre(uuid));
}

class Appliances : public Guests {
  protected:
    Ref<xenapi::VmAppliance> appliance_of(const std::vector<Ref<Vm>>& vms) {
        const auto made = pool.db().transact(
            [](db::Txn& txn) { return txn.insert(xenapi::VmAppliance{.name_label = "shop"}); });
        for (const Ref<Vm> vm : vms)
            pool.call("VM.set_appliance", {of(vm), of(made)});
        return made;
    }

    void order(Ref<Vm> vm, std::int64_t order, std::int64_t start_delay) {
        pool.call("VM.set_order", {of(vm), number(order)});
        pool.call("VM.set_start_delay", {of(vm), number(start_delay)});
    }
};

TEST_F(Appliances, vms_start_in_waves_and_stop_the_other_way) {
    const std::vector<Ref<Vm>> vms = {vm_of("web"), vm_of("db"), vm_of("mail")};
    order(vms[0], 2, 0);
    order(vms[1], 1, 100);
    order(vms[2], 2, 0);
    const auto appliance = appliance_of(vms);
    using enum xenapi::VmApplianceOperation;
    const auto allowed = [&] { return pool.db().get(appliance).allowed_operations; };
    EXPECT_THAT(allowed(), ElementsAre(xenapi::VmApplianceOperation::start));
    pool.call("VM_appliance.start", {of(appliance), Value(false)});
    const auto after = starts(vms);
    EXPECT_EQ(after[1], 0);
    EXPECT_GE(after[0], 100);
    EXPECT_EQ(after[0], after[2]);
    EXPECT_THAT(allowed(), UnorderedElementsAre(clean_shutdown, hard_shutdown, shutdown));
    EXPECT_EQ(code_of([&] { pool.call("VM.set_is_a_template", {of(vms[0]), Value(true)}); }),
              "VM_BAD_POWER_STATE");

    pool.pass(5s);
    pool.call("VM_appliance.clean_shutdown", {of(appliance)});
    for (const Ref<Vm> vm : vms)
        EXPECT_EQ(row(vm).power_state, VmPowerState::halted);
    EXPECT_TRUE(pool.db().get(appliance).current_operations.empty());
}

TEST_F(Appliances, what_fails_is_named_and_the_rest_goes_on) {
    const std::vector<Ref<Vm>> vms = {vm_of("first"), vm_of("huge", 900 * gib, 900 * gib),
                                      vm_of("last")};
    order(vms[1], 1, 0);
    order(vms[2], 2, 0);
    const auto appliance = appliance_of(vms);
    std::vector<std::string> params;
    try {
        pool.call("VM_appliance.start", {of(appliance), Value(false)});
    } catch (const ApiError& error) {
        EXPECT_EQ(error.code(), "OPERATION_PARTIALLY_FAILED");
        params = error.params();
    }
    EXPECT_THAT(params, ElementsAre("start", vms[1].text()));
    EXPECT_EQ(row(vms[0]).power_state, VmPowerState::running);
    EXPECT_EQ(row(vms[2]).power_state, VmPowerState::running);
    // One sleeps: only switching off means anything to it.
    pool.call("VM.suspend", {of(vms[0])});
    pool.call("VM_appliance.shutdown", {of(appliance)});
    for (const Ref<Vm> vm : vms)
        EXPECT_EQ(row(vm).power_state, VmPowerState::halted);
}

TEST_F(Appliances, a_copy_is_in_no_appliance_and_on_no_schedule) {
    const Ref<Vm> vm = vm_of("one");
    const auto appliance = appliance_of({vm});
    const Ref<Vm> clone = pool.get<Ref<Vm>>("VM.clone", {of(vm), Value(std::string("two"))});
    EXPECT_FALSE(row(clone).appliance);
    EXPECT_THAT(pool.db().get(appliance).VMs, ElementsAre(vm));
}

TEST_F(Appliances, a_host_that_boots_starts_what_its_administrator_marked) {
    const std::vector<Ref<Vm>> vms = {vm_of("db"), vm_of("web"), vm_of("plain")};
    order(vms[0], 0, 50);
    order(vms[1], 1, 0);
    for (const Ref<Vm> vm : {vms[0], vms[1]})
        pool.call("VM.add_to_other_config", {of(vm), Value("auto_poweron"), Value("true")});
    pool.lose_power(0);
    pool.pass(60s);
    EXPECT_EQ(row(vms[0]).power_state, VmPowerState::halted);  // the pool does not say so
    pool.db().transact([&](db::Txn& txn) {
        txn.edit(pool.xapi->core().pool).other_config.insert_or_assign("auto_poweron", "true");
    });
    pool.lose_power(0);
    pool.pass(120s);
    EXPECT_EQ(row(vms[0]).power_state, VmPowerState::running);
    EXPECT_EQ(row(vms[1]).power_state, VmPowerState::running);
    EXPECT_EQ(row(vms[2]).power_state, VmPowerState::halted);
    EXPECT_GE(starts({vms[0], vms[1]})[1], 50);
}

class Schedules : public Guests {
  protected:
    Ref<xenapi::Vmss> schedule_of(Ref<Vm> vm, xenapi::VmssType type) {
        const auto made = pool.db().transact([type](db::Txn& txn) {
            xenapi::Vmss row;
            row.name_label = "hourly";
            row.type = type;
            row.frequency = xenapi::VmssFrequency::hourly;
            row.schedule = {{"min", "30"}};
            row.retained_snapshots = 2;
            row.enabled = true;
            return txn.insert(std::move(row));
        });
        pool.call("VM.set_snapshot_schedule", {of(vm), of(made)});
        return made;
    }

    // And a little, so that what is due then is done.
    void pass_half_hours(int count) {
        for (int i = 0; i < count; ++i)
            pool.pass(std::chrono::minutes(30));
        pool.pass(60s);
    }

    int messages(const std::string& name) {
        int count = 0;
        pool.db().each<xenapi::Message>([&](Ref<xenapi::Message>, const xenapi::Message& message) {
            count += message.name == name ? 1 : 0;
        });
        return count;
    }
};

TEST_F(Schedules, snapshots_are_taken_when_due_and_the_oldest_go) {
    const Ref<Vm> vm = pool.make_vm("one");
    const auto schedule = schedule_of(vm, xenapi::VmssType::snapshot);
    pass_half_hours(2);
    EXPECT_EQ(row(vm).snapshots.size(), 1U);
    EXPECT_TRUE(row(row(vm).snapshots.front()).is_vmss_snapshot);
    EXPECT_EQ(row(vm).snapshot_schedule, schedule);
    const Ref<Vm> oldest = row(vm).snapshots.front();
    pass_half_hours(4);
    EXPECT_EQ(row(vm).snapshots.size(), 2U);
    EXPECT_EQ(pool.db().find(oldest), nullptr);
    EXPECT_EQ(messages("VMSS_SNAPSHOT_SUCCEEDED"), 3);
    EXPECT_EQ(pool.db().get(schedule).last_run_time.seconds / 60 % 60, 30);
    // Disks of what went are gone too: its own, and those of two snapshots.
    int disks = 0;
    pool.db().each<xenapi::Vdi>([&](Ref<xenapi::Vdi>, const xenapi::Vdi&) { ++disks; });
    EXPECT_EQ(disks, 3);

    pool.db().transact([&](db::Txn& txn) { txn.edit(schedule).enabled = false; });
    pass_half_hours(4);
    EXPECT_EQ(row(vm).snapshots.size(), 2U);
}

TEST_F(Schedules, one_that_is_run_by_hand_keeps_memory_if_it_says_so) {
    const Ref<Vm> vm = pool.make_vm("one");
    const auto schedule = schedule_of(vm, xenapi::VmssType::checkpoint);
    start(vm);
    const auto uuid = pool.get<std::string>("VMSS.snapshot_now", {of(schedule)});
    const Ref<Vm> snapshot = row(vm).snapshots.front();
    EXPECT_EQ(row(snapshot).uuid, uuid);
    EXPECT_EQ(row(snapshot).power_state, VmPowerState::suspended);
    EXPECT_EQ(row(vm).power_state, VmPowerState::running);
    pool.call("VMSS.set_type", {of(schedule), Value("snapshot_with_quiesce")});
    EXPECT_EQ(code_of([&] { pool.call("VMSS.snapshot_now", {of(schedule)}); }),
              "OPERATION_PARTIALLY_FAILED");
    EXPECT_EQ(messages("VMSS_SNAPSHOT_FAILED"), 1);
}

TEST_F(Schedules, what_makes_no_sense_is_refused) {
    const auto schedule = schedule_of(vm_of("one"), xenapi::VmssType::snapshot);
    const auto add = [&](const char* key, const char* value) {
        return code_of(
            [&] { pool.call("VMSS.add_to_schedule", {of(schedule), Value(key), Value(value)}); });
    };
    EXPECT_EQ(add("hour", "25"), "INVALID_VALUE");
    EXPECT_EQ(add("min", "45"), "MAP_DUPLICATE_KEY");
    EXPECT_EQ(add("days", "Monday,Sunday"), "success");
    pool.call("VMSS.remove_from_schedule", {of(schedule), Value("days")});
    EXPECT_EQ(pool.db().get(schedule).schedule.size(), 1U);
    EXPECT_EQ(code_of([&] { pool.call("VMSS.set_retained_snapshots", {of(schedule), number(0)}); }),
              "INVALID_VALUE");
    EXPECT_EQ(
        code_of([&] { pool.call("VMSS.set_schedule", {of(schedule), text_map({{"min", "1"}})}); }),
        "INVALID_VALUE");
}

TEST_F(Guests, firmware_texts_are_set_once) {
    const Ref<Vm> vm = vm_of("one");
    const auto set = [&](const char* key, const std::string& value) {
        return code_of(
            [&] { pool.call("VM.set_bios_strings", {of(vm), text_map({{key, value}})}); });
    };
    EXPECT_EQ(set("bios-vendor", ""), "INVALID_VALUE");
    EXPECT_EQ(set("bios-vendor", " x"), "INVALID_VALUE");
    EXPECT_EQ(set("bios-vendor", "a\tb"), "INVALID_VALUE");
    EXPECT_EQ(set("bios-vendor", std::string(513, 'x')), "INVALID_VALUE");
    EXPECT_EQ(set("hp-rombios", "x"), "INVALID_VALUE");
    EXPECT_EQ(set("system-serial-number", "7, or so"), "success");
    EXPECT_EQ(set("system-serial-number", "8"), "VM_BIOS_STRINGS_ALREADY_SET");
    EXPECT_EQ(code_of([&] {
                  pool.call("VM.copy_bios_strings", {of(vm), of(pool.xapi->core().this_host)});
              }),
              "VM_BIOS_STRINGS_ALREADY_SET");
    start(vm);
    EXPECT_EQ(machine().config(row(vm).uuid)->spec.bios_strings.at("system-serial-number"),
              "7, or so");
}

TEST_F(Guests, the_store_of_a_guest_has_what_its_record_says_and_a_core_is_kept_when_asked_for) {
    const Ref<Vm> vm = vm_of("vm");
    const std::map<std::string, std::string> data = {
        {"vm-data/role", "web"},          {"vm-data/net/0", "10.0.0.1/24"},
        {"vm-data//x", "no path"},        {"vm-data/long", std::string(2049, 'x')},
        {"memory/target", "not its own"}, {"hello", "nor this"}};
    for (const auto& [key, value] : data)
        pool.call("VM.add_to_xenstore_data", {of(vm), Value(key), Value(value)});
    start(vm);
    const auto spec = [&] { return machine().config(row(vm).uuid)->spec; };
    EXPECT_THAT(spec().xenstore,
                ElementsAre(Pair("vm-data/net/0", "10.0.0.1/24"), Pair("vm-data/role", "web")));
    EXPECT_FALSE(spec().core_dump);
    EXPECT_EQ(row(vm).xenstore_data.size(), data.size());
    stop(vm);
    pool.call("VM.set_actions_after_crash", {of(vm), Value("coredump_and_restart")});
    start(vm);
    EXPECT_TRUE(spec().core_dump);
    EXPECT_EQ(spec().on_crash, agent::OnHalt::restart);
}

TEST_F(Guests, small_questions_have_answers) {
    const Ref<Vm> vm = pool.make_vm("one");
    EXPECT_EQ(code_of([&] { pool.call("VM.assert_agile", {of(vm)}); }),
              "HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED");
    EXPECT_EQ(code_of([&] { pool.call("VM.assert_agile", {of(vm_of("diskless"))}); }), "success");
    EXPECT_EQ(code_of([&] { pool.call("VM.get_boot_record", {of(vm)}); }), "VM_BAD_POWER_STATE");
    EXPECT_EQ(pool.get<xenapi::VmSecurebootReadiness>("VM.get_secureboot_readiness", {of(vm)}),
              xenapi::VmSecurebootReadiness::not_supported);
    start(vm);
    EXPECT_EQ(pool.get<Vm>("VM.get_boot_record", {of(vm)}).uuid, row(vm).uuid);
    EXPECT_EQ(
        (pool.get<xenapi::Map<std::string, std::string>>("VM.query_services", {of(vm)})).size(),
        0U);
    pool.call("VM.set_shadow_multiplier_live", {of(vm), Value(2.0)});
    EXPECT_GT(row(vm).memory_overhead, 0);
    EXPECT_EQ(code_of([&] { pool.call("VM.set_shadow_multiplier_live", {of(vm), Value(0.5)}); }),
              "INVALID_VALUE");
}

TEST_F(Guests, an_interface_is_limited_to_its_trunks_at_once) {
    const Ref<Vm> vm = pool.make_vm("router");
    const Ref<xenapi::Vif> vif = row(vm).VIFs.at(0);
    const auto tags = [](std::vector<std::int64_t> all) {
        wire::Array out;
        for (const std::int64_t tag : all)
            out.emplace_back(tag);
        return Value(std::move(out));
    };
    const auto host_has = [&] { return machine().config(row(vm).uuid)->spec.nics.at(0).trunks; };
    pool.call("VIF.set_trunks", {of(vif), tags({30, 10, 30})});
    EXPECT_THAT(pool.db().get(vif).trunks, ElementsAre(30, 10));
    start(vm);
    EXPECT_THAT(host_has(), ElementsAre(30, 10));
    pool.call("VIF.add_trunks", {of(vif), Value(std::int64_t{20})});
    pool.call("VIF.remove_trunks", {of(vif), Value(std::int64_t{30})});
    EXPECT_THAT(pool.db().get(vif).trunks, ElementsAre(10, 20));
    for (const std::int64_t tag : {0, 4095, -1}) {
        EXPECT_EQ(code_of([&] { pool.call("VIF.add_trunks", {of(vif), Value(tag)}); }),
                  "VLAN_TAG_INVALID");
        EXPECT_EQ(code_of([&] { pool.call("VIF.set_trunks", {of(vif), tags({5, tag})}); }),
                  "VLAN_TAG_INVALID");
    }
    stop(vm);
    start(vm);
    EXPECT_THAT(host_has(), ElementsAre(10, 20));

    // A VLAN has one tag.
    const auto network =
        pool.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record("seven")});
    pool.call("PIF.create_VLAN", {Value("eth0"), of(network), of(pool.xapi->core().this_host),
                                  Value(std::int64_t{7})});
    EXPECT_EQ(code_of([&] { pool.call("VIF.move", {of(vif), of(network)}); }),
              "NETWORK_INCOMPATIBLE_WITH_TRUNKS");
    pool.call("VIF.set_trunks", {of(vif), tags({})});
    pool.call("VIF.move", {of(vif), of(network)});
    EXPECT_EQ(code_of([&] { pool.call("VIF.add_trunks", {of(vif), Value(std::int64_t{5})}); }),
              "NETWORK_INCOMPATIBLE_WITH_TRUNKS");
}

}  // namespace
}  // namespace basalt::testing
