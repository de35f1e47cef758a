#include <unistd.h>

#include "host-agent/services/machine.hpp"
#include "host-agent/services/testing.hpp"

namespace basalt::agent {
namespace {

using testing_::Folder;
using testing_::outcome;

std::string read(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// A machine whose control program notes its words, and fails for those in `fails`.
class Place {
  public:
    explicit Place(const std::string& fails = "none", int status = 1) {
        control_ = folder_.write("control",
                                 "#!/bin/sh\necho \"$*\" >> \"$(dirname \"$0\")/told\"\n"
                                 "case \"$*\" in *" +
                                     fails + "*) echo broken >&2; exit " + std::to_string(status) +
                                     ";; esac\n",
                                 0755);
        folder_.write("zones/Europe/Zurich", "TZif2 made up");
        folder_.write("zones/UTC", "TZif2 made up");
        folder_.write("zones/posix/UTC", "TZif2 made up");
        folder_.write("zones/zone.tab", "a table");
    }

    std::string change(HostChange wanted) {
        return outcome([this, wanted](RealLoop& loop) -> Task<void> {
            RealMachine machine(loop, config());
            co_await machine.change(wanted);
        });
    }

    std::string power(PowerAct act) {
        return outcome([this, act](RealLoop& loop) -> Task<void> {
            RealMachine machine(loop, config());
            co_await machine.power(act);
        });
    }

    [[nodiscard]] RealMachine::Config config() const {
        return {.etc = folder_.path() + "/etc",
                .zones = folder_.path() + "/zones",
                .control = {control_}};
    }

    [[nodiscard]] std::string etc(const std::string& name) const {
        return read(folder_.path() + "/etc/" + name);
    }

    [[nodiscard]] std::string told() const { return read(folder_.path() + "/told"); }

  private:
    Folder folder_;
    std::string control_;
};

TEST(Settings, names_of_hosts_follow_rfc_1123) {
    EXPECT_FALSE(settings::why_no_hostname("host-1"));
    for (const char* name : {"", "a.b", "-a", "a-", "a b", "17", "a_b"})
        EXPECT_TRUE(settings::why_no_hostname(name)) << name;
    EXPECT_TRUE(settings::why_no_hostname(std::string(64, 'a')));
    EXPECT_TRUE(settings::is_server("ntp.example.org"));
    EXPECT_TRUE(settings::is_server("2001:db8::1"));
    EXPECT_FALSE(settings::is_server("a b"));
    EXPECT_FALSE(settings::is_server("a..b"));
    EXPECT_FALSE(settings::is_server("a\nserver b"));
}

TEST(Settings, servers_of_time_are_told_with_their_state) {
    const auto sources = settings::sources_of(
        "^,*,192.0.2.1,2,6,377,33,0.1,0.2,0.3\n^,?,ntp.example,0,6,0,-,0,0,0\nnonsense\n");
    EXPECT_EQ(sources.size(), 2U);
    EXPECT_EQ(sources.at("192.0.2.1"), "synchronized");
    EXPECT_EQ(sources.at("ntp.example"), "unreachable");
}

TEST(Machine, changes_are_files_and_words_to_the_services) {
    Place place;
    HostChange change;
    change.hostname = "lion";
    change.timezone = "Europe/Zurich";
    change.ntp = NtpWant{.enabled = true, .servers = {"192.0.2.1"}};
    change.syslog_destination = "log.example:1514";
    change.console_idle_seconds = 300;
    change.iscsi_iqn = "iqn.2026-01.example:lion";
    change.ssh_enabled = true;
    EXPECT_EQ(place.change(change), "ok");
    EXPECT_EQ(place.etc("hostname"), "lion\n");
    EXPECT_EQ(place.etc("timezone"), "Europe/Zurich\n");
    EXPECT_EQ(place.etc("localtime"), "TZif2 made up");
    EXPECT_NE(place.etc("chrony/sources.d/basalt.sources").find("server 192.0.2.1 iburst\n"),
              std::string::npos);
    EXPECT_NE(place.etc("rsyslog.d/60-basalt.conf").find(R"(target="log.example" port="1514")"),
              std::string::npos);
    EXPECT_NE(place.etc("profile.d/basalt-idle.sh").find("TMOUT=300\n"), std::string::npos);
    EXPECT_EQ(place.etc("iscsi/initiatorname.iscsi"), "InitiatorName=iqn.2026-01.example:lion\n");
    EXPECT_EQ(place.told(),
              "apply hostname\napply timezone\napply ntp-on\napply syslog\napply console\n"
              "apply iscsi\napply ssh-on\n");
    // The same again tells nobody, but for what has no file.
    change.ssh_enabled.reset();
    const std::string before = place.told();
    EXPECT_EQ(place.change(change), "ok");
    EXPECT_EQ(place.told(), before);
    HostChange off;
    off.syslog_destination = "";
    off.console_idle_seconds = 0;
    EXPECT_EQ(place.change(off), "ok");
    EXPECT_EQ(place.etc("rsyslog.d/60-basalt.conf") + place.etc("profile.d/basalt-idle.sh"), "");
}

TEST(Machine, a_change_that_fails_half_way_is_taken_back) {
    Place place("ssh-on");
    HostChange first;
    first.hostname = "lion";
    EXPECT_EQ(place.change(first), "ok");
    HostChange change;
    change.hostname = "tiger";
    change.timezone = "UTC";
    change.ssh_enabled = true;
    EXPECT_TRUE(place.change(change).starts_with("INTERNAL_ERROR")) << place.told();
    EXPECT_EQ(place.etc("hostname"), "lion\n");
    EXPECT_EQ(place.etc("timezone"), "");
    EXPECT_EQ(place.etc("localtime"), "");
}

TEST(Machine, what_makes_no_sense_changes_nothing) {
    Place place;
    const auto refused = [&](auto set) {
        HostChange change;
        change.hostname = "lion";
        set(change);
        return place.change(change);
    };
    EXPECT_TRUE(
        refused([](HostChange& c) { c.hostname = "a b"; }).starts_with("HOST_NAME_INVALID"));
    for (const char* zone : {"Mars/Base", "../UTC", "posix/UTC", "zone.tab", ""})
        EXPECT_TRUE(refused([&](HostChange& c) { c.timezone = zone; }).starts_with("INVALID_VALUE"))
            << zone;
    EXPECT_TRUE(refused([](HostChange& c) {
                    c.ntp = NtpWant{.enabled = true, .servers = {"a b"}};
                }).starts_with("INVALID_VALUE"));
    EXPECT_TRUE(refused([](HostChange& c) {
                    c.syslog_destination = "a\" b";
                }).starts_with("INVALID_VALUE"));
    EXPECT_TRUE(refused([](HostChange& c) { c.iscsi_iqn = "lion"; }).starts_with("INVALID_VALUE"));
    EXPECT_EQ(place.etc("hostname"), "");
    EXPECT_EQ(place.told(), "");
}

TEST(Machine, power_is_the_control_programs_and_may_have_nobody) {
    Place place;
    EXPECT_EQ(place.power(PowerAct::reboot), "ok");
    EXPECT_EQ(place.told(), "power reboot\n");
    Place nobody("power", 3);
    EXPECT_EQ(nobody.power(PowerAct::poweroff), "OPERATION_NOT_ALLOWED(broken)");
}

TEST(Machine, users_and_groups_are_found_by_name_and_by_number) {
    Account root;
    EXPECT_EQ(outcome([&](RealLoop& loop) -> Task<void> {
                  RealMachine machine(loop, {});
                  root = co_await machine.account("root");
                  const Account same = co_await machine.account("u0");
                  EXPECT_EQ(root, same);
                  const Account group = co_await machine.account("g0");
                  EXPECT_EQ(group.facts.at("subject-is-group"), "true");
                  co_await machine.account("nobody of this name");
              }),
              "SUBJECT_CANNOT_BE_RESOLVED()");
    EXPECT_EQ(root.id, "u0");
    EXPECT_EQ(root.groups.front(), "g0");
}

}  // namespace
}  // namespace basalt::agent
