#include "host-agent/metrics/sources.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace basalt::agent {
namespace {

using metrics::Kind;
using metrics::Sample;

double value_of(const std::vector<Sample>& samples, std::string_view name) {
    for (const Sample& sample : samples)
        if (sample.name == name) return sample.value;
    ADD_FAILURE() << "no sample " << name;
    return -1;
}

hv::DomainReading web(std::int64_t read_bytes, std::int64_t reads, double read_seconds) {
    hv::DomainReading out;
    out.uuid = "web";
    out.domid = 4;
    out.running = true;
    out.vcpu_seconds = {3, 1};
    out.memory_bytes = 1 << 20;
    out.memory_target_bytes = 2 << 20;
    out.memory_free_bytes = 512 << 10;
    out.disks.push_back({.device = "xvda",
                         .sr = "2f9c6d10-1111-4000-8000-000000000000",
                         .read_bytes = read_bytes,
                         .reads = reads,
                         .read_seconds = read_seconds});
    out.nics.push_back({.device = 0, .tap = "tapweb0"});
    return out;
}

HostReading host() {
    HostReading out;
    out.cpu_busy_seconds = {10, 30};
    out.load_average = 0.7;
    out.memory_total_kib = 1000;
    out.memory_free_kib = 400;
    out.links["eth0"] = {.rx_bytes = 100, .tx_bytes = 50, .rx_errors = 1, .tx_errors = 2};
    out.links["eth1"] = {.rx_bytes = 1000, .tx_bytes = 500};
    out.links["tapweb0"] = {.rx_bytes = 7, .tx_bytes = 9};
    return out;
}

TEST(Sources, of_a_host) {
    DiskRounds disks;
    const auto samples = host_samples(host(), {web(0, 0, 0)}, {"eth0", "eth1", "eth9"}, disks);
    EXPECT_EQ(value_of(samples, "cpu1"), 30);
    EXPECT_EQ(value_of(samples, "cpu_avg"), 20);
    EXPECT_EQ(value_of(samples, "loadavg"), 0.7);
    EXPECT_EQ(value_of(samples, "memory_total_kib"), 1000);
    EXPECT_EQ(value_of(samples, "memory_free_kib"), 400);
    EXPECT_EQ(value_of(samples, "pif_eth0_tx"), 50);
    EXPECT_EQ(value_of(samples, "pif_eth0_rx_errors"), 1);
    EXPECT_EQ(value_of(samples, "pif_aggr_rx"), 1100);
    EXPECT_EQ(value_of(samples, "running_domains"), 1);
}

TEST(Sources, of_processors_that_sleep_and_change_their_speed) {
    HostReading reading = host();
    reading.cpu_mhz = {1800.5, 0};
    reading.cpu_sleep_seconds = {{0.5, 90}, {}};
    const auto samples = host_samples(reading, {}, {}, DiskRounds());
    EXPECT_EQ(value_of(samples, "CPU0-avg-freq"), 1800.5);
    EXPECT_EQ(value_of(samples, "cpu0-C1"), 90);
    EXPECT_TRUE(std::ranges::none_of(samples, [](const Sample& sample) {
        return sample.name == "CPU1-avg-freq" || sample.name.starts_with("cpu1-C");
    }));
    EXPECT_EQ(describe_host_source("CPU0-avg-freq").units, "MHz");
    EXPECT_FALSE(describe_host_source("CPU0-avg-freq").standard);
    EXPECT_EQ(describe_host_source("cpu12-C3").description,
              "Time that processor 12 sleeps in state 3");
    EXPECT_EQ(describe_host_source("memory_reclaimed").units, "B");
}

TEST(Sources, of_what_virtual_processors_wait_for) {
    hv::DomainReading one = web(0, 0, 0);
    const auto has = [](const std::vector<Sample>& samples, std::string_view name) {
        return std::ranges::contains(samples, name, &Sample::name);
    };
    EXPECT_FALSE(has(vm_samples(one, host(), DiskRounds()), "runnable_vcpus"));
    one.vcpu_waiting_seconds = {1, 2};
    const auto two = vm_samples(one, host(), DiskRounds());
    EXPECT_EQ(value_of(two, "runnable_vcpus"), 1.5);
    EXPECT_FALSE(has(two, "runstate_fullrun"));
    one.wall_ns = 10'000'000'000;
    one.vcpu_seconds = {3};
    one.vcpu_waiting_seconds = {2};
    const auto alone = vm_samples(one, host(), DiskRounds());
    EXPECT_EQ(value_of(alone, "runstate_fullrun"), 3);
    EXPECT_EQ(value_of(alone, "runstate_full_contention"), 2);
    EXPECT_EQ(value_of(alone, "runstate_blocked"), 5);
    EXPECT_EQ(value_of(alone, "runstate_partial_run"), 0);
    EXPECT_EQ(describe_vm_source("runstate_blocked").max, 1);
}

TEST(Sources, of_a_guest_whose_interface_is_seen_from_the_other_side) {
    DiskRounds disks;
    disks.note({web(1 << 20, 10, 0.5)});
    const hv::DomainReading now = web(3 << 20, 30, 0.6);
    disks.note({now});
    const auto samples = vm_samples(now, host(), disks);
    EXPECT_EQ(value_of(samples, "cpu0"), 3);
    EXPECT_EQ(value_of(samples, "cpu_usage"), 2);
    EXPECT_EQ(value_of(samples, "memory"), 1 << 20);
    EXPECT_EQ(value_of(samples, "memory_internal_free"), 512);
    EXPECT_EQ(value_of(samples, "vif_0_rx"), 9);
    EXPECT_EQ(value_of(samples, "vif_0_tx"), 7);
    EXPECT_EQ(value_of(samples, "vbd_xvda_read"), 3 << 20);
    EXPECT_EQ(value_of(samples, "vbd_xvda_io_throughput_read"), 3);
    EXPECT_EQ(value_of(samples, "vbd_xvda_iops_total"), 30);
    EXPECT_NEAR(value_of(samples, "vbd_xvda_read_latency"), 5000, 1e-6);
    EXPECT_EQ(value_of(samples, "vbd_xvda_write_latency"), 0);
}

TEST(Sources, of_a_storage_repository_never_fall_when_a_guest_ends) {
    DiskRounds disks;
    disks.note({web(100, 1, 0)});
    disks.note({web(300, 2, 0)});
    disks.note({});
    hv::DomainReading again = web(50, 1, 0);
    again.domid = 5;
    disks.note({again});
    again.disks.front().read_bytes = 90;
    disks.note({again});
    const auto samples = host_samples(host(), {}, {}, disks);
    EXPECT_EQ(value_of(samples, "read_2f9c6d10"), 240);
}

TEST(Sources, of_a_qemu_that_was_silent_for_a_round_lose_nothing) {
    DiskRounds disks;
    disks.note({web(100, 1, 0)});
    hv::DomainReading silent = web(0, 0, 0);
    silent.disks.clear();
    disks.note({silent});
    EXPECT_EQ(disks.since("web", "xvda"), nullptr);
    disks.note({web(400, 2, 0)});
    EXPECT_EQ(disks.since("web", "xvda")->read_bytes, 300);
    EXPECT_EQ(value_of(host_samples(host(), {}, {}, disks), "read_2f9c6d10"), 300);
}

TEST(Sources, say_what_they_are) {
    const auto cpu = describe_vm_source("cpu11");
    EXPECT_EQ(cpu.units, "(fraction)");
    EXPECT_EQ(cpu.kind, Kind::derive);
    EXPECT_EQ(cpu.max, 1);
    EXPECT_EQ(describe_vm_source("memory").units, "B");
    EXPECT_EQ(describe_vm_source("memory_internal_free").units, "KiB");
    EXPECT_EQ(describe_vm_source("vbd_xvda_read").units, "B/s");
    EXPECT_EQ(describe_vm_source("vbd_xvda_io_throughput_read").units, "MiB/s");
    EXPECT_EQ(describe_vm_source("vbd_xvda_read_latency").kind, Kind::gauge);
    EXPECT_EQ(describe_vm_source("vif_0_rx").description,
              "Bytes a second received by virtual interface 0");
    EXPECT_FALSE(describe_vm_source("vif_0_tx_errors").standard);
    EXPECT_EQ(describe_vm_source("vif_0_tx_errors").units, "err/s");
    EXPECT_EQ(describe_host_source("pif_aggr_tx").units, "B/s");
    EXPECT_EQ(describe_host_source("pif_eth0_rx").kind, Kind::derive);
    EXPECT_EQ(describe_host_source("iops_write_2f9c6d10").units, "requests/s");
    EXPECT_EQ(describe_host_source("memory_free_kib").units, "KiB");
    EXPECT_EQ(describe_host_source("loadavg").kind, Kind::gauge);
    EXPECT_EQ(describe_sr_source("size").units, "B");
}

TEST(Gauges, are_read_from_the_kernels_files) {
    const std::filesystem::path root =
        std::filesystem::temp_directory_path() / ("basalt-gauges-" + std::to_string(::getpid()));
    std::filesystem::create_directories(root / "self/net");
    std::ofstream(root / "stat") << "cpu  9 9 9 9 9 9 9 9 0 0\n"
                                    "cpu0 100 20 30 5000 400 5 6 7 90 0\n"
                                    "cpu1 0 0 0 5000 400 0 0 0 0 0\n"
                                    "intr 12345\n";
    std::ofstream(root / "loadavg") << "1.25 0.50 0.10 2/345 6789\n";
    std::ofstream(root / "meminfo") << "MemTotal:       16000000 kB\nMemFree:  1 kB\n"
                                       "MemAvailable:    9000000 kB\n";
    std::ofstream(root / "self/net/dev")
        << "Inter-|   Receive  |  Transmit\n face |bytes packets errs\n"
           "  eth0: 123456789012 10 3 0 0 0 0 0 2222 20 4 0 0 0 0 0\n"
           "tap0001:5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n";
    const auto cpu = root / "devices/system/cpu/cpu1";
    std::filesystem::create_directories(cpu / "cpufreq");
    std::filesystem::create_directories(cpu / "cpuidle/state0");
    std::filesystem::create_directories(cpu / "cpuidle/state1");
    std::ofstream(cpu / "cpufreq/scaling_cur_freq") << "2400000\n";
    std::ofstream(cpu / "cpuidle/state0/time") << "1500000\n";
    std::ofstream(cpu / "cpuidle/state1/time") << "42000000\n";
    HostReading read = read_proc(root, {"tap0001", "eth0", "eth7"});
    read_processors(root, read);
    EXPECT_THAT(read.cpu_mhz, testing::ElementsAre(0, 2400));
    EXPECT_THAT(read.cpu_sleep_seconds,
                testing::ElementsAre(testing::IsEmpty(), testing::ElementsAre(1.5, 42)));
    std::ofstream(cpu / "cpufreq/cpuinfo_avg_freq") << "1999000\n";
    HostReading again = read_proc(root, {});
    read_processors(root, again);
    EXPECT_THAT(again.cpu_mhz, testing::ElementsAre(0, 1999));
    std::filesystem::remove_all(root);
    const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    EXPECT_THAT(read.cpu_busy_seconds, testing::ElementsAre(168 / ticks, 0));
    EXPECT_EQ(read.load_average, 1.25);
    EXPECT_EQ(read.memory_total_kib, 16000000);
    EXPECT_EQ(read.memory_free_kib, 9000000);
    EXPECT_EQ(read.links.at("eth0"), (LinkCounters{123456789012, 2222, 3, 4}));
    EXPECT_EQ(read.links.at("tap0001").tx_bytes, 6);
    EXPECT_FALSE(read.links.contains("eth7"));
    EXPECT_TRUE(read_proc("/nowhere", {}).cpu_busy_seconds.empty());
}

}  // namespace
}  // namespace basalt::agent
