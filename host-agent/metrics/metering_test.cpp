#include "host-agent/metrics/metering.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/sim_loop.hpp"

namespace basalt::agent {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

const std::string host_uuid = "00000000-0000-4000-8000-000000000001";
const std::string vm_uuid = "00000000-0000-4000-8000-000000000002";
const std::string sr_uuid = "00000000-0000-4000-8000-000000000003";

/// Guests whose processors run half of the time.
class HalfBusy final : public hv::Meter {
  public:
    explicit HalfBusy(Loop& loop) : loop_(loop) {}

    Task<std::vector<hv::DomainReading>> measure() override {
        std::vector<hv::DomainReading> out;
        for (const auto& [uuid, domid] : guests) {
            hv::DomainReading one;
            one.uuid = uuid;
            one.domid = domid;
            one.running = true;
            one.wall_ns = loop_.wall_ns();
            one.vcpu_seconds = {static_cast<double>(loop_.wall_ns()) / 2e9};
            one.memory_bytes = one.memory_target_bytes = 1 << 28;
            out.push_back(one);
        }
        co_return out;
    }

    std::map<std::string, std::int64_t> guests;

  private:
    Loop& loop_;
};

class MeteringTest : public testing::Test {
  protected:
    MeteringTest()
        : root(fs::temp_directory_path() / ("basalt-metering-" + std::to_string(::getpid()))) {
        fs::remove_all(root);
        begin();
    }

    ~MeteringTest() override { fs::remove_all(root); }

    // As a new hostd.
    void begin(const std::string& boot = "boot") {
        metering = std::make_unique<Metering>(
            Metering::Parts{.loop = loop,
                            .gauges = &gauges,
                            .meter = &meter,
                            .folders = {.run = root / "run", .state = root / "state"},
                            .nics = [] { return std::vector<std::string>{"eth0"}; },
                            .tell = [this](HostUsage usage) { told.push_back(std::move(usage)); }});
        run(metering->start(host_uuid, boot));
    }

    template <class T>
    T run(Task<T> task) {
        std::optional<T> out;
        const auto job =
            spawn(loop, "test", [](Task<T> body, std::optional<T>* result) -> Task<void> {
                result->emplace(co_await std::move(body));
            }(std::move(task), &out));
        loop.run_until([&] { return job->finished(); }, 1h);
        if (job->failure()) std::rethrow_exception(job->failure());
        return std::move(*out);
    }

    void run(Task<void> task) {
        const auto job = spawn(loop, "test", std::move(task));
        loop.run_until([&] { return job->finished(); }, 1h);
        if (job->failure()) std::rethrow_exception(job->failure());
    }

    void rounds(int count) {
        for (int i = 0; i < count; ++i) {
            run(sleep_for(loop, metering->until_next()));
            run(metering->round());
        }
    }

    std::string error_of(Task<void> task) {
        try {
            run(std::move(task));
        } catch (const ApiError& error) {
            return error.code();
        }
        return "";
    }

    static std::string text_in(const UniqueFd& file) {
        struct stat facts{};
        ::fstat(file.get(), &facts);
        std::string out(static_cast<std::size_t>(facts.st_size), '\0');
        EXPECT_EQ(::pread(file.get(), out.data(), out.size(), 0), facts.st_size);
        return out;
    }

    Json updates(std::int64_t back_seconds, bool all_vms = true) {
        MetricsUpdatesArgs args;
        args.start = loop.wall_ns() / 1'000'000'000 - back_seconds;
        args.fold = "AVERAGE";
        args.host = true;
        args.all_vms = all_vms;
        args.srs = {sr_uuid};
        args.json = true;
        return Json::parse(text_in(run(metering->updates(args))));
    }

    static std::string value(const Json& answer, const std::string& legend, std::size_t row = 0) {
        const auto& names = answer["meta"]["legend"];
        for (std::size_t i = 0; i < names.size(); ++i)
            if (names[i] == legend) return answer["data"][row]["values"][i].get<std::string>();
        return "no column " + legend;
    }

    std::vector<MetricsSource> sources(MetricsOwner owner, const std::string& uuid) {
        return run(metering->sources({owner, uuid, ""}));
    }

    fs::path root;
    SimLoop loop{1};
    SimGauges gauges{loop, 4, std::int64_t{16} << 30};
    HalfBusy meter{loop};
    std::vector<HostUsage> told;
    std::unique_ptr<Metering> metering;
};

const std::string vm_cpu = "AVERAGE:vm:" + vm_uuid + ":cpu0";

TEST_F(MeteringTest, rates_are_those_of_the_counters) {
    meter.guests[vm_uuid] = 3;
    rounds(4);
    const Json answer = updates(60);
    EXPECT_EQ(answer["meta"]["step"], "5");
    EXPECT_NEAR(std::stod(value(answer, "AVERAGE:host:" + host_uuid + ":cpu1")), 0.2, 1e-6);
    EXPECT_NEAR(std::stod(value(answer, "AVERAGE:host:" + host_uuid + ":pif_eth0_rx")), 1e6, 1);
    EXPECT_NEAR(std::stod(value(answer, vm_cpu)), 0.5, 1e-6);
    EXPECT_EQ(value(answer, "AVERAGE:vm:" + vm_uuid + ":memory"), "268435456");
    EXPECT_EQ(value(updates(60, false), vm_cpu), "no column " + vm_cpu);
}

TEST_F(MeteringTest, a_restart_of_hostd_is_no_gap) {
    meter.guests[vm_uuid] = 3;
    rounds(30);
    // Killed: what was saved last is up to a minute old.
    begin();
    run(sleep_for(loop, 20s));
    rounds(2);
    const Json answer = updates(170);
    for (std::size_t row = 0; row < 30; ++row)
        EXPECT_NEAR(std::stod(value(answer, vm_cpu, row)), 0.5, 1e-6) << row;
}

TEST_F(MeteringTest, a_stopped_vm_rests_and_goes_on) {
    meter.guests[vm_uuid] = 3;
    rounds(13);
    meter.guests.clear();
    rounds(1);
    EXPECT_THAT(updates(60)["meta"]["legend"], Not(Contains(vm_cpu)));
    EXPECT_TRUE(fs::exists(root / "state" / ("vm-" + vm_uuid + ".rrd")));
    EXPECT_FALSE(fs::exists(root / "run" / ("vm-" + vm_uuid + ".rrd")));
    const Json whole =
        Json::parse(text_in(run(metering->whole({MetricsOwner::vm, vm_uuid, true}))));
    EXPECT_EQ(whole["ds"][0]["name"], "cpu0");
    EXPECT_THAT(sources(MetricsOwner::vm, vm_uuid), Not(IsEmpty()));
    meter.guests[vm_uuid] = 4;
    rounds(3);
    const Json answer = updates(100);
    EXPECT_NEAR(std::stod(value(answer, vm_cpu, 0)), 0.5, 1e-6);
    EXPECT_EQ(value(answer, vm_cpu, 3), "NaN") << "it did not run then";
    EXPECT_NEAR(std::stod(value(answer, vm_cpu, 6)), 0.5, 1e-6) << "its earlier life";
}

TEST_F(MeteringTest, a_source_is_switched_on_and_off) {
    rounds(2);
    const MetricsOwner owner = MetricsOwner::host;
    const std::string name = "pif_eth0_rx_errors";
    EXPECT_THAT(updates(60)["meta"]["legend"],
                Not(Contains("AVERAGE:host:" + host_uuid + ":" + name)));
    run(metering->record({owner, host_uuid, name, true}));
    rounds(2);
    EXPECT_EQ(value(updates(60), "AVERAGE:host:" + host_uuid + ":" + name), "0.0");
    run(metering->record({owner, host_uuid, "cpu0", false}));
    rounds(1);
    EXPECT_THAT(updates(60)["meta"]["legend"],
                Not(Contains("AVERAGE:host:" + host_uuid + ":cpu0")));
    EXPECT_THAT(run(metering->sources({owner, host_uuid, "cpu0"})), SizeIs(1));
    EXPECT_EQ(error_of(metering->record({owner, host_uuid, "nothing", true})), "INVALID_VALUE");
    EXPECT_EQ(error_of(metering->record({owner, vm_uuid, "cpu0", true})), "INVALID_VALUE");
}

TEST_F(MeteringTest, storage_is_measured_as_it_was_seen_last) {
    metering->note_sr({sr_uuid, 1000, 300, 400, ""});
    rounds(3);
    EXPECT_EQ(value(updates(60), "AVERAGE:sr:" + sr_uuid + ":physical_utilisation"), "300");
    metering->forget_sr(sr_uuid);
    rounds(1);
    EXPECT_THAT(updates(60)["meta"]["legend"],
                Not(Contains("AVERAGE:sr:" + sr_uuid + ":physical_utilisation")));
}

TEST_F(MeteringTest, the_past_of_a_vm_goes_to_another_host) {
    meter.guests[vm_uuid] = 3;
    rounds(20);
    const MetricsPiece piece = run(metering->take({vm_uuid, 0}));
    EXPECT_EQ(piece.next, 0);
    fs::remove_all(root);
    begin("another boot");
    rounds(2);
    EXPECT_EQ(value(updates(100), vm_cpu, 10), "NaN");
    run(metering->give({vm_uuid, piece.data}));
    rounds(1);
    const Json answer = updates(100);
    EXPECT_NEAR(std::stod(value(answer, vm_cpu, 0)), 0.5, 1e-6);
    EXPECT_NEAR(std::stod(value(answer, vm_cpu, 10)), 0.5, 1e-6);
    EXPECT_EQ(error_of(metering->give({vm_uuid, "abc"})), "INVALID_VALUE");
    EXPECT_EQ(error_of(metering->give({vm_uuid, "zz00"})), "INVALID_VALUE");
}

TEST_F(MeteringTest, what_is_dropped_is_gone) {
    meter.guests[vm_uuid] = 3;
    rounds(13);
    meter.guests.clear();
    rounds(1);
    run(metering->drop({MetricsOwner::vm, vm_uuid}));
    EXPECT_THAT(sources(MetricsOwner::vm, vm_uuid), IsEmpty());
    EXPECT_THROW(run(metering->whole({MetricsOwner::vm, vm_uuid, true})), ApiError);
    run(metering->drop({MetricsOwner::vm, vm_uuid}));
}

TEST_F(MeteringTest, a_damaged_file_is_as_none) {
    meter.guests[vm_uuid] = 3;
    rounds(13);
    run(metering->save());
    for (const char* folder : {"run", "state"})
        std::ofstream(root / folder / ("vm-" + vm_uuid + ".rrd")) << "garbage";
    begin();
    rounds(3);
    EXPECT_NEAR(std::stod(value(updates(60), vm_cpu)), 0.5, 1e-6);
}

TEST_F(MeteringTest, what_is_in_use_is_told_now_and_then) {
    meter.guests[vm_uuid] = 3;
    rounds(9);
    ASSERT_THAT(told, SizeIs(2));
    EXPECT_EQ(told[1].memory_free_bytes, std::int64_t{4} << 30);
    ASSERT_THAT(told[1].vms, SizeIs(1));
    EXPECT_EQ(told[1].vms[0].memory_bytes, 1 << 28);
    EXPECT_NEAR(told[1].vms[0].vcpus.at(0), 0.5, 1e-6);
}

}  // namespace
}  // namespace basalt::agent
