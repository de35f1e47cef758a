// The same cases on every hypervisor: what a verb means.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "hypervisor/contract/suite.hpp"

namespace basalt::hv::contract {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

using Words = std::vector<std::string>;

TEST_P(HypervisorContract, a_guest_is_made_paused_runs_speaks_pauses_and_dies) {
    run([this]() -> Task<void> {
        const DomainConfig config = bench_->config();
        const DomId dom = co_await hv().create(config, {});
        EXPECT_GT(dom, 0);
        EXPECT_EQ(info(dom).power, agent::DomainPower::paused);
        EXPECT_EQ(info(dom).uuid, config.spec.uuid);
        EXPECT_EQ(co_await failure([](Hypervisor& h, DomainConfig again) -> Task<void> {
                      co_await h.create(std::move(again), {});
                  }(hv(), config)),
                  "DOMAIN_EXISTS");

        co_await hv().set_running(dom, true);
        EXPECT_EQ(info(dom).power, agent::DomainPower::running);
        co_await until_ready(dom);
        co_await until_ready(dom);  // a second client reads what was said before

        co_await hv().set_running(dom, false);
        co_await hv().set_running(dom, false);
        EXPECT_EQ(info(dom).power, agent::DomainPower::paused);
        co_await hv().set_running(dom, true);
        EXPECT_GT(co_await bench_->uptime(dom), 0);

        co_await hv().destroy(dom);
        EXPECT_THAT(hv().domains(), IsEmpty());
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());
        co_await hv().destroy(dom);
        EXPECT_THAT(events_->told, IsEmpty());

        const DomId next = co_await hv().create(config, {});
        EXPECT_GT(next, dom);
        co_await hv().destroy(next);
    });
}

TEST_P(HypervisorContract, guests_made_at_once_have_numbers_of_their_own) {
    run([this]() -> Task<void> {
        constexpr std::size_t count = 4;
        std::vector<Task<void>> makes;
        for (std::size_t i = 0; i < count; ++i)
            makes.push_back([](Hypervisor& h, DomainConfig config) -> Task<void> {
                co_await h.create(std::move(config), {});
            }(hv(), bench_->config()));
        co_await all(bench_->loop(), std::move(makes));
        std::set<DomId> numbers;
        for (const agent::DomainInfo& one : hv().domains())
            numbers.insert(one.domid);
        EXPECT_EQ(numbers.size(), count);
        for (const DomId dom : numbers)
            co_await hv().destroy(dom);
    });
}

TEST_P(HypervisorContract, a_create_that_fails_leaves_nothing) {
    run([this]() -> Task<void> {
        const DomainConfig config = bench_->failing_config();
        EXPECT_EQ(co_await failure([](Hypervisor& h, DomainConfig c) -> Task<void> {
                      co_await h.create(std::move(c), {});
                  }(hv(), config)),
                  "INTERNAL_ERROR");
        EXPECT_THAT(hv().domains(), IsEmpty());
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());
        EXPECT_THAT(events_->told, IsEmpty());
    });
}

TEST_P(HypervisorContract, the_guest_reboots_then_shuts_down_on_request) {
    run([this]() -> Task<void> {
        const DomainConfig config = bench_->config();
        DomId dom = co_await started(config);
        co_await bench_->reboot(dom);
        const bool stays = bench_->ways().restarts_in_place;
        EXPECT_TRUE(co_await told(stays ? "rebooted" : "ended reboot"));
        if (!stays) dom = co_await started(config);
        EXPECT_EQ(info(dom).power, agent::DomainPower::running);
        const UniqueFd console = co_await hv().open_console(dom, agent::ConsoleKind::serial);
        std::string said =
            co_await read_until(bench_->loop(), console.get(), "guest ready", boot_limit);
        while (stays && said.find("guest ready") == said.rfind("guest ready"))
            said += co_await read_until(bench_->loop(), console.get(), "guest ready", boot_limit);

        co_await hv().request(dom, GuestRequest::shutdown);
        EXPECT_TRUE(co_await told("ended shutdown"));
        EXPECT_THAT(hv().domains(), IsEmpty());
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());
    });
}

TEST_P(HypervisorContract, a_reboot_or_crash_ends_the_domain_when_its_spec_says_so) {
    run([this]() -> Task<void> {
        DomainConfig config = bench_->config();
        config.spec.on_reboot = agent::OnHalt::destroy;
        const DomId dom = co_await started(config);
        co_await bench_->reboot(dom);
        EXPECT_TRUE(co_await told("ended reboot"));

        const DomId second = co_await started(bench_->config());
        co_await bench_->panic(second);
        EXPECT_TRUE(co_await told("ended crashed"));

        events_->told.clear();
        const DomId third = co_await hv().create(bench_->config(), {});
        bench_->kill(third);
        EXPECT_TRUE(co_await told("ended crashed"));
        EXPECT_THAT(hv().domains(), IsEmpty());
    });
}

TEST_P(HypervisorContract, disks_and_nics_come_and_go_while_it_runs) {
    run([this]() -> Task<void> {
        DomainConfig config = bench_->config();
        config.disks.push_back(co_await bench_->disk("xvda", 0, agent::DiskKind::disk, "first"));
        DiskAttachment empty;
        empty.spec.vbd = "cd";
        empty.spec.device = "xvdd";
        empty.spec.position = 3;
        empty.spec.kind = agent::DiskKind::cd;
        empty.spec.access = agent::Access::ro;
        config.disks.push_back(empty);
        const DomId dom = co_await started(config);
        const std::string size = std::to_string(disk_bytes);
        const auto disks = [this, dom] { return bench_->disks(dom); };
        EXPECT_EQ(co_await bench_->disks(dom), Words{size});

        const DiskAttachment second =
            co_await bench_->disk("xvdb", 1, agent::DiskKind::disk, "second");
        co_await hv().plug_disk(dom, second);
        co_await hv().plug_disk(dom, second);
        EXPECT_EQ(co_await eventually<Words>(disks, {size, size}), (Words{size, size}));
        EXPECT_THAT(info(dom).plugged_disks, ElementsAre("xvda", "xvdd", "xvdb"));

        co_await bench_->grow(second, 2 * disk_bytes);
        co_await hv().disk_resized(dom, "xvdb", 2 * disk_bytes);
        const std::string twice = std::to_string(2 * disk_bytes);
        EXPECT_EQ(co_await eventually<Words>(disks, {size, twice}), (Words{size, twice}));

        co_await hv().unplug_disk(dom, "xvdb", false);
        co_await hv().unplug_disk(dom, "xvdb", false);
        EXPECT_EQ(co_await eventually<Words>(disks, {size}), Words{size});
        co_await hv().plug_disk(dom, second);  // the place is free again
        co_await hv().unplug_disk(dom, "xvdb", false);

        if (bench_->ways().emulates_for_kernels) {
            const auto cd = [this, dom] { return bench_->cd(dom); };
            EXPECT_EQ(co_await bench_->cd(dom), "");
            DiskAttachment medium = co_await bench_->disk("xvdd", 3, agent::DiskKind::cd, "medium");
            medium.spec.vbd = "cd";
            co_await hv().change_medium(dom, medium);
            EXPECT_EQ(co_await eventually<std::string>(cd, "medium"), "medium");
            co_await hv().change_medium(dom, empty);
            EXPECT_EQ(co_await eventually<std::string>(cd, ""), "");
            EXPECT_EQ(co_await failure(hv().unplug_disk(dom, "xvdd", false)),
                      "OPERATION_NOT_ALLOWED");
        }

        if (const auto nic = bench_->nic(0)) {
            const auto nics = [this, dom] { return bench_->nics(dom); };
            co_await hv().plug_nic(dom, *nic);
            co_await hv().plug_nic(dom, *nic);
            EXPECT_EQ(co_await eventually<Words>(nics, {nic->spec.mac}), Words{nic->spec.mac});
            co_await hv().unplug_nic(dom, 0, false);
            EXPECT_EQ(co_await eventually<Words>(nics, {}), Words{});
        } else {
            std::cout << "no NIC tried: not in a network namespace of its own\n";
        }
        co_await hv().destroy(dom);
    });
}

TEST_P(HypervisorContract, a_saved_guest_goes_on_where_it_was) {
    const std::string path = testing::TempDir() + "hv-saved-" + std::to_string(getpid());
    run([this, path]() -> Task<void> {
        DomainConfig config = bench_->config();
        config.disks.push_back(co_await bench_->disk("xvda", 0, agent::DiskKind::disk, "first"));
        const DomId dom = co_await started(config);
        const double before = co_await bench_->uptime(dom);
        double progress = 0;
        UniqueFd sink(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        co_await hv().save(dom, std::move(sink), [&progress](double now) { progress = now; });
        EXPECT_EQ(progress, 1);
        EXPECT_EQ(info(dom).power, agent::DomainPower::paused);
        co_await hv().destroy(dom);
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());

        UniqueFd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        const DomId back = co_await hv().restore(config, std::move(source), {});
        EXPECT_EQ(info(back).power, agent::DomainPower::paused);
        co_await hv().set_running(back, true);
        const double after = co_await bench_->uptime(back);
        EXPECT_GT(after, before);
        EXPECT_LT(after, before + 60);
        EXPECT_EQ(co_await bench_->disks(back), Words{std::to_string(disk_bytes)});
        co_await hv().destroy(back);

        UniqueFd garbage(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
        // An endless line of nothing is no saved guest; one that is cut short neither.
        EXPECT_EQ(::truncate(path.c_str(), 3), 0);
        UniqueFd cut(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        EXPECT_EQ(co_await failure([](Hypervisor& h, DomainConfig c, UniqueFd fd) -> Task<void> {
                      co_await h.restore(std::move(c), std::move(fd), {});
                  }(hv(), config, std::move(cut))),
                  "INTERNAL_ERROR");
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());
    });
    ::unlink(path.c_str());
}

TEST_P(HypervisorContract, memory_and_processors_of_a_running_guest_change) {
    const std::string path = testing::TempDir() + "hv-live-" + std::to_string(getpid());
    run([this, path]() -> Task<void> {
        constexpr std::int64_t mib = 1 << 20;
        DomainConfig config = bench_->config();
        config.spec.memory_target_bytes = 112 * mib;
        config.spec.vcpus_max = 3;
        const std::string seed = bench_->ways().makes_seed_drives ? "seedword42" : "";
        if (!seed.empty())
            config.spec.seed = agent::SeedDrive{
                .label = "cidata",
                .files = {{"meta-data", "instance-id: 7\n"}, {"user-data", seed + "\n"}}};
        const DomId dom = co_await started(config);
        const std::string uuid = config.spec.uuid;
        EXPECT_EQ(co_await bench_->find(dom, "seedword"), seed);

        // The target from the start on, then others.
        const auto memory = [this, dom]() -> Task<std::int64_t> {
            co_return info(dom).memory_bytes / mib;
        };
        EXPECT_EQ(co_await eventually<std::int64_t>(memory, 112), 112);
        EXPECT_EQ(info(dom).memory_target_bytes, 112 * mib);
        co_await bench_->live().set_memory_target(dom, 120 * mib);
        EXPECT_EQ(co_await eventually<std::int64_t>(memory, 120), 120);
        // Xen counts some pages that are not the guest's.
        EXPECT_EQ(events_->memory_bytes[uuid] / mib, 120);
        EXPECT_EQ(co_await failure(bench_->live().set_memory_target(dom, 129 * mib)),
                  "INVALID_VALUE");

        agent::CpuShares shares;
        shares.weight = 512;
        shares.cap_percent = 90;
        shares.mask.push_back(0);
        co_await bench_->live().set_cpu_shares(dom, std::move(shares));
        co_await bench_->live().set_cpu_shares(dom, {});
        EXPECT_GT(co_await bench_->uptime(dom), 0);

        // A saved guest comes back with what it has now.
        UniqueFd sink(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        co_await hv().save(dom, std::move(sink), {});
        co_await hv().destroy(dom);
        config.spec.memory_target_bytes = 120 * mib;
        UniqueFd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        const DomId back = co_await hv().restore(config, std::move(source), {});
        co_await hv().set_running(back, true);
        EXPECT_EQ(info(back).memory_target_bytes, 120 * mib);
        EXPECT_EQ(co_await bench_->find(back, "seedword"), seed);

        EXPECT_EQ(co_await bench_->cpus(back), "1");
        co_await bench_->live().set_vcpus(back, 2);
        EXPECT_EQ(info(back).vcpus, 2);
        EXPECT_EQ(co_await failure(bench_->live().set_vcpus(back, 4)), "INVALID_VALUE");
        // Linux takes later ones only from a hypervisor that it knows, and emulation is none.
        if ((co_await hv().facts()).accelerated && bench_->ways().starts_added_cpus) {
            const auto cpus = [this, back] { return bench_->cpus(back); };
            EXPECT_EQ(co_await eventually<std::string>(cpus, "2"), "2");
        }
        // It sleeps with the added one, twice, and goes on where it was.
        DomId now = back;
        config.spec.vcpus = 2;
        for (int round = 0; round < 2; ++round) {
            const double before = co_await bench_->uptime(now);
            UniqueFd into(::open(path.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC));
            co_await hv().save(now, std::move(into), {});
            co_await hv().destroy(now);
            UniqueFd from(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
            now = co_await hv().restore(config, std::move(from), {});
            co_await hv().set_running(now, true);
            const double after = co_await bench_->uptime(now);
            EXPECT_GT(after, before);
            EXPECT_LT(after, before + 60);
            EXPECT_EQ(info(now).vcpus, 2);
        }
        co_await bench_->live().set_vcpus(now, 3);
        EXPECT_EQ(info(now).vcpus, 3);
        co_await hv().destroy(now);
        EXPECT_THAT(bench_->traces(uuid), IsEmpty());
    });
    ::unlink(path.c_str());
}

TEST_P(HypervisorContract, a_save_that_fails_leaves_the_guest_running) {
    run([this]() -> Task<void> {
        const DomId dom = co_await started(bench_->config());
        UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
        EXPECT_EQ(co_await failure(hv().save(dom, std::move(full), {})), "INTERNAL_ERROR");
        EXPECT_EQ(info(dom).power, agent::DomainPower::running);
        EXPECT_GT(co_await bench_->uptime(dom), 0);
        co_await hv().destroy(dom);
    });
}

TEST_P(HypervisorContract, guests_outlive_the_hypervisor_and_are_found_again) {
    DomId dom = 0;
    DomId lost = 0;
    double before = 0;
    DomainConfig config = bench_->config();
    run([&]() -> Task<void> {
        config.disks.push_back(co_await bench_->disk("xvda", 0, agent::DiskKind::disk, "first"));
        dom = co_await started(config);
        lost = co_await hv().create(bench_->config(), {});
        before = co_await bench_->uptime(dom);
    });
    const std::string lost_uuid = info(lost).uuid;
    bench_->restart();
    events_ = std::make_unique<Recorder>(bench_->loop());
    run([&]() -> Task<void> {
        const auto found = co_await hv().adopt(*events_);
        EXPECT_EQ(found.size(), 2U);
        EXPECT_EQ(info(dom).uuid, config.spec.uuid);
        EXPECT_EQ(info(dom).power, agent::DomainPower::running);
        EXPECT_EQ(info(lost).power, agent::DomainPower::paused);
        EXPECT_THAT(info(dom).plugged_disks, ElementsAre("xvda"));
        const double after = co_await bench_->uptime(dom);
        EXPECT_GT(after, before);
        EXPECT_LT(after, before + 60);
        const DiskAttachment second =
            co_await bench_->disk("xvdb", 1, agent::DiskKind::disk, "second");
        co_await hv().plug_disk(dom, second);
        EXPECT_THAT(events_->told, IsEmpty());
        bench_->kill(lost);
        EXPECT_TRUE(co_await told("ended crashed"));
        co_await bench_->power_off(dom);
        EXPECT_TRUE(co_await told("ended shutdown"));
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());
    });
}

TEST_P(HypervisorContract, a_tpm_keeps_what_the_guest_put_there) {
    if (!bench_->ways().keeps_states) GTEST_SKIP() << "guests have no TPM there";
    const std::string path = testing::TempDir() + "hv-tpm-" + std::to_string(getpid());
    DomainConfig config = bench_->config();
    config.spec.tpm = true;
    const std::string vm = config.spec.uuid;
    const agent::StateRef its{.vm = vm, .kind = agent::StateKind::tpm};
    DomId dom = 0;
    run([&]() -> Task<void> {
        const DomId without = co_await started(bench_->config());
        EXPECT_EQ(co_await bench_->tpm(without), "");
        co_await hv().destroy(without);

        dom = co_await started(config);
        EXPECT_EQ(co_await bench_->tpm(dom), "2");
        EXPECT_EQ(co_await bench_->kept_in_tpm(dom), "");
        co_await bench_->keep_in_tpm(dom, "once");
        EXPECT_EQ(co_await bench_->kept_in_tpm(dom), "once");
    });
    // Another hypervisor finds the guest with its TPM.
    bench_->restart();
    events_ = std::make_unique<Recorder>(bench_->loop());
    run([&]() -> Task<void> {
        co_await hv().adopt(*events_);
        EXPECT_EQ(co_await bench_->kept_in_tpm(dom), "once");
        UniqueFd sink(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        co_await hv().save(dom, std::move(sink), {});
        co_await hv().destroy(dom);
        EXPECT_THAT(bench_->traces(vm), IsEmpty());
        UniqueFd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        const DomId back = co_await hv().restore(config, std::move(source), {});
        co_await hv().set_running(back, true);
        EXPECT_EQ(co_await bench_->kept_in_tpm(back), "once");
        events_->states.clear();
        co_await hv().destroy(back);
        EXPECT_THAT(bench_->traces(vm), IsEmpty());
    });
    ::unlink(path.c_str());
    run([&]() -> Task<void> {
        // What the guest left is told once, and stays where it is.
        KeptBytes left = co_await bench_->keeper().read_state(vm, agent::StateKind::tpm);
        EXPECT_TRUE(left.changed);
        EXPECT_THAT(co_await bench_->keeper().changed_states(), Contains(its));
        co_await bench_->keeper().note_told(vm, agent::StateKind::tpm, sha256_hex(left.bytes),
                                            "told");
        EXPECT_THAT(co_await bench_->keeper().changed_states(), IsEmpty());
        const DomId again = co_await started(config);
        EXPECT_EQ(co_await bench_->kept_in_tpm(again), "once");
        EXPECT_EQ(co_await failure(bench_->keeper().write_state(vm, agent::StateKind::tpm, {})),
                  "DOMAIN_EXISTS");
        co_await hv().destroy(again);
        EXPECT_THAT(events_->states, Contains(its));

        // The records' word replaces it: an empty one, or one that another VM had.
        co_await bench_->keeper().write_state(vm, agent::StateKind::tpm, {});
        const DomId fresh = co_await started(config);
        EXPECT_EQ(co_await bench_->kept_in_tpm(fresh), "");
        co_await hv().destroy(fresh);
        left.tag = "given";
        co_await bench_->keeper().write_state(vm, agent::StateKind::tpm, left);
        EXPECT_EQ((co_await bench_->keeper().read_state(vm, agent::StateKind::tpm)).tag, "given");
        const DomId given = co_await started(config);
        EXPECT_EQ(co_await bench_->kept_in_tpm(given), "once");
        co_await hv().destroy(given);
        co_await hv().purge(vm);
        EXPECT_TRUE(
            (co_await bench_->keeper().read_state(vm, agent::StateKind::tpm)).bytes.empty());
    });
}

TEST_P(HypervisorContract, every_kind_of_machine_can_be_made) {
    run([this]() -> Task<void> {
        for (const agent::Firmware firmware : {agent::Firmware::bios, agent::Firmware::uefi}) {
            if (firmware == agent::Firmware::uefi && !bench_->ways().has_uefi) continue;
            DomainConfig config = bench_->config();
            config.spec.boot = {.kind = agent::BootKind::firmware, .firmware = firmware};
            config.spec.boot.order = "cdn";
            config.spec.vcpus_max = 4;
            config.spec.rtc_offset_seconds = -3600;
            const std::string name(agent::text(firmware));
            config.disks.push_back(
                co_await bench_->disk("xvda", 0, agent::DiskKind::disk, name + "0"));
            config.disks.push_back(
                co_await bench_->disk("xvdi", 8, agent::DiskKind::disk, name + "8"));
            config.disks.push_back(co_await bench_->disk("xvdd", 3, agent::DiskKind::cd, name));
            if (const auto nic = bench_->nic(4)) config.nics.push_back(*nic);
            const DomId dom = co_await hv().create(config, {});
            EXPECT_EQ(info(dom).power, agent::DomainPower::paused);
            EXPECT_THAT(info(dom).plugged_disks, ElementsAre("xvda", "xvdi", "xvdd"));
            // While it is paused: firmware that is reset in the middle of its start resets once
            // more by itself, which is a reboot that is told.
            co_await hv().reset(dom);
            if (!bench_->ways().restarts_in_place) {
                EXPECT_THAT(events_->told, ElementsAre("ended reboot"));
                EXPECT_THAT(hv().domains(), IsEmpty());
                events_->told.clear();
                continue;
            }
            co_await hv().set_running(dom, true);
            EXPECT_EQ(info(dom).power, agent::DomainPower::running);
            co_await hv().destroy(dom);
            EXPECT_THAT(events_->told, IsEmpty());
        }
    });
}

TEST_P(HypervisorContract, the_graphical_console_speaks_rfb) {
    run([this]() -> Task<void> {
        DomainConfig config = bench_->config();
        if (!bench_->ways().emulates_for_kernels)
            config.spec.boot = {.kind = agent::BootKind::firmware,
                                .firmware = agent::Firmware::bios};
        const DomId dom = co_await hv().create(std::move(config), {});
        const UniqueFd fd = co_await hv().open_console(dom, agent::ConsoleKind::vnc);
        const std::string said = co_await read_until(bench_->loop(), fd.get(), "\n", act_limit);
        EXPECT_EQ(said, "RFB 003.008\n");
        co_await hv().destroy(dom);
    });
}

INSTANTIATE_TEST_SUITE_P(Sim, HypervisorContract, testing::Values("sim"));
INSTANTIATE_TEST_SUITE_P(Qemu, HypervisorContract, testing::Values("qemu"));
// Only within a control domain: tests/appliance/contract_test.py.
INSTANTIATE_TEST_SUITE_P(Xen, HypervisorContract, testing::Values("xen"));

}  // namespace
}  // namespace basalt::hv::contract
