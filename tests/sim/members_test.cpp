// Members of a pool under virtual time: they join, pass on, are cut off and come back.
#include <gtest/gtest.h>

#include <regex>

#include "idl/records.hpp"
#include "tests/sim/sim_members.hpp"

namespace basalt::testing {
namespace {

using wire::Value;
using xenapi::Ref;
using xenapi::Vm;
using xenapi::VmPowerState;

std::string value_of(const std::string& answer) {
    static const std::regex form("<name>Value</name><value>(?:<boolean>)?([^<]*)<");
    std::smatch found;
    return std::regex_search(answer, found, form) ? found[1].str() : "no value in: " + answer;
}

std::string error_of(const std::string& answer) {
    static const std::regex form("<name>ErrorDescription</name><value><array><data><value>([^<]*)");
    std::smatch found;
    return std::regex_search(answer, found, form) ? found[1].str() : "no error in: " + answer;
}

std::string log_in(SimMembers& sim, std::size_t member) {
    return value_of(sim.post(member, "session.login_with_password", {"root", "", "1.0", "test"}));
}

/// A running VM whose disk only that member's host has.
Ref<Vm> run_on(SimMembers& sim, std::size_t member) {
    SimPool& pool = sim.pool;
    const Ref<Vm> vm = pool.make_vm("guest");
    pool.call("VBD.destroy", {Value(pool.db().get(vm).VBDs.front().text())});
    pool.call("VM.start_on",
              {Value(vm.text()), Value(sim.row(member).text()), Value(false), Value(false)});
    const std::string uuid = pool.db().get(vm).uuid;
    pool.until([&] { return sim.nodes[member]->host->machine().up(uuid); });
    return vm;
}

bool is_live(SimMembers& sim, std::size_t member) {
    return sim.pool.db().get(sim.pool.db().get(sim.row(member)).metrics).live;
}

TEST(Members, hosts_join_by_announcing_themselves) {
    SimMembers sim(1, 2);
    EXPECT_EQ(sim.pool.db().count(xenapi::class_of<xenapi::Host>()), 3U);
    EXPECT_EQ(sim.pool.db().count(xenapi::class_of<xenapi::Pool>()), 1U);
    EXPECT_NE(sim.pool.db().get(sim.pool.xapi->core().pool).master, sim.row(0));
    EXPECT_TRUE(is_live(sim, 0));
    EXPECT_TRUE(is_live(sim, 1));
}

TEST(Members, a_guest_runs_on_a_members_host) {
    SimMembers sim(2, 2);
    const Ref<Vm> vm = run_on(sim, 1);
    EXPECT_EQ(sim.pool.db().get(vm).resident_on, sim.row(1));
    EXPECT_TRUE(sim.nodes[1]->host->machine().up(sim.pool.db().get(vm).uuid));
    sim.pool.call("VM.clean_shutdown", {Value(vm.text())});
    EXPECT_EQ(sim.nodes[1]->host->machine().domain_count(), 0U);
}

TEST(Members, the_socket_passes_calls_on_and_the_session_is_of_the_member) {
    SimMembers sim(3, 2);
    const std::string session = log_in(sim, 1);
    EXPECT_EQ(value_of(sim.post(1, "session.get_this_host", {session, session})),
              sim.row(1).text());
    // The coordinator vouches: the session is good at every door.
    EXPECT_EQ(value_of(sim.post(0, "session.get_this_host", {session, session})),
              sim.row(1).text());
    EXPECT_EQ(value_of(sim.post(0, "host.is_in_emergency_mode", {session})), "0");
    EXPECT_EQ(error_of(sim.post(1, "VM.fly", {session})), "MESSAGE_METHOD_UNKNOWN");
    EXPECT_EQ(error_of(sim.post(1, "VM.get_all", {"OpaqueRef:nobody"})), "SESSION_INVALID");
    EXPECT_EQ(error_of(sim.post(1, "host.is_in_emergency_mode", {"OpaqueRef:nobody"})),
              "SESSION_INVALID");
}

TEST(Members, who_is_not_root_on_the_member_needs_the_password) {
    SimMembers sim(4, 1);
    EXPECT_EQ(error_of(sim.post(0, "session.login_with_password", {"root", "wrong", "1.0", "t"},
                                {.unix_socket = true, .trusted = false})),
              "SESSION_AUTHENTICATION_FAILED");
}

TEST(Members, over_the_network_they_name_the_coordinator) {
    SimMembers sim(5, 1);
    const SimMembers::Client network{.unix_socket = false, .trusted = false};
    const std::string answer =
        sim.post(0, "session.login_with_password", {"root", "password", "1.0", "t"}, network);
    EXPECT_EQ(error_of(answer), "HOST_IS_SLAVE");
    EXPECT_NE(answer.find("<value>10.0.0.1</value>"), std::string::npos) << answer;
    EXPECT_EQ(error_of(sim.post(0, "VM.get_all", {log_in(sim, 0)}, network)), "HOST_IS_SLAVE");
}

TEST(Members, cut_off_they_serve_emergency_calls_and_keep_their_guests) {
    SimMembers sim(6, 2);
    const Ref<Vm> vm = run_on(sim, 0);
    const std::string session = log_in(sim, 0);
    sim.cut(0, true);
    sim.pool.until([&] { return sim.nodes[0]->member->why_cut_off().has_value(); });
    sim.pool.until([&] { return !is_live(sim, 0); });
    EXPECT_EQ(sim.pool.db().get(vm).power_state, VmPowerState::running) << "silence is no evidence";
    EXPECT_TRUE(sim.nodes[0]->host->machine().up(sim.pool.db().get(vm).uuid));

    EXPECT_EQ(error_of(sim.post(0, "VM.get_all", {session})), "HOST_STILL_BOOTING");
    EXPECT_EQ(error_of(sim.post(0, "session.login_with_password", {"root", "", "1.0", "t"})),
              "HOST_STILL_BOOTING");
    EXPECT_EQ(error_of(sim.post(0, "host.is_in_emergency_mode", {session})), "SESSION_INVALID")
        << "nobody is there to vouch";
    const SimMembers::Client network{.unix_socket = false, .trusted = false};
    EXPECT_EQ(error_of(sim.post(0, "session.slave_local_login_with_password", {"root", "wrong"},
                                network)),
              "SESSION_AUTHENTICATION_FAILED");
    const std::string local = value_of(
        sim.post(0, "session.slave_local_login_with_password", {"root", "password"}, network));
    EXPECT_EQ(value_of(sim.post(0, "host.is_in_emergency_mode", {local}, network)), "1");
    EXPECT_EQ(value_of(sim.post(0, "pool.is_slave", {local, sim.row(0).text()})), "1");
    EXPECT_EQ(error_of(sim.post(0, "host.local_assert_healthy", {local})), "HOST_STILL_BOOTING");
    EXPECT_EQ(error_of(sim.post(0, "VM.start", {local, vm.text()})), "HOST_STILL_BOOTING");
    EXPECT_EQ(error_of(sim.post(0, "session.slave_local_login", {"no secret"})),
              "SESSION_AUTHENTICATION_FAILED");
    EXPECT_NE(value_of(sim.post(0, "session.slave_local_login", {"secret"})).find("OpaqueRef:"),
              std::string::npos);
    EXPECT_FALSE(sim.nodes[1]->member->why_cut_off()) << "the other one is not concerned";

    sim.cut(0, false);
    sim.pool.until([&] { return !sim.nodes[0]->member->why_cut_off() && sim.is_ready(0); });
    EXPECT_TRUE(is_live(sim, 0));
    EXPECT_EQ(value_of(sim.post(0, "host.is_in_emergency_mode", {local})), "0");
    EXPECT_EQ(value_of(sim.post(0, "session.get_this_host", {session, session})),
              sim.row(0).text());
    sim.post(0, "session.local_logout", {local});
    EXPECT_EQ(error_of(sim.post(0, "host.is_in_emergency_mode", {local})), "SESSION_INVALID");
    sim.pool.call("VM.clean_shutdown", {Value(vm.text())});
    EXPECT_EQ(sim.nodes[0]->host->machine().domain_count(), 0U);
}

TEST(Members, a_coordinator_that_died_finds_its_members_and_their_guests_again) {
    SimMembers sim(7, 2);
    const Ref<Vm> vm = run_on(sim, 1);
    const auto written =
        spawn(sim.pool.loop, "durable", sim.pool.db().durable(sim.pool.db().published()));
    sim.pool.until([&] { return written->finished(); });
    sim.crash_coordinator();
    sim.pool.until([&] { return sim.is_ready(0) && sim.is_ready(1); });
    EXPECT_EQ(sim.pool.db().count(xenapi::class_of<xenapi::Host>()), 3U);
    EXPECT_EQ(sim.pool.db().get(vm).power_state, VmPowerState::running);
    EXPECT_EQ(sim.pool.db().get(vm).resident_on, sim.row(1));
    sim.pool.call("VM.clean_shutdown", {Value(vm.text())});
    EXPECT_EQ(sim.nodes[1]->host->machine().domain_count(), 0U);
}

TEST(Members, an_operation_survives_the_loss_of_the_link) {
    SimMembers sim(8, 1);
    const Ref<Vm> vm = run_on(sim, 0);
    const auto stopping = sim.pool.start("VM.clean_shutdown", {Value(vm.text())});
    sim.pool.loop.run_for(100ms);
    sim.cut(0, true);
    sim.pool.loop.run_for(1min);
    EXPECT_FALSE(stopping->done) << "that nothing is heard of it says nothing of its outcome";
    sim.cut(0, false);
    // hostd brought it to its end meanwhile; asked again, it says so.
    sim.pool.wait(stopping);
    EXPECT_EQ(sim.nodes[0]->host->machine().domain_count(), 0U);
    EXPECT_EQ(sim.pool.db().get(vm).power_state, VmPowerState::halted);
    EXPECT_TRUE(sim.pool.db().get(vm).current_operations.empty());
}

TEST(Members, a_host_that_says_it_is_another_is_not_let_in) {
    SimMembers sim(9, 1);
    // The certificate says one host, its hostd another.
    const std::string uuid = sim.pool.loop.new_uuid().text();
    agent::sim::SimHost& stranger = *sim.pool.hosts.front();
    sim.pool.xapi->keep_host(
        "stranger",
        [&stranger]() -> Task<std::unique_ptr<rpc::Channel>> {
            return [](agent::sim::SimHost& host) -> Task<std::unique_ptr<rpc::Channel>> {
                co_return host.connect();
            }(stranger);
        },
        uuid);
    sim.pool.loop.run_for(1min);
    EXPECT_FALSE(sim.pool.db().by_uuid<xenapi::Host>(uuid));
    EXPECT_EQ(sim.pool.db().count(xenapi::class_of<xenapi::Host>()), 2U);
}

std::uint64_t history_of(std::uint64_t seed) {
    SimMembers sim(seed, 2);
    sim.cut(1, true);
    sim.pool.until([&] { return sim.nodes[1]->member->why_cut_off().has_value(); });
    sim.cut(1, false);
    sim.pool.until([&] { return sim.is_ready(1); });
    return sim.pool.loop.history();
}

TEST(Members, the_same_seed_is_the_same_history) {
    EXPECT_EQ(history_of(21), history_of(21));
}

}  // namespace
}  // namespace basalt::testing
