// What others wrote: QEMU, the guest's agent, an earlier hostd.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/json.hpp"
#include "base/sim_loop.hpp"
#include "base/stream.hpp"
#include "hypervisor/qemu/descriptor.hpp"
#include "hypervisor/qemu/guest_facts.hpp"
#include "hypervisor/qemu/meter.hpp"
#include "hypervisor/qemu/monitor.hpp"
#include "hypervisor/qemu/probe.hpp"

namespace basalt::hv::qemu {
namespace {

using testing::Pair;
using testing::UnorderedElementsAre;

TEST(GuestFacts, os_info_becomes_xenapi_keys) {
    const Json answer = Json::parse(R"j({"name":"Debian GNU/Linux","id":"debian",
        "pretty-name":"Debian GNU/Linux 13 (trixie)","version-id":"13.2",
        "kernel-release":"6.12.57+deb13-amd64"})j");
    EXPECT_THAT(os_version(answer),
                UnorderedElementsAre(Pair("name", "Debian GNU/Linux 13 (trixie)"),
                                     Pair("distro", "debian"), Pair("major", "13"),
                                     Pair("minor", "2"), Pair("uname", "6.12.57+deb13-amd64")));
    EXPECT_TRUE(os_version(Json()).empty());
    EXPECT_TRUE(os_version(Json::parse(R"({"id":7,"version-id":null})")).empty());
}

TEST(GuestFacts, features_are_what_the_agent_can_do) {
    const auto told = guest_features(Json::parse(R"({"version": "8", "supported_commands": [
        {"name": "guest-shutdown", "enabled": true}, {"name": "guest-ping", "enabled": true}]})"));
    EXPECT_EQ(told.at("feature-poweroff"), "1");
    EXPECT_EQ(told.at("feature-reboot"), "1");
    const auto forbidden = guest_features(
        Json::parse(R"({"supported_commands": [{"name": "guest-shutdown", "enabled": false}]})"));
    EXPECT_FALSE(forbidden.contains("feature-poweroff"));
    EXPECT_EQ(forbidden.at("feature-suspend"), "1");  // needs no agent
    EXPECT_FALSE(guest_features(Json()).contains("feature-reboot"));
}

TEST(GuestFacts, vcpus_are_brought_to_use_and_put_to_rest) {
    const Json cpus = Json::parse(R"([{"logical-id": 0, "online": true, "can-offline": false},
        {"logical-id": 1, "online": true, "can-offline": true},
        {"logical-id": 2, "online": false, "can-offline": true}])");
    EXPECT_EQ(vcpus_to_set(cpus, 3), Json::parse(R"([{"logical-id": 2, "online": true}])"));
    EXPECT_EQ(vcpus_to_set(cpus, 1), Json::parse(R"([{"logical-id": 1, "online": false}])"));
    EXPECT_EQ(vcpus_to_set(cpus, 2), Json::array());
    EXPECT_EQ(vcpus_to_set(cpus, 0), std::nullopt);  // the first cannot rest
    EXPECT_EQ(vcpus_to_set(cpus, 4), std::nullopt);
    EXPECT_EQ(vcpus_to_set(Json::parse(R"([7, {"logical-id": "x"}])"), 1), std::nullopt);
    EXPECT_EQ(vcpus_to_set(Json(), 1), std::nullopt);
}

TEST(Monitor, free_cpus_come_in_the_order_in_which_they_are_plugged) {
    const auto free = parse_free_cpus(Json::parse(R"([
        {"type": "max-x86_64-cpu", "vcpus-count": 1, "props": {"socket-id": 2}},
        {"type": "max-x86_64-cpu", "vcpus-count": 1, "props": {"socket-id": 1}},
        {"type": "max-x86_64-cpu", "vcpus-count": 1, "props": {"socket-id": 0},
         "qom-path": "/machine/unattached/device[0]"}])"));
    ASSERT_EQ(free.size(), 2U);
    EXPECT_EQ(free[0], Json::parse(R"({"driver": "max-x86_64-cpu", "socket-id": 1})"));
    EXPECT_EQ(free[1].at("socket-id"), 2);
}

TEST(GuestFacts, addresses_are_numbered_by_the_nic_with_that_mac) {
    std::vector<NicAttachment> nics(2);
    nics[0].spec.device = 0;
    nics[0].spec.mac = "AA:BB:CC:00:00:01";
    nics[1].spec.device = 3;
    nics[1].spec.mac = "aa:bb:cc:00:00:03";
    const Json answer = Json::parse(R"([
        {"name":"lo","hardware-address":"00:00:00:00:00:00",
         "ip-addresses":[{"ip-address":"127.0.0.1","ip-address-type":"ipv4"}]},
        {"name":"eth0","hardware-address":"aa:bb:cc:00:00:01","ip-addresses":[
         {"ip-address":"10.0.0.5","ip-address-type":"ipv4","prefix":24},
         {"ip-address":"fe80::1","ip-address-type":"ipv6"},
         {"ip-address":"10.0.0.6","ip-address-type":"ipv4"}]},
        {"name":"eth3","hardware-address":"aa:bb:cc:00:00:03"},
        {"name":"odd","ip-addresses":"none"}, 7])");
    EXPECT_THAT(guest_networks(answer, nics),
                UnorderedElementsAre(Pair("0/ip", "10.0.0.5"), Pair("0/ipv4/0", "10.0.0.5"),
                                     Pair("0/ipv6/0", "fe80::1"), Pair("0/ipv4/1", "10.0.0.6")));
    EXPECT_TRUE(guest_networks(Json(), nics).empty());
}

TEST(GuestFacts, a_guest_cannot_fill_records) {
    Json addresses = Json::array();
    for (int i = 0; i < 100'000; ++i)
        addresses.push_back(
            {{"ip-address-type", i % 2 == 0 ? "ipv4" : "ipv6"}, {"ip-address", "x"}});
    NicAttachment nic;
    nic.spec.mac = "02:00:00:00:00:01";
    const Json answer =
        Json::array({{{"hardware-address", nic.spec.mac}, {"ip-addresses", addresses}}});
    EXPECT_EQ(guest_networks(answer, {nic}).size(), 65U);
    EXPECT_TRUE(os_version({{"name", std::string(1'000'000, 'n')}}).empty());
}

TEST(GuestFacts, small_changes_of_memory_are_not_news) {
    agent::GuestFacts before;
    before.memory_total_bytes = 1000;
    before.memory_free_bytes = 500;
    agent::GuestFacts now = before;
    EXPECT_FALSE(worth_telling(before, now));
    now.memory_free_bytes = 460;
    EXPECT_FALSE(worth_telling(before, now));
    now.memory_free_bytes = 400;
    EXPECT_TRUE(worth_telling(before, now));
    now = before;
    now.networks["0/ip"] = "10.0.0.5";
    EXPECT_TRUE(worth_telling(before, now));
}

TEST(Monitor, migration_progress_and_ends) {
    EXPECT_EQ(parse_migration(Json::object()).state, Migration::State::none);
    const Migration half = parse_migration(
        Json::parse(R"({"status":"active","ram":{"total":200,"remaining":100,"transferred":90}})"));
    EXPECT_EQ(half.state, Migration::State::active);
    EXPECT_DOUBLE_EQ(half.fraction, 0.5);
    EXPECT_DOUBLE_EQ(parse_migration(Json::parse(R"({"status":"completed"})")).fraction, 1);
    const Migration failed =
        parse_migration(Json::parse(R"({"status":"failed","error-desc":"No space left"})"));
    EXPECT_EQ(failed.state, Migration::State::failed);
    EXPECT_EQ(failed.error, "No space left");
}

TEST(Monitor, balloon_numbers_that_were_never_reported_are_zero) {
    const auto parse = [](const char* text) { return parse_balloon_stats(Json::parse(text)); };
    EXPECT_EQ(parse(R"({"last-update":0,"stats":{"stat-total-memory":5}})").total_bytes, 0);
    const BalloonStats stats = parse(
        R"({"last-update":9,"stats":{"stat-total-memory":128,"stat-available-memory":64,
            "stat-free-memory":18446744073709551615}})");
    EXPECT_EQ(stats.total_bytes, 128);
    EXPECT_EQ(stats.free_bytes, 64);
}

TEST(Monitor, run_states) {
    EXPECT_EQ(parse_run_state("running"), RunState::running);
    EXPECT_EQ(parse_run_state("prelaunch"), RunState::paused);
    EXPECT_EQ(parse_run_state("shutdown"), RunState::shut_down);
    EXPECT_EQ(parse_run_state("guest-panicked"), RunState::panicked);
}

Task<std::string> read_line(Stream& stream) {
    std::string line;
    char byte = 0;
    while (co_await stream.read_some({&byte, 1}) == 1 && byte != '\n')
        line += byte;
    co_return line;
}

// The other end of a connection: refuses everything but what `answers` holds.
Task<void> play_qemu(Stream& stream, std::map<std::string, Json> answers) {
    co_await stream.write(R"({"QMP":{"version":{},"capabilities":[]}})"
                          "\n");
    for (;;) {
        const std::string line = co_await read_line(stream);
        if (line.empty()) co_return;
        const Json request = Json::parse(line);
        Json reply = {{"id", request.at("id")}};
        const auto known = answers.find(request.at("execute").get<std::string>());
        if (known != answers.end())
            reply["return"] = known->second;
        else
            reply["error"] = {{"class", "GenericError"}, {"desc", "no"}};
        co_await stream.write(reply.dump() + "\n");
    }
}

TEST(Monitor, answers_become_types_and_refusals_api_errors) {
    SimLoop loop(1);
    auto [near, far] = memory_streams(loop);
    const auto peer = spawn(loop, "qemu",
                            play_qemu(*far, {{"qmp_capabilities", Json::object()},
                                             {"query-status", {{"status", "running"}}}}));
    Monitor monitor(loop, std::move(near));
    const auto job = spawn(loop, "test", [](Monitor& m) -> Task<void> {
        co_await m.connect(5s);
        EXPECT_EQ(co_await m.run_state(), RunState::running);
        std::string text;
        try {
            co_await m.reset();
        } catch (const ApiError& error) {
            text = error.what();
        }
        EXPECT_EQ(text, "INTERNAL_ERROR(system_reset: no)");
        m.close();
    }(monitor));
    EXPECT_TRUE(loop.run_until([&job] { return job->finished(); }, 60s));
    EXPECT_FALSE(job->failure());
    loop.run_for(1s);
    EXPECT_TRUE(peer->finished());
}

TEST(Descriptor, comes_back_as_it_was_written) {
    Descriptor descriptor;
    descriptor.dom = 7;
    descriptor.complete = true;
    descriptor.pid = 4321;
    descriptor.process_start = 99;
    descriptor.boot_id = "boot";
    descriptor.machine.cd_drives = {"xvdd"};
    descriptor.config.spec.uuid = "u";
    descriptor.config.disks.resize(1);
    descriptor.config.disks[0].nbd_export = "disk";
    const std::string path = testing::TempDir() + "hv-descriptor-" + std::to_string(getpid());
    write_file(path, Json(descriptor).dump());
    EXPECT_EQ(read_descriptor(path), descriptor);
    std::ofstream(path) << "{\"dom\":";
    EXPECT_EQ(read_descriptor(path), std::nullopt);
    std::filesystem::remove(path);
    EXPECT_EQ(read_descriptor(path), std::nullopt);
}

TEST(Descriptor, domids_only_grow) {
    const std::string path = testing::TempDir() + "hv-domid-" + std::to_string(getpid());
    std::filesystem::remove(path);
    EXPECT_EQ(next_domid(path), 1);
    EXPECT_EQ(next_domid(path), 2);
    std::filesystem::remove(path);
}

TEST(Descriptor, a_process_is_known_by_when_it_started) {
    EXPECT_GT(process_start(getpid()), 0U);
    EXPECT_EQ(process_start(0x3fffffff), 0U);
}

TEST(Probe, the_guest_is_one_boot_sector) {
    const std::string sector = probe_sector();
    ASSERT_EQ(sector.size(), 512U);
    EXPECT_EQ(sector.substr(510), "\x55\xaa");
}

TEST(Meter, block_statistics_are_of_devices_by_id) {
    const auto found = parse_block_stats(Json::parse(R"j([
        {"device": "", "node-name": "pflash0", "stats": {"rd_bytes": 5}},
        {"device": "", "qdev": "/machine/peripheral/vbd-xvda/virtio-backend",
         "stats": {"rd_bytes": 512, "wr_bytes": 1024, "rd_operations": 1, "wr_operations": 2,
                   "rd_total_time_ns": 3000, "wr_total_time_ns": 4000}},
        {"device": "", "qdev": "vbd-xvdd", "stats": {"rd_bytes": 2048, "wr_bytes": "none"}},
        {"device": "", "qdev": "vbd-xvde"}])j"));
    EXPECT_THAT(found, testing::ElementsAre(BlockStats{"vbd-xvda", 512, 1024, 1, 2, 3000, 4000},
                                            BlockStats{"vbd-xvdd", 2048}));
    EXPECT_TRUE(parse_block_stats(Json()).empty());
}

TEST(Meter, processor_times_are_those_of_the_named_threads) {
    const std::filesystem::path root =
        std::filesystem::temp_directory_path() / ("basalt-meter-" + std::to_string(::getpid()));
    const auto thread = [&root](const std::string& id, const std::string& name,
                                const std::string& times) {
        const auto dir = root / "77" / "task" / id;
        std::filesystem::create_directories(dir);
        std::ofstream(dir / "comm") << name << "\n";
        std::ofstream(dir / "schedstat") << times << "\n";
    };
    thread("77", "qemu-system-x86", "9000000000 1 2");
    thread("78", "CPU 1/KVM", "2500000000 0 11");
    thread("80", "CPU x/KVM", "1000000000 7 8");
    thread("79", "CPU 0/KVM", "1500000000 500000000 8");
    EXPECT_THAT(read_vcpu_times(77, root).ran, testing::ElementsAre(1.5, 2.5));
    EXPECT_THAT(read_vcpu_times(77, root).waited, testing::ElementsAre(0.5, 0));
    thread("78", "ALL CPUs/TCG", "4000000000 0 0");
    EXPECT_THAT(read_vcpu_times(77, root).ran, testing::ElementsAre(5.5));
    EXPECT_TRUE(read_vcpu_times(78, root).ran.empty());
    std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace basalt::hv::qemu
