// Hosts over the simulated backends, reached as xapi reaches them.
#include "host-agent/sim/sim_host.hpp"

#include <gtest/gtest.h>

#include "base/log.hpp"
#include "base/sim_loop.hpp"
#include "host-agent/testing/specs.hpp"

namespace basalt::agent::sim {
namespace {

class Told final : public rpc::Handler, public Events {
  public:
    Task<rpc::Reply> handle(rpc::Request) override { co_return rpc::Reply{}; }

    explicit Told(Loop& loop) : loop_(loop) {}

    Task<void> on_event(std::string name, nlohmann::json args) override {
        return deliver(loop_, *this, std::move(name), std::move(args));
    }

    void on_domain(DomainInfo value) override { domains.push_back(std::move(value)); }

    void on_guest(GuestFacts value) override { guests.push_back(std::move(value)); }

    void on_memory(MemoryFacts) override {}

    void on_nics(std::vector<NicFacts>) override {}

    void on_state(StateRef) override {}

    void on_term(std::int64_t) override {}

    void on_usage(HostUsage) override {}

    std::vector<DomainInfo> domains;
    std::vector<GuestFacts> guests;

  private:
    Loop& loop_;
};

struct Pool {
    explicit Pool(std::uint64_t seed, int count = 1) : loop(seed) {
        log::set_level(log::Level::off);
        for (int i = 0; i < count; ++i) {
            hosts.push_back(
                std::make_unique<SimHost>(loop, Options{.facts = facts_of(loop, i)}, shared));
            run(hosts.back()->start());
            connect();
        }
    }

    ~Pool() {
        for (const auto& host : hosts)
            run(host->kill());
        peers.clear();
    }

    void connect(std::size_t host = SIZE_MAX) {
        if (host == SIZE_MAX) host = hosts.size() - 1;
        if (peers.size() <= host) {
            peers.resize(host + 1);
            told.resize(host + 1);
        }
        told[host] = std::make_unique<Told>(loop);
        peers[host] = std::make_unique<rpc::Peer>(loop, hosts[host]->connect(), told[host].get());
        spawn(loop, "client", peers[host]->run());
    }

    /// Runs the loop until the coroutine ends: "" or its error.
    std::string run(Task<void> body) {
        const auto job = spawn(loop, "test", std::move(body));
        if (!loop.run_until([&] { return job->finished(); }, 2h)) return "no end";
        if (!job->failure()) return "";
        return error_words(job->failure()).front();
    }

    Client client(std::size_t host = 0) { return {loop, *peers[host]}; }

    SimLoop loop;
    std::shared_ptr<Shared> shared = std::make_shared<Shared>();
    std::vector<std::unique_ptr<SimHost>> hosts;
    std::vector<std::unique_ptr<Told>> told;
    std::vector<std::unique_ptr<rpc::Peer>> peers;
};

constexpr const char* sr = "11111111-1111-4111-8111-111111111111";

std::string uuid_of(int number) {
    return std::format("00000000-0000-4000-8000-{:012d}", number);
}

// An SR, a network, and a VM with a disk on both.
Task<VmSpec> prepare(Client client, int number) {
    const std::string prefix = "prepare-" + std::to_string(number) + "-";
    NetworkWant want;
    BridgeWant bridge;
    bridge.name = "xenbr0";
    bridge.uplink = "eth0";
    bridge.mtu = 1500;
    want.bridges = {bridge};
    co_await client.network_apply({prefix + "net", 1, {}}, {.want = want});
    co_await client.sr_attach({prefix + "sr", 1, {}}, {sr, "file", {{"location", "/sr"}}});
    VmSpec spec = testing::web(uuid_of(number));
    VdiSpec vdi;
    vdi.uuid = uuid_of(1000 + number);
    vdi.size_bytes = 1 << 30;
    vdi.type = "user";
    const VdiInfo made = co_await client.vdi_create({prefix + "vdi", 1, {}}, {sr, vdi});
    spec.disks.front().disk = DiskRef{sr, vdi.uuid, made.location};
    spec.nics.front().vif = uuid_of(2000 + number);
    co_return spec;
}

Task<void> create_sr(Client client) {
    co_await client.sr_create({"create", 1, {}}, {sr, "file", {{"location", "/sr"}}, 0});
}

Task<void> start_one(Client client, int number) {
    VmSpec spec = co_await prepare(client, number);
    co_await client.vm_start({"start-" + std::to_string(number), 1, {}}, {spec, false});
}

struct Addressed {
    const char* operation;
    const char* address;
    const char* confirm;  // empty: it is not asked for
};

// One bridge with that address, by which the host is reached.
Task<void> address(Client client, Addressed asked) {
    NetworkApplyArgs args;
    args.want.bridges = {{.name = "xenbr0", .uplink = "eth0", .address = asked.address}};
    args.confirm = asked.confirm;
    args.confirm_seconds = 60;
    if (!args.confirm.empty()) args.management = "xenbr0";
    co_await client.network_apply({asked.operation, 1, {}}, std::move(args));
}

std::string address_after(Pool& pool, Duration time) {
    std::string out;
    const auto look = [](Loop& loop, Client client, Duration wait,
                         std::string& found) -> Task<void> {
        co_await sleep_for(loop, wait);
        found = (co_await client.network_state({})).bridges.front().address;
    };
    EXPECT_EQ(pool.run(look(pool.loop, pool.client(), time, out)), "");
    return out;
}

bool keeps(Pool& pool, const std::string& confirm) {
    bool kept = false;
    const auto ask = [](Client client, std::string name, bool& out) -> Task<void> {
        out = co_await client.network_keep({name});
    };
    EXPECT_EQ(pool.run(ask(pool.client(), confirm, kept)), "");
    return kept;
}

TEST(SimHost, a_network_that_nobody_confirms_is_taken_back) {
    Pool pool(1);
    EXPECT_EQ(pool.run(address(pool.client(), {"first", "10.0.0.1/24", ""})), "");
    EXPECT_EQ(pool.run(address(pool.client(), {"second", "10.0.0.2/24", "two"})), "");
    EXPECT_EQ(address_after(pool, 50s), "10.0.0.2/24");
    EXPECT_EQ(address_after(pool, 11s), "10.0.0.1/24");
    EXPECT_FALSE(keeps(pool, "two")) << "too late";
    EXPECT_FALSE(keeps(pool, ""));

    EXPECT_EQ(pool.run(address(pool.client(), {"third", "10.0.0.3/24", "three"})), "");
    EXPECT_FALSE(keeps(pool, "two"));
    EXPECT_TRUE(keeps(pool, "three"));
    EXPECT_TRUE(keeps(pool, "three")) << "the answer may have been lost";
    EXPECT_EQ(address_after(pool, 2min), "10.0.0.3/24");
    HostFacts facts;
    const auto ask = [](Client client, HostFacts& out) -> Task<void> {
        out = co_await client.host_facts({});
    };
    EXPECT_EQ(pool.run(ask(pool.client(), facts)), "");
    EXPECT_EQ(facts.management_bridge, "xenbr0");
    EXPECT_EQ(facts.management_device, "eth0");
    EXPECT_EQ(facts.address, "10.0.0.3/24");
    const auto move = [](Client client) -> Task<void> {
        NetworkWant want;
        want.bridges = {{.name = "xapi1", .uplink = "eth0", .address = "10.0.0.3/24"}};
        co_await client.network_apply({"moved", 1, {}}, {.want = want});
    };
    EXPECT_EQ(pool.run(move(pool.client())), "");
    EXPECT_EQ(pool.run(ask(pool.client(), facts)), "");
    EXPECT_EQ(facts.management_bridge, "xapi1") << "where its address went";
}

TEST(SimHost, a_network_that_nobody_confirmed_dies_with_hostd) {
    Pool pool(1);
    EXPECT_EQ(pool.run(address(pool.client(), {"first", "10.0.0.1/24", ""})), "");
    EXPECT_EQ(pool.run(address(pool.client(), {"second", "10.0.0.2/24", "two"})), "");
    EXPECT_EQ(pool.run(pool.hosts[0]->kill()), "");
    EXPECT_EQ(pool.run(pool.hosts[0]->start()), "");
    pool.connect(0);
    EXPECT_EQ(address_after(pool, 1s), "10.0.0.1/24");
    EXPECT_FALSE(keeps(pool, "two"));
}

TEST(SimHost, says_who_it_is_and_lets_root_in) {
    Pool pool(1);
    HostFacts facts;
    const auto ask = [](Client client, HostFacts& out) -> Task<void> {
        out = co_await client.hello({"1"});
        co_await client.login({"root", "password", "127.0.0.1"});
    };
    EXPECT_EQ(pool.run(ask(pool.client(), facts)), "");
    EXPECT_EQ(facts.hostname, "host0");
    EXPECT_EQ(facts.hypervisor, "sim");
    EXPECT_EQ(facts.nics.size(), 1U);
    const auto intrude = [](Client client) -> Task<void> {
        co_await client.login({"root", "wrong", "127.0.0.1"});
    };
    EXPECT_EQ(pool.run(intrude(pool.client())), "SESSION_AUTHENTICATION_FAILED");
}

TEST(SimHost, runs_a_guest_that_outlives_a_kill) {
    Pool pool(2);
    EXPECT_EQ(pool.run(create_sr(pool.client())), "");
    EXPECT_EQ(pool.run(start_one(pool.client(), 1)), "");
    pool.loop.run_for(10s);
    EXPECT_TRUE(pool.hosts[0]->machine().up(uuid_of(1)));
    ASSERT_FALSE(pool.told[0]->guests.empty());
    pool.run(pool.hosts[0]->kill());
    pool.run(sleep_for(pool.loop, 10s));
    EXPECT_EQ(pool.run(pool.hosts[0]->start()), "");
    pool.connect(0);
    EXPECT_GT(pool.hosts[0]->machine().uptime(uuid_of(1)), 15s);
    const auto shutdown = [](Client client) -> Task<void> {
        const auto seen = co_await client.domains({});
        EXPECT_EQ(seen.size(), 1U);
        co_await client.vm_shutdown({"off", 1, {}}, {uuid_of(1), Method::clean, 60});
    };
    EXPECT_EQ(pool.run(shutdown(pool.client())), "");
    EXPECT_EQ(pool.hosts[0]->machine().domain_count(), 0U);
}

TEST(SimHost, the_loss_of_a_connection_ends_no_operation) {
    Pool pool(3);
    pool.run(create_sr(pool.client()));
    const auto job = spawn(pool.loop, "start", start_one(pool.client(), 1));
    auto& runner = pool.hosts[0]->agent().runner();
    bool creating = false;
    runner.probe = [&](const std::string& verb, const std::string& step, Runner::Moment) {
        if (verb == "vm_start" && step == "create") creating = true;
    };
    pool.loop.run_until([&] { return creating; }, 1min);
    pool.peers[0]->close();
    pool.loop.run_for(10s);
    EXPECT_TRUE(job->failure()) << "the caller learns that it does not know";
    EXPECT_TRUE(pool.hosts[0]->machine().up(uuid_of(1)));
    runner.probe = nullptr;
}

TEST(SimHost, suspends_here_and_resumes_there) {
    Pool pool(4, 2);
    pool.run(create_sr(pool.client()));
    VmSpec spec;
    const auto suspend = [](Client here, VmSpec& out) -> Task<void> {
        out = co_await prepare(here, 1);
        VdiSpec image;
        image.uuid = uuid_of(9);
        image.size_bytes = 1 << 30;
        const VdiInfo made = co_await here.vdi_create({"image", 1, {}}, {sr, image});
        co_await here.vm_start({"start", 1, {}}, {out, false});
        co_await here.vm_suspend({"suspend", 1, {}},
                                 {out.uuid, DiskRef{sr, image.uuid, made.location}});
    };
    EXPECT_EQ(pool.run(suspend(pool.client(0), spec)), "");
    EXPECT_EQ(pool.hosts[0]->machine().domain_count(), 0U);
    const auto resume = [](Client there, VmSpec what) -> Task<void> {
        co_await prepare(there, 2);
        co_await there.vm_resume({"resume", 1, {}},
                                 {what, DiskRef{sr, uuid_of(9), uuid_of(9)}, false});
    };
    EXPECT_EQ(pool.run(resume(pool.client(1), spec)), "");
    EXPECT_EQ(pool.hosts[1]->machine().domain_count(), 1U);
}

TEST(SimHost, a_crashed_guest_is_told_of) {
    Pool pool(5);
    pool.run(create_sr(pool.client()));
    pool.run(start_one(pool.client(), 1));
    pool.loop.run_for(10s);
    pool.hosts[0]->machine().kill(uuid_of(1));
    pool.loop.run_for(10s);
    ASSERT_FALSE(pool.told[0]->domains.empty());
    EXPECT_EQ(pool.told[0]->domains.back().reason, HaltReason::crashed);
}

TEST(SimHost, after_a_power_cut_nothing_runs_and_the_network_is_back) {
    Pool pool(6);
    pool.run(create_sr(pool.client()));
    pool.run(start_one(pool.client(), 1));
    const std::string before = pool.hosts[0]->facts().boot_id;
    pool.run(pool.hosts[0]->lose_power());
    EXPECT_NE(pool.hosts[0]->facts().boot_id, before);
    EXPECT_EQ(pool.run(pool.hosts[0]->start()), "");
    pool.connect(0);
    const auto look = [](Client client) -> Task<void> {
        EXPECT_TRUE((co_await client.domains({})).empty());
        const NetworkHave have = co_await client.network_state({});
        EXPECT_EQ(have.bridges.size(), 1U);
    };
    EXPECT_EQ(pool.run(look(pool.client())), "");
    EXPECT_EQ(pool.run(start_one(pool.client(), 1)), "") << "kept results are the same still";
}

std::uint64_t pool_history(std::uint64_t seed) {
    Pool pool(seed, 64);
    pool.run(create_sr(pool.client()));
    std::vector<Task<void>> starts;
    for (int i = 0; i < 64; ++i)
        starts.push_back(start_one(pool.client(static_cast<std::size_t>(i)), i));
    EXPECT_EQ(pool.run(all(pool.loop, std::move(starts))), "");
    pool.loop.run_for(10s);
    for (int i = 0; i < 64; ++i)
        EXPECT_TRUE(pool.hosts[static_cast<std::size_t>(i)]->machine().up(uuid_of(i))) << i;
    return pool.loop.history();
}

TEST(SimHost, sixty_four_hosts_in_one_process_the_same_each_time) {
    EXPECT_EQ(pool_history(7), pool_history(7));
}

}  // namespace
}  // namespace basalt::agent::sim
