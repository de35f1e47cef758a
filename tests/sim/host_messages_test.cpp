// What an administrator asks of a host and of the pool around it: settings, power, who may come
// in, whom the pool trusts. Over simulated hosts, under virtual time.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "host-agent/sim/sim_services.hpp"
#include "idl/api/session_api.hpp"
#include "idl/records.hpp"
#include "tests/sim/host_fixture.hpp"
#include "tests/sim/values.hpp"
#include "xapi/core/call.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/password_cache.hpp"

namespace basalt::testing {
namespace {

using wire::Value;
using xenapi::Host;
using xenapi::Ref;
using Texts = std::vector<std::string>;

Value list(std::initializer_list<const char*> texts) {
    wire::Array out;
    for (const char* text : texts)
        out.emplace_back(std::string(text));
    return Value(std::move(out));
}

Value none() {
    return Value(wire::Object{});
}

class HostMessages : public HostFixture {
  protected:
    HostMessages() : HostFixture(7) {}

    [[nodiscard]] const Host& row() { return pool_.db().get(host()); }

    agent::sim::SimMachine& machine() { return pool_.hosts[0]->settings(); }

    /// A login over the network; "" or the error's code. The session is the newest then.
    std::string log_in(const std::string& user, const std::string& password) {
        std::string told = "nothing";
        const xenapi::MessageInfo& message = *xenapi::find_message("session.login_with_password");
        const auto job =
            spawn(pool_.loop, "login",
                  [](SimPool& pool, const auto& what, auto args, std::string* out) -> Task<void> {
                      Call call(pool.xapi->core(), what, {.address = "10.0.0.99"});
                      try {
                          session_ = co_await pool.xapi->apis().session->login_with_password(
                              call, std::move(args));
                          *out = "";
                      } catch (const ApiError& error) {
                          *out = error.code();
                      }
                  }(pool_, message, xenapi::SessionLoginWithPassword{user, password, "1.0", "test"},
                                                                                   &told));
        pool_.until([&] { return job->finished(); });
        return told;
    }

    /// Of root, by hand on the host; the simulated machine has one for all.
    void change_password(const std::string& old, const std::string& fresh) {
        const auto job =
            spawn(pool_.loop, "passwd",
                  pool_.xapi->core().hosts->local().change_password({"root", old, fresh}));
        pool_.until([&] { return job->finished(); });
        EXPECT_EQ(job->failure(), nullptr);
    }

    static inline Ref<xenapi::Session> session_;
};

TEST_F(HostMessages, a_host_goes_down_only_disabled_and_empty) {
    EXPECT_EQ(code("host.reboot", {of(host())}), "HOST_NOT_DISABLED");
    const auto vm = pool_.make_vm("guest");
    pool_.call("VM.start", {of(vm), Value(false), Value(false)});
    pool_.call("host.disable", {of(host()), Value(false)});
    EXPECT_EQ(code("host.shutdown", {of(host())}), "HOST_IN_USE");
    EXPECT_EQ(code("host.evacuate", {of(host()), Value("OpaqueRef:NULL"), Value(std::int64_t{0})}),
              "CANNOT_EVACUATE_HOST");
    using Stays = xenapi::Map<Ref<xenapi::Vm>, Texts>;
    const auto stays = pool_.get<Stays>("host.get_vms_which_prevent_evacuation", {of(host())});
    EXPECT_EQ(stays.at(vm), (Texts{"NO_HOSTS_AVAILABLE", vm.text()}));
    EXPECT_TRUE(machine().acts.empty());
    pool_.call("VM.hard_shutdown", {of(vm)});
    EXPECT_EQ(code("host.assert_can_evacuate", {of(host())}), "success");
    pool_.call("host.reboot", {of(host())});
    pool_.call("host.shutdown", {of(host())});
    pool_.call("host.restart_agent", {of(host())});
    using enum agent::PowerAct;
    EXPECT_EQ(machine().acts, (std::vector{reboot, poweroff, restart_toolstack}));
    EXPECT_TRUE(row().current_operations.empty());
}

TEST_F(HostMessages, settings_are_the_machines_and_then_the_records) {
    pool_.call("host.set_hostname_live", {of(host()), Value("lion")});
    EXPECT_EQ(row().hostname, "lion");
    EXPECT_EQ(machine().settings.hostname, "lion");
    EXPECT_EQ(code("host.set_hostname_live", {of(host()), Value("a b")}), "HOST_NAME_INVALID");
    EXPECT_EQ(row().hostname, "lion");
    pool_.call("host.set_iscsi_iqn", {of(host()), Value("iqn.2026-01.example:lion")});
    EXPECT_EQ(row().iscsi_iqn, "iqn.2026-01.example:lion");
    EXPECT_EQ(row().other_config.get(std::string("iscsi_iqn")), "iqn.2026-01.example:lion");
    machine().fault = ApiError("OPERATION_NOT_ALLOWED", {"no service"});
    EXPECT_EQ(code("host.set_multipathing", {of(host()), Value(true)}), "OPERATION_NOT_ALLOWED");
    EXPECT_FALSE(row().multipathing);
    pool_.call("host.set_console_idle_timeout", {of(host()), Value(std::int64_t{300})});
    EXPECT_EQ(machine().settings.console_idle_seconds, 300);
    wire::Object logging;
    logging.push_back({"syslog_destination", Value("log.example")});
    pool_.db().transact(
        [&](db::Txn& txn) { txn.edit(host()).logging = {{"syslog_destination", "log.example"}}; });
    pool_.call("host.syslog_reconfigure", {of(host())});
    EXPECT_EQ(machine().settings.syslog_destination, "log.example");
    // What an earlier life of xapi did not land, the machine tells at the next start.
    machine().settings.hostname = "tiger";
    pool_.crash_xapi();
    EXPECT_EQ(row().hostname, "tiger");
}

TEST_F(HostMessages, the_clock_follows_its_mode) {
    EXPECT_EQ(code("host.set_servertime", {of(host()), Value("20260101T00:00:00Z")}),
              "NOT_ALLOWED_WHEN_NTP_IS_ENABLED");
    EXPECT_EQ(code("host.set_ntp_mode", {of(host()), Value("Custom")}), "INVALID_NTP_CONFIG");
    EXPECT_EQ(code("host.set_ntp_custom_servers", {of(host()), list({"a b"})}), "INVALID_VALUE");
    pool_.call("host.set_ntp_custom_servers", {of(host()), list({"192.0.2.1"})});
    pool_.call("host.set_ntp_mode", {of(host()), Value("Custom")});
    EXPECT_EQ(machine().settings.ntp->servers, Texts{"192.0.2.1"});
    EXPECT_EQ(code("host.set_ntp_custom_servers", {of(host()), list({})}), "INVALID_NTP_CONFIG");
    using States = xenapi::Map<std::string, std::string>;
    EXPECT_EQ(pool_.get<States>("host.get_ntp_servers_status", {of(host())}),
              (States{{"192.0.2.1", "synchronized"}}));
    EXPECT_TRUE(pool_.get<bool>("host.get_ntp_synchronized", {of(host())}));
    pool_.call("host.set_ntp_mode", {of(host()), Value("Disabled")});
    EXPECT_FALSE(pool_.get<bool>("host.get_ntp_synchronized", {of(host())}));
    pool_.call("host.set_servertime", {of(host()), Value("20260101T00:00:00Z")});
    EXPECT_EQ(machine().settings.clock_seconds, 1767225600);
    EXPECT_EQ(code("host.set_timezone", {of(host()), Value("Mars/Base")}), "INVALID_VALUE");
    EXPECT_EQ(row().timezone, "UTC");
    pool_.call("host.set_timezone", {of(host()), Value("Asia/Tokyo")});
    EXPECT_EQ(row().timezone, "Asia/Tokyo");
}

TEST_F(HostMessages, ssh_ends_by_itself) {
    EXPECT_EQ(code("host.set_ssh_enabled_timeout", {of(host()), Value(std::int64_t{-1})}),
              "INVALID_VALUE");
    pool_.call("host.set_ssh_enabled_timeout", {of(host()), Value(std::int64_t{60})});
    pool_.call("host.enable_ssh", {of(host())});
    EXPECT_TRUE(row().ssh_enabled);
    pool_.pass(std::chrono::seconds(30));
    EXPECT_EQ(machine().settings.ssh_enabled, true);
    pool_.pass(std::chrono::seconds(60));
    EXPECT_FALSE(row().ssh_enabled);
    EXPECT_EQ(machine().settings.ssh_enabled, false);
    EXPECT_EQ(row().ssh_expiry.seconds, 0);
    machine().fault = ApiError("INTERNAL_ERROR", {"no service"});
    EXPECT_EQ(code("pool.enable_ssh", {of(pool_.xapi->core().pool)}),
              "ENABLE_SSH_PARTIALLY_FAILED");
    EXPECT_FALSE(row().ssh_enabled);
}

TEST_F(HostMessages, ssh_is_there_when_xapi_is_not) {
    pool_.call("host.enable_ssh", {of(host())});
    EXPECT_EQ(code("pool.set_ssh_auto_mode", {of(pool_.xapi->core().pool), Value(true)}),
              "success");
    EXPECT_TRUE(row().ssh_auto_mode);
    EXPECT_FALSE(row().ssh_enabled);
    EXPECT_EQ(machine().settings.ssh_enabled, false);
    // An xapi that only starts anew is no reason; one that is away for long is.
    pool_.cut(SimPool::xapi_itself);
    pool_.mend(60s);
    EXPECT_EQ(machine().settings.ssh_enabled, false);
    pool_.cut(SimPool::xapi_itself);
    pool_.mend(180s);
    EXPECT_EQ(machine().settings.ssh_enabled, true);
    pool_.pass(180s);
    EXPECT_EQ(machine().settings.ssh_enabled, false);
    // A hostd that starts anew remembers what was asked of it.
    pool_.cut(0);
    pool_.mend();
    machine().settings.ssh_enabled = true;
    pool_.pass(180s);
    EXPECT_EQ(machine().settings.ssh_enabled, false);
    // By hand it is switched on for good.
    pool_.call("host.enable_ssh", {of(host())});
    EXPECT_FALSE(row().ssh_auto_mode);
    pool_.pass(300s);
    EXPECT_EQ(machine().settings.ssh_enabled, true);
    machine().fault = ApiError("INTERNAL_ERROR", {"no service"});
    EXPECT_EQ(code("pool.set_ssh_auto_mode", {of(pool_.xapi->core().pool), Value(true)}),
              "SET_SSH_AUTO_MODE_PARTIALLY_FAILED");
    EXPECT_FALSE(row().ssh_auto_mode);
}

TEST_F(HostMessages, idle_processors_sleep_as_deeply_as_they_may_after_a_boot_too) {
    pool_.call("host.set_max_cstate", {of(host()), Value("1")});
    EXPECT_EQ(row().max_cstate, "1");
    EXPECT_EQ(machine().settings.max_cstate, "1");
    machine().fault = ApiError("OPERATION_NOT_ALLOWED", {"no Xen"});
    EXPECT_EQ(code("host.set_max_cstate", {of(host()), Value("2,1")}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(row().max_cstate, "1");
    machine().settings.max_cstate.reset();
    pool_.lose_power(0);
    pool_.until([&] { return pool_.is_ready(0); });
    EXPECT_EQ(machine().settings.max_cstate, "1");
}

TEST_F(HostMessages, users_of_the_machine_come_in_as_subjects) {
    machine().accounts["alice"] = {
        .id = "u1001", .facts = {{"subject-name", "alice"}}, .groups = {"g100"}};
    EXPECT_EQ(log_in("root", "password"), "");
    EXPECT_TRUE(pool_.db().get(session_).is_local_superuser);
    EXPECT_EQ(log_in("alice", "password"), "SESSION_AUTHORIZATION_FAILED");
    EXPECT_EQ(code("auth.get_subject_identifier", {Value("alice")}), "AUTH_IS_DISABLED");
    EXPECT_EQ(code("host.enable_external_auth", {of(host()), none(), Value("x"), Value("AD")}),
              "AUTH_UNKNOWN_TYPE");
    const Ref<xenapi::Pool> pool = pool_.xapi->core().pool;
    pool_.call("pool.enable_external_auth", {of(pool), none(), Value("local"), Value("PAM")});
    EXPECT_EQ(code("pool.enable_external_auth", {of(pool), none(), Value("local"), Value("PAM")}),
              "POOL_AUTH_ALREADY_ENABLED");
    EXPECT_EQ(pool_.get<std::string>("auth.get_subject_identifier", {Value("alice")}), "u1001");
    EXPECT_EQ(pool_.get<Texts>("auth.get_group_membership", {Value("u1001")}), Texts{"g100"});
    EXPECT_EQ(code("auth.get_subject_identifier", {Value("nobody")}), "SUBJECT_CANNOT_BE_RESOLVED");
    EXPECT_EQ(log_in("alice", "password"), "SESSION_AUTHORIZATION_FAILED");

    wire::Object record;
    record.push_back({"subject_identifier", Value("g100")});
    record.push_back({"other_config", none()});
    const auto group = pool_.get<Ref<xenapi::Subject>>("subject.create", {Value(record)});
    EXPECT_EQ(code("subject.create", {Value(record)}), "SUBJECT_ALREADY_EXISTS");
    // A new subject is an administrator of the pool, as on other servers.
    ASSERT_EQ(pool_.db().get(group).roles.size(), 1U);
    const Ref<xenapi::Role> admin = pool_.db().get(group).roles.front();
    EXPECT_EQ(pool_.db().get(admin).name_label, "pool-admin");
    EXPECT_EQ(log_in("alice", "password"), "");
    const xenapi::Session& session = pool_.db().get(session_);
    EXPECT_FALSE(session.is_local_superuser);
    EXPECT_EQ(session.auth_user_sid, "u1001");
    EXPECT_EQ(session.subject, group);
    EXPECT_TRUE(std::ranges::contains(session.rbac_permissions, "VM.start"));

    EXPECT_EQ(code("subject.add_to_roles", {of(group), of(admin)}), "ROLE_ALREADY_EXISTS");
    pool_.call("subject.remove_from_roles", {of(group), of(admin)});
    EXPECT_EQ(code("subject.remove_from_roles", {of(group), of(admin)}), "ROLE_NOT_FOUND");
    EXPECT_EQ(log_in("alice", "password"), "SESSION_AUTHORIZATION_FAILED");
    const auto readers = pool_.db().by_name_label<xenapi::Role>("read-only");
    ASSERT_EQ(readers.size(), 1U);
    pool_.call("subject.add_to_roles", {of(group), of(readers.front())});
    const auto may = pool_.get<Texts>("subject.get_permissions_name_label", {of(group)});
    EXPECT_TRUE(std::ranges::contains(may, "VM.get_record"));
    EXPECT_FALSE(std::ranges::contains(may, "VM.start"));
    EXPECT_EQ(log_in("alice", "password"), "");
    const Ref<xenapi::Session> open = session_;
    pool_.call("pool.disable_external_auth", {of(pool), none()});
    EXPECT_EQ(pool_.db().find(open), nullptr);
    EXPECT_EQ(pool_.get<std::vector<Ref<xenapi::Role>>>("role.get_by_permission_name_label",
                                                        {Value("subject.add_to_roles")}),
              std::vector{admin});
}

TEST_F(HostMessages, a_password_that_proved_right_is_remembered_for_a_while) {
    machine().accounts["alice"] = {
        .id = "u1001", .facts = {{"subject-name", "alice"}}, .groups = {}};
    const Ref<xenapi::Pool> pool = pool_.xapi->core().pool;
    pool_.call("pool.enable_external_auth", {of(pool), none(), Value("local"), Value("PAM")});
    wire::Object record;
    record.push_back({"subject_identifier", Value("u1001")});
    record.push_back({"other_config", none()});
    pool_.call("subject.create", {Value(record)});
    const auto set = [&](const char* field, Value value) {
        return code(std::string("pool.set_ext_auth_cache_") + field, {of(pool), std::move(value)});
    };
    EXPECT_EQ(set("expiry", Value(std::int64_t{0})), "INVALID_VALUE");
    EXPECT_EQ(set("size", Value(std::int64_t{0})), "INVALID_VALUE");
    EXPECT_EQ(set("expiry", Value(std::int64_t{60})), "success");
    EXPECT_EQ(set("size", Value(std::int64_t{5})), "success");
    EXPECT_EQ(log_in("alice", "password"), "");
    EXPECT_EQ(log_in("root", "password"), "");
    change_password("password", "fresh");
    EXPECT_EQ(log_in("alice", "password"), "");
    EXPECT_EQ(log_in("alice", "other"), "SESSION_AUTHENTICATION_FAILED");
    EXPECT_EQ(log_in("root", "password"), "SESSION_AUTHENTICATION_FAILED");
    pool_.pass(std::chrono::seconds(61));
    EXPECT_EQ(log_in("alice", "password"), "SESSION_AUTHENTICATION_FAILED");
    EXPECT_EQ(log_in("alice", "fresh"), "");
    change_password("fresh", "third");
    EXPECT_EQ(set("enabled", Value(false)), "success");
    EXPECT_EQ(log_in("alice", "fresh"), "SESSION_AUTHENTICATION_FAILED");
    EXPECT_EQ(set("enabled", Value(true)), "success");
    EXPECT_EQ(log_in("alice", "fresh"), "SESSION_AUTHENTICATION_FAILED");
    EXPECT_EQ(log_in("alice", "third"), "");

    for (const char* field : {"local", "ext"}) {
        const std::string method = std::string("pool.set_") + field + "_auth_max_threads";
        EXPECT_EQ(code(method, {of(pool), Value(std::int64_t{65})}), "INVALID_VALUE");
        EXPECT_EQ(code(method, {of(pool), Value(std::int64_t{0})}), "INVALID_VALUE");
        EXPECT_EQ(code(method, {of(pool), Value(std::int64_t{1})}), "success");
    }
    EXPECT_EQ(log_in("root", "third"), "");
}

TEST(PasswordCache, the_oldest_user_goes_first) {
    SimLoop loop(3);
    domain::PasswordCache cache(loop);
    const domain::PasswordCache::Bounds two{.users_max = 2, .kept_for = 10s};
    cache.note("b", "1", two);
    const auto second = spawn(loop, "a second", sleep_for(loop, 1s));
    while (!second->finished())
        loop.step();
    cache.note("a", "2", two);
    EXPECT_TRUE(cache.knows("b", "1", two));
    EXPECT_FALSE(cache.knows("b", "2", two));
    EXPECT_FALSE(cache.knows("b", "1", {.users_max = 2, .kept_for = {}}));
    cache.note("c", "3", two);
    EXPECT_FALSE(cache.knows("b", "1", two));
    EXPECT_TRUE(cache.knows("a", "2", two));
    cache.forget("a");
    EXPECT_FALSE(cache.knows("a", "2", two));
    cache.clear();
    EXPECT_EQ(cache.size(), 0U);
    cache.note("d", "4", {});
    EXPECT_EQ(cache.size(), 0U);
}

TEST_F(HostMessages, blobs_belong_to_objects) {
    const auto make = [&](const char* name, const char* type) {
        return pool_.get<Ref<xenapi::Blob>>("host.create_new_blob",
                                            {of(host()), Value(name), Value(type), Value(false)});
    };
    const auto blob = make("picture", "image/png");
    EXPECT_EQ(row().blobs.get(std::string("picture")), blob);
    EXPECT_EQ(pool_.db().get(blob).mime_type, "image/png");
    EXPECT_EQ(code_of([&] { make("x", "text/html\r\nX: y"); }), "INVALID_VALUE");
    const std::string file = folder_ + "/blobs/" + pool_.db().get(blob).uuid;
    std::filesystem::create_directories(folder_ + "/blobs");
    std::ofstream(file) << "bytes";
    pool_.call("blob.destroy", {of(blob)});
    EXPECT_TRUE(row().blobs.empty());
    EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(HostMessages, notes_are_chosen_by_filters) {
    const auto note = [&](const char* name, std::int64_t priority) {
        pool_.call("message.create",
                   {Value(name), Value(priority), Value("Host"), Value(row().uuid), Value("text")});
    };
    pool_.call("message.destroy_all", {none()});
    note("a", 5);
    note("b", 1);
    using Notes = xenapi::Map<Ref<xenapi::Message>, xenapi::Message>;
    EXPECT_EQ(
        pool_.get<Notes>("message.get_all_records_where", {Value("field \"name\" = \"b\"")}).size(),
        1U);
    EXPECT_EQ(code("message.get_all_records_where", {Value("nonsense")}), "INVALID_VALUE");
    const auto filter = [](const char* key, const char* value) {
        wire::Object map;
        map.push_back({key, Value(value)});
        return Value(std::move(map));
    };
    EXPECT_EQ(code("message.destroy_all", {filter("colour", "red")}), "INVALID_VALUE");
    EXPECT_EQ(code("message.destroy_all", {filter("priority", "five")}), "INVALID_VALUE");
    pool_.call("message.destroy_all", {filter("after", "20990101T00:00:00Z")});
    EXPECT_EQ(pool_.db().count(xenapi::class_of<xenapi::Message>()), 2U);
    pool_.call("message.destroy_all", {filter("priority", "5")});
    EXPECT_EQ(pool_.db().count(xenapi::class_of<xenapi::Message>()), 1U);
}

// Of an authority of ours, from 2020 to 2120: the simulated clock is anywhere between.
constexpr const char* certificate =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBfzCCASWgAwIBAgIUYs2muk+FdVwRfCZ7j70dz4ehMf0wCgYIKoZIzj0EAwIw\n"
    "FDESMBAGA1UEAwwJYXV0aG9yaXR5MCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAx\n"
    "MDAwMDAwWjAUMRIwEAYDVQQDDAlhdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO\n"
    "PQMBBwNCAASYU03Wg/veS7loEhRMb6KYctyWP5Xy1u98topqjE45h+K+tna87Zvk\n"
    "HGtGDWTKGVdmoS6/1/R1Q381a6d4sjITo1MwUTAdBgNVHQ4EFgQUgHZrBarvRFhD\n"
    "8pnyBxgMdyk2ZVswHwYDVR0jBBgwFoAUgHZrBarvRFhD8pnyBxgMdyk2ZVswDwYD\n"
    "VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAha1t29wpmOXq8u4oG2oM\n"
    "oovM68stw9VXjD1Tr5+3QocCIEIiFFOBSxe/kwYqxVuWPtebkui6jJs8zcXpPJLs\n"
    "bLfN\n"
    "-----END CERTIFICATE-----\n";

TEST_F(HostMessages, the_pool_trusts_what_it_is_given) {
    pool_.call("pool.install_ca_certificate", {Value("one.pem"), Value(certificate)});
    EXPECT_EQ(code("pool.install_ca_certificate", {Value("one.pem"), Value(certificate)}),
              "CERTIFICATE_ALREADY_EXISTS");
    EXPECT_EQ(code("pool.install_ca_certificate", {Value("../x"), Value(certificate)}),
              "CERTIFICATE_NAME_INVALID");
    EXPECT_EQ(code("pool.install_ca_certificate", {Value("two"), Value("text")}),
              "CA_CERTIFICATE_INVALID");
    EXPECT_EQ(pool_.get<Texts>("pool.certificate_list"), Texts{"one.pem"});
    EXPECT_TRUE(std::filesystem::exists(folder_ + "/certificates/one.pem"));
    pool_.call("pool.certificate_sync");
    std::filesystem::remove(folder_ + "/certificates/one.pem");
    EXPECT_EQ(code("pool.certificate_sync", {}), "CERTIFICATE_LIBRARY_CORRUPT");
    pool_.call("pool.uninstall_ca_certificate", {Value("one.pem"), Value(false)});
    EXPECT_EQ(code("pool.uninstall_ca_certificate", {Value("one.pem"), Value(false)}),
              "CERTIFICATE_DOES_NOT_EXIST");
    EXPECT_EQ(code("pool.uninstall_ca_certificate", {Value("one.pem"), Value(true)}), "success");
    EXPECT_EQ(code("pool.crl_install", {Value("list"), Value(certificate)}), "CRL_CORRUPT");
    EXPECT_EQ(code("pool.crl_uninstall", {Value("list")}), "CRL_DOES_NOT_EXIST");
    EXPECT_EQ(pool_.get<Texts>("pool.crl_list"), Texts{});
}

TEST_F(HostMessages, certificates_that_end_are_told_once) {
    const std::int64_t now = pool_.xapi->core().now_seconds();
    pool_.db().transact([&](db::Txn& txn) {
        xenapi::Certificate row;
        row.host = host();
        row.not_after = xenapi::DateTime{now + 10 * 24 * 3600};
        txn.insert(std::move(row));
    });
    const auto names = [&] {
        Texts out;
        pool_.db().each<xenapi::Message>([&](Ref<xenapi::Message>, const xenapi::Message& note) {
            if (note.name.starts_with("HOST_SERVER")) out.push_back(note.name);
        });
        return out;
    };
    const auto pass_days = [&](int days) {
        for (int hour = 0; hour < 24 * days; ++hour)
            pool_.pass(std::chrono::hours(1));
    };
    pass_days(2);
    EXPECT_EQ(names(), Texts{"HOST_SERVER_CERTIFICATE_EXPIRING_14"});
    pass_days(5);
    EXPECT_EQ(names(), Texts{"HOST_SERVER_CERTIFICATE_EXPIRING_07"});
    pass_days(6);
    EXPECT_EQ(names(), Texts{"HOST_SERVER_CERTIFICATE_EXPIRED"});
}

TEST_F(HostMessages, interfaces_come_and_go) {
    const Ref<xenapi::Pif> management = row().PIFs.front();
    EXPECT_EQ(code("PIF.forget", {of(management)}), "PIF_IS_MANAGEMENT_INTERFACE");
    EXPECT_EQ(code("PIF.introduce", {of(host()), Value(""), Value("eth9"), Value(true)}),
              "COULD_NOT_FIND_NETWORK_INTERFACE_WITH_SPECIFIED_DEVICE_NAME_AND_MAC_ADDRESS");
    EXPECT_EQ(code("PIF.introduce", {of(host()), Value(""), Value("eth0"), Value(true)}),
              "DUPLICATE_PIF_DEVICE_NAME");
    const auto network =
        pool_.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record("lan")});
    const auto vlan = pool_.get<Ref<xenapi::Pif>>(
        "PIF.create_VLAN", {Value("eth0"), of(network), of(host()), Value(std::int64_t{12})});
    const auto configure = [&](Ref<xenapi::Pif> pif, const char* ip, const char* mask) {
        return code("PIF.reconfigure_ip",
                    {of(pif), Value("Static"), Value(ip), Value(mask), Value(""), Value("")});
    };
    EXPECT_EQ(code("PIF.reconfigure_ip",
                   {of(management), Value("None"), Value(""), Value(""), Value(""), Value("")}),
              "PIF_IS_MANAGEMENT_INTERFACE");
    EXPECT_EQ(configure(vlan, "192.0.2", "255.255.255.0"), "INVALID_IP_ADDRESS_SPECIFIED");
    EXPECT_EQ(configure(vlan, "192.0.2.1", "255.0.255.0"), "INVALID_IP_ADDRESS_SPECIFIED");
    pool_.hosts[0]->network().fail_next("apply", ApiError("INTERNAL_ERROR", {"broken"}));
    EXPECT_EQ(configure(vlan, "192.0.2.1", "255.255.255.0"), "INTERNAL_ERROR");
    EXPECT_EQ(pool_.db().get(vlan).IP, "");
    EXPECT_EQ(configure(vlan, "192.0.2.1", "255.255.255.0"), "success");
    EXPECT_EQ(pool_.db().get(vlan).IP, "192.0.2.1");
    EXPECT_EQ(code("PIF.destroy", {of(management)}), "PIF_IS_PHYSICAL");
    EXPECT_EQ(code("PIF.destroy", {of(vlan)}), "success");
    EXPECT_EQ(pool_.db().find(vlan), nullptr);
}

TEST_F(HostMessages, a_bond_takes_over_from_its_cards_and_gives_back) {
    const Ref<xenapi::Pif> eth0 = row().PIFs.front();
    const auto network = [&](const char* name) {
        return pool_.get<Ref<xenapi::Network>>("network.create", {SimPool::network_record(name)});
    };
    const auto second = network("second");
    const auto eth1 = pool_.get<Ref<xenapi::Pif>>(
        "PIF.db_introduce",
        {Value("eth1"), of(second), of(host()), Value("02:00:00:00:00:99"),
         Value(std::int64_t{1500}), Value(std::int64_t{-1}), Value(true), Value("None"), Value(""),
         Value(""), Value(""), Value(""), Value("OpaqueRef:NULL"), Value("OpaqueRef:NULL"),
         Value(false), none()});
    const auto tagged = network("tagged");
    const auto vlan = pool_.get<Ref<xenapi::Pif>>(
        "PIF.create_VLAN", {Value("eth0"), of(tagged), of(host()), Value(std::int64_t{7})});
    const auto of_bond = network("bonded");
    const auto create = [&](std::vector<Ref<xenapi::Pif>> members, const char* mode,
                            wire::Object properties) {
        wire::Array refs;
        for (const auto member : members)
            refs.emplace_back(member.text());
        return pool_.get<Ref<xenapi::Bond>>(
            "Bond.create",
            {of(of_bond), Value(refs), Value(""), Value(mode), Value(std::move(properties))});
    };
    EXPECT_EQ(code_of([&] { create({eth0}, "lacp", {}); }), "PIF_BOND_NEEDS_MORE_MEMBERS");
    EXPECT_EQ(code_of([&] { create({eth0, vlan}, "lacp", {}); }), "PIF_VLAN_EXISTS");
    EXPECT_EQ(code_of([&] { create({eth0, eth1}, "lacp", {{"colour", Value("red")}}); }),
              "INVALID_VALUE");
    pool_.hosts[0]->network().fail_next("apply", ApiError("INTERNAL_ERROR", {"broken"}));
    EXPECT_EQ(code_of([&] { create({eth0, eth1}, "lacp", {}); }), "INTERNAL_ERROR");
    EXPECT_TRUE(pool_.db().get(eth0).management);
    EXPECT_EQ(pool_.db().count(xenapi::class_of<xenapi::Bond>()), 0U);

    const auto bond = create({eth0, eth1}, "lacp", {});
    const Ref<xenapi::Pif> master = pool_.db().get(bond).master;
    EXPECT_EQ(pool_.db().get(bond).slaves.size(), 2U);
    EXPECT_EQ(pool_.db().get(bond).primary_slave, eth0);
    EXPECT_EQ(pool_.db().get(bond).properties.get(std::string("hashing_algorithm")),
              "tcpudp_ports");
    EXPECT_EQ(pool_.db().get(master).device, "bond0");
    EXPECT_EQ(pool_.db().get(master).IP, "10.0.0.1");
    EXPECT_TRUE(pool_.db().get(master).management);
    EXPECT_FALSE(pool_.db().get(eth0).management);
    EXPECT_EQ(pool_.db().get(vlan).device, "bond0");
    EXPECT_EQ(code("PIF.plug", {of(eth0)}), "CANNOT_PLUG_BOND_SLAVE");
    EXPECT_EQ(code("Bond.set_property", {of(bond), Value("lacp-time"), Value("often")}),
              "INVALID_VALUE");
    pool_.call("Bond.set_property", {of(bond), Value("lacp-time"), Value("fast")});
    EXPECT_EQ(pool_.db().get(bond).properties.get(std::string("lacp-time")), "fast");
    pool_.call("Bond.set_mode", {of(bond), Value("active-backup")});
    EXPECT_TRUE(pool_.db().get(bond).properties.empty());
    // The host's own configuration still names the card: the bond stands for it.
    pool_.crash_xapi();
    EXPECT_TRUE(pool_.db().get(master).management);
    EXPECT_FALSE(pool_.db().get(eth0).management);
    pool_.call("Bond.destroy", {of(bond)});
    EXPECT_TRUE(pool_.db().get(eth0).management);
    EXPECT_EQ(pool_.db().get(eth0).IP, "10.0.0.1");
    EXPECT_EQ(pool_.db().get(vlan).device, "eth0");
    EXPECT_EQ(pool_.db().find(master), nullptr);
}

TEST(HostsOfAPool, one_that_is_gone_is_declared_dead_and_destroyed) {
    SimPool pool(9, 2);
    const Ref<Host> leader = pool.xapi->core().this_host;
    Ref<Host> other;
    pool.db().each<Host>([&](Ref<Host> ref, const Host&) {
        if (ref != leader) other = ref;
    });
    const auto code = [&](const char* method, Ref<Host> host) {
        return code_of([&] { pool.call(method, {of(host)}); });
    };
    EXPECT_EQ(code("host.declare_dead", leader), "HOST_CANNOT_DESTROY_SELF");
    EXPECT_EQ(code("host.destroy", other), "HOST_IS_LIVE");
    EXPECT_EQ(code("host.power_on", other), "HOST_IS_LIVE");
    const auto killing = spawn(pool.loop, "kill", pool.hosts[1]->kill());
    pool.until([&] { return killing->finished() && !pool.xapi->core().hosts->connected(other); });
    EXPECT_EQ(code("host.power_on", other), "HOST_POWER_ON_MODE_DISABLED");
    EXPECT_EQ(code("host.declare_dead", other), "success");
    EXPECT_EQ(code("host.destroy", other), "success");
    EXPECT_EQ(pool.db().count(xenapi::class_of<Host>()), 1U);
    EXPECT_EQ(pool.db().count(xenapi::class_of<xenapi::Pif>()), 1U);
}

}  // namespace
}  // namespace basalt::testing
