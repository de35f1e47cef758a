#include "host-agent/services/inventory.hpp"

#include <gtest/gtest.h>

#include "host-agent/services/clock.hpp"
#include "host-agent/services/testing.hpp"

namespace basalt::agent {
namespace {

TEST(Inventory, reads_a_machine) {
    testing_::Folder root;
    root.write("proc/cpuinfo",
               "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n"
               "model name\t: Some CPU @ 2.00GHz\nstepping\t: 7\ncpu MHz\t\t: 2000.125\n"
               "physical id\t: 0\nsiblings\t: 4\ncpu cores\t: 2\nflags\t\t: fpu vme svm\n\n"
               "processor\t: 1\nphysical id\t: 1\nmodel name\t: Other\n\n");
    root.write("proc/meminfo", "MemTotal:        2048 kB\nMemFree: 5 kB\nMemAvailable:  1024 kB\n");
    root.write("proc/stat", "cpu 1 2 3\nbtime 1700000000\nprocesses 5\n");
    root.write("proc/sys/kernel/random/boot_id", "b-1\n");
    root.write("proc/sys/kernel/osrelease", "6.12.0\n");
    root.write("proc/sys/kernel/hostname", "box\n");
    root.write("sys/class/dmi/id/sys_vendor", "Acme Inc. \n");
    root.write("sys/class/dmi/id/bios_version", "1.2\n");
    root.write("sys/devices/system/node/node0/cpulist", "0\n");
    root.write("sys/devices/system/node/node1/cpulist", "1\n");
    root.write("sys/devices/system/node/possible", "0-1\n");
    root.write("etc/iscsi/initiatorname.iscsi", "# made\nInitiatorName=iqn.2026-11.org.x:1\n");
    const HostFacts facts = read_inventory(root.path());
    EXPECT_EQ(facts.hostname, "box");
    EXPECT_EQ(facts.boot_id, "b-1");
    EXPECT_EQ(facts.boot_time, 1700000000);
    EXPECT_EQ(facts.kernel_version, "6.12.0");
    EXPECT_EQ(facts.cpu_count, 2);
    EXPECT_EQ(facts.cpu_sockets, 2);
    EXPECT_EQ(facts.cpu_threads_per_core, 2);
    EXPECT_EQ(facts.numa_nodes, 2);
    EXPECT_EQ(facts.cpu_model, "Some CPU @ 2.00GHz");
    EXPECT_EQ(facts.cpu_vendor, "GenuineIntel");
    EXPECT_EQ(facts.cpu_flags, "fpu vme svm");
    EXPECT_DOUBLE_EQ(facts.cpu_mhz, 2000.125);
    EXPECT_EQ(facts.cpu_family, 6);
    EXPECT_EQ(facts.cpu_model_number, 85);
    EXPECT_EQ(facts.cpu_stepping, 7);
    EXPECT_EQ(facts.memory_total_bytes, 2048 * 1024);
    EXPECT_EQ(facts.memory_free_bytes, 1024 * 1024);
    EXPECT_EQ(facts.bios, (std::map<std::string, std::string>{{"system-manufacturer", "Acme Inc."},
                                                              {"bios-version", "1.2"}}));
    EXPECT_EQ(facts.iscsi_iqn, "iqn.2026-11.org.x:1");
}

TEST(Inventory, what_is_not_there_stays_empty) {
    const testing_::Folder root;
    EXPECT_EQ(read_inventory(root.path()), HostFacts{});
}

TEST(Inventory, this_machine_has_processors_and_memory) {
    const HostFacts facts = read_inventory("");
    EXPECT_GE(facts.cpu_count, 1);
    EXPECT_GT(facts.memory_total_bytes, facts.memory_free_bytes);
    EXPECT_GT(facts.boot_time, 1'600'000'000);
    EXPECT_EQ(facts.boot_id.size(), 36U);
}

TEST(Clock, tells_the_zone) {
    testing_::Folder root;
    EXPECT_EQ(read_clock(root.path()).timezone, "Etc/UTC");
    std::filesystem::create_directories(root.path() + "/etc");
    std::filesystem::create_symlink("/usr/share/zoneinfo/Europe/Zurich",
                                    root.path() + "/etc/localtime");
    EXPECT_EQ(read_clock(root.path()).timezone, "Europe/Zurich");
    EXPECT_GE(read_clock().error_us_max, 0);
}

TEST(Clock, tells_how_far_local_time_is_from_utc) {
    const char* before = std::getenv("TZ");
    const std::string kept = before != nullptr ? before : "";
    // A zone of one rule needs no file: 5 h 45 min east; summer time from day 100 to day 200.
    setenv("TZ", "AAA-5:45BBB,J100,J200", 1);
    EXPECT_EQ(utc_offset_seconds(1'767'225'600), 20700);  // 1 January 2026
    EXPECT_EQ(utc_offset_seconds(1'767'225'600 + 150 * 86400), 20700 + 3600);
    before != nullptr ? setenv("TZ", kept.c_str(), 1) : unsetenv("TZ");
    tzset();
}

}  // namespace
}  // namespace basalt::agent
