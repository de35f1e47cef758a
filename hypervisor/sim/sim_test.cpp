#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "base/sim_loop.hpp"
#include "base/wait.hpp"
#include "hypervisor/sim/sim_hypervisor.hpp"

namespace basalt::hv {
namespace {

struct Notes final : Events {
    std::vector<std::string> told;

    void ended(DomId dom, std::string, agent::HaltReason reason) override {
        told.push_back(std::to_string(dom) + " ended " + std::string(agent::text(reason)));
    }

    void rebooted(DomId dom, std::string) override {
        told.push_back(std::to_string(dom) + " rebooted");
    }

    void guest_changed(agent::GuestFacts facts) override {
        told.push_back(facts.hostname + " " + facts.networks["0/ip"]);
    }
};

DomainConfig vm(const std::string& uuid) {
    DomainConfig config;
    config.spec.uuid = uuid;
    config.spec.on_shutdown = config.spec.on_crash = agent::OnHalt::destroy;
    config.spec.on_reboot = agent::OnHalt::restart;
    config.nics.resize(1);
    return config;
}

class Sim : public testing::Test {
  protected:
    void run(std::function<Task<void>()> body) {
        const auto job = spawn(loop, "test", body());
        ASSERT_TRUE(loop.run_until([&job] { return job->finished(); }, 3600s));
        if (job->failure()) std::rethrow_exception(job->failure());
    }

    SimLoop loop{3};
    SimHost host{loop};
    Notes notes;
    SimHypervisor hv{host};
};

TEST_F(Sim, a_guest_comes_up_in_its_own_time_and_crashes_as_scripted) {
    host.scripts["a"] = {.boots_after = 10s, .crashes_after = 5s};
    run([this]() -> Task<void> {
        co_await hv.adopt(notes);
        const DomId dom = co_await hv.create(vm("a"), {});
        co_await hv.set_running(dom, true);
        co_await sleep_for(loop, 9s);
        EXPECT_FALSE(host.up("a"));
        co_await hv.set_running(dom, false);  // its time stands still
        co_await sleep_for(loop, 100s);
        EXPECT_FALSE(host.up("a"));
        co_await hv.set_running(dom, true);
        co_await sleep_for(loop, 2s);
        EXPECT_TRUE(host.up("a"));
        co_await sleep_for(loop, 5s);
    });
    EXPECT_THAT(notes.told, testing::ElementsAre("guest-1 10.0.1.1", "1 ended crashed"));
}

TEST_F(Sim, faults_hit_as_often_as_set_and_change_nothing) {
    host.fail("create", ApiError("INTERNAL_ERROR", {"no memory"}), 2);
    run([this]() -> Task<void> {
        co_await hv.adopt(notes);
        for (int i = 0; i < 2; ++i) {
            bool failed = false;
            try {
                co_await hv.create(vm("a"), {});
            } catch (const ApiError&) {
                failed = true;
            }
            EXPECT_TRUE(failed);
            EXPECT_EQ(host.domain_count(), 0U);
        }
        EXPECT_EQ(co_await hv.create(vm("a"), {}), 1);
    });
}

TEST_F(Sim, a_guest_that_does_not_answer_stays) {
    host.script.answers_requests = false;
    host.script.releases_devices = false;
    run([this]() -> Task<void> {
        co_await hv.adopt(notes);
        const DomId dom = co_await hv.create(vm("a"), {});
        co_await hv.set_running(dom, true);
        co_await sleep_for(loop, 60s);
        co_await hv.request(dom, GuestRequest::shutdown);
        co_await sleep_for(loop, 60s);
        EXPECT_EQ(host.domain_count(), 1U);
        std::string code;
        try {
            co_await hv.unplug_nic(dom, 0, false);
        } catch (const ApiError& error) {
            code = error.code();
        }
        EXPECT_EQ(code, "DEVICE_DETACH_TIMEOUT");
        co_await hv.unplug_nic(dom, 0, true);
        EXPECT_TRUE(hv.domains().front().plugged_nics.empty());
    });
}

TEST_F(Sim, a_lost_host_forgets_its_guests_but_no_domid) {
    run([this]() -> Task<void> {
        co_await hv.adopt(notes);
        co_await hv.create(vm("a"), {});
        host.lose_power();
        EXPECT_TRUE(hv.domains().empty());
        EXPECT_EQ(co_await hv.create(vm("a"), {}), 2);
    });
    EXPECT_TRUE(notes.told.empty());
}

TEST_F(Sim, a_balloon_moves_when_the_guest_is_up_and_has_one) {
    host.scripts["a"] = {.boots_after = 10s, .balloons_after = 1s};
    host.scripts["b"] = {.balloons = false};
    constexpr std::int64_t mib = 1 << 20;
    run([this]() -> Task<void> {
        co_await hv.adopt(notes);
        for (const char* name : {"a", "b"}) {
            DomainConfig config = vm(name);
            config.spec.memory_bytes = 512 * mib;
            config.spec.memory_target_bytes = 256 * mib;
            const DomId dom = co_await hv.create(std::move(config), {});
            co_await hv.set_running(dom, true);
        }
        co_await sleep_for(loop, 9s);
        EXPECT_EQ(hv.domains()[0].memory_bytes, 512 * mib);
        EXPECT_EQ(hv.domains()[0].memory_target_bytes, 256 * mib);
        co_await sleep_for(loop, 3s);
        EXPECT_EQ(hv.domains()[0].memory_bytes, 256 * mib);
        EXPECT_EQ(hv.domains()[1].memory_bytes, 512 * mib);
        co_await hv.set_memory_target(hv.domains()[0].domid, 384 * mib);
        co_await sleep_for(loop, 2s);
        EXPECT_EQ(hv.domains()[0].memory_bytes, 384 * mib);
    });
}

}  // namespace
}  // namespace basalt::hv
