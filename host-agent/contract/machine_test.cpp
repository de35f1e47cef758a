// What every machine under a host does, the one of files and services and the one in memory.
#include <unistd.h>

#include "host-agent/services/machine.hpp"
#include "host-agent/services/testing.hpp"
#include "host-agent/sim/sim_services.hpp"

namespace basalt::agent {
namespace {

using testing_::Folder;
using testing_::outcome;

/// A machine of one kind, on a loop of its own for each verb.
class Place {
  public:
    virtual ~Place() = default;
    virtual std::string run(std::function<Task<void>(Machine&)> verb) = 0;

    std::string change(HostChange wanted) {
        return run([wanted](Machine& machine) { return machine.change(wanted); });
    }

    HostClock clock() {
        HostClock out;
        EXPECT_EQ(run([&out](Machine& machine) -> Task<void> { out = co_await machine.clock(); }),
                  "ok");
        return out;
    }
};

class RealPlace final : public Place {
  public:
    RealPlace() {
        control_ = folder_.write("control", "#!/bin/sh\nexit 0\n", 0755);
        for (const char* zone : {"Asia/Tokyo", "Europe/Zurich", "UTC"})
            folder_.write(std::string("zones/") + zone, "TZif2 made up");
    }

    std::string run(std::function<Task<void>(Machine&)> verb) override {
        return outcome([this, verb](RealLoop& loop) -> Task<void> {
            RealMachine machine(loop, {.etc = folder_.path() + "/etc",
                                       .zones = folder_.path() + "/zones",
                                       .control = {control_}});
            co_await verb(machine);
        });
    }

  private:
    Folder folder_;
    std::string control_;
};

class SimPlace final : public Place {
  public:
    std::string run(std::function<Task<void>(Machine&)> verb) override {
        return outcome([this, verb](RealLoop&) { return verb(machine_); });
    }

  private:
    sim::SimMachine machine_;
};

template <class P>
class MachineContract : public ::testing::Test {
  protected:
    P place_;
};

using Places = ::testing::Types<RealPlace, SimPlace>;
TYPED_TEST_SUITE(MachineContract, Places);

TYPED_TEST(MachineContract, zones_that_are_told_are_taken) {
    std::vector<std::string> zones;
    EXPECT_EQ(this->place_.run(
                  [&](Machine& machine) -> Task<void> { zones = co_await machine.timezones(); }),
              "ok");
    ASSERT_TRUE(std::ranges::is_sorted(zones));
    for (const std::string& zone : zones) {
        EXPECT_EQ(this->place_.change({.timezone = zone}), "ok");
        EXPECT_EQ(this->place_.clock().timezone, zone);
    }
}

TYPED_TEST(MachineContract, a_change_with_one_bad_part_changes_nothing) {
    EXPECT_EQ(this->place_.change({.timezone = "UTC"}), "ok");
    EXPECT_TRUE(this->place_.change({.hostname = "a b", .timezone = "Asia/Tokyo"})
                    .starts_with("HOST_NAME_INVALID"));
    EXPECT_TRUE(this->place_.change({.timezone = "Asia/Tokyo", .iscsi_iqn = "lion"})
                    .starts_with("INVALID_VALUE"));
    EXPECT_TRUE(this->place_.change({.timezone = "Mars/Base"}).starts_with("INVALID_VALUE"));
    EXPECT_EQ(this->place_.clock().timezone, "UTC");
}

TYPED_TEST(MachineContract, changes_are_idempotent) {
    const HostChange change{.hostname = "lion",
                            .ntp = NtpWant{.enabled = true, .servers = {"192.0.2.1"}},
                            .syslog_destination = "log.example",
                            .console_idle_seconds = 60,
                            .iscsi_iqn = "iqn.2026-01.example:lion"};
    for (int i = 0; i < 2; ++i)
        EXPECT_EQ(this->place_.change(change), "ok");
}

TYPED_TEST(MachineContract, nobody_is_no_account) {
    EXPECT_TRUE(this->place_
                    .run([](Machine& machine) -> Task<void> {
                        co_await machine.account("nobody of this name");
                    })
                    .starts_with("SUBJECT_CANNOT_BE_RESOLVED"));
}

TYPED_TEST(MachineContract, an_act_of_power_is_begun_and_not_waited_for) {
    for (const PowerAct act : {PowerAct::reboot, PowerAct::poweroff, PowerAct::restart_toolstack})
        EXPECT_EQ(this->place_.run([act](Machine& machine) { return machine.power(act); }), "ok");
}

}  // namespace
}  // namespace basalt::agent
