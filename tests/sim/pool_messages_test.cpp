// Small messages of the pool and its hosts: who comes in by a certificate, what guests' agents and
// the hosts themselves are told. Over simulated hosts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "idl/api/session_api.hpp"
#include "idl/records.hpp"
#include "tests/sim/host_fixture.hpp"
#include "tests/sim/values.hpp"
#include "xapi/core/call.hpp"
#include "xapi/domain/guest_agents.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/pool.hpp"

namespace basalt::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using wire::Value;
using xenapi::Certificate;
using xenapi::Host;
using xenapi::Pool;
using xenapi::Ref;
using xenapi::Session;

constexpr const char* authority =
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

class PoolMessages : public HostFixture {
  protected:
    PoolMessages() : HostFixture(17) {}

    [[nodiscard]] Ref<Pool> pool() const { return pool_.xapi->core().pool; }

    const Pool& row() { return pool_.db().get(pool()); }

    /// A login over the network by who has `roles` already: "" or the error's code.
    std::string log_in(xenapi::RoleMask roles, const std::string& user) {
        std::string told = "nothing";
        const xenapi::MessageInfo& message = *xenapi::find_message("session.login_with_password");
        const auto job = spawn(
            pool_.loop, "login",
            [](PoolMessages& test, const auto& what, xenapi::RoleMask mask, auto args,
               std::string* out) -> Task<void> {
                Call call(test.pool_.xapi->core(), what, {.roles = mask, .address = "10.0.0.99"});
                try {
                    test.session_ = co_await test.pool_.xapi->apis().session->login_with_password(
                        call, std::move(args));
                    *out = "";
                } catch (const ApiError& error) {
                    *out = error.code();
                }
            }(*this, message, roles, xenapi::SessionLoginWithPassword{user, "wrong", "1.0", "test"},
                                 &told));
        pool_.until([&] { return job->finished(); });
        return told;
    }

    Ref<Session> session_;
};

TEST_F(PoolMessages, a_certificate_stands_for_a_password) {
    const auto names = xenapi::role_names();
    const auto place = std::ranges::find(names, "client-cert") - names.begin();
    const auto certified = static_cast<xenapi::RoleMask>(1U << place);
    std::optional<domain::ClientTrust> told;
    bool works = true;
    pool_.xapi->pools().admit_by([&](std::optional<domain::ClientTrust> trust) {
        if (!works) throw std::runtime_error("no");
        told = std::move(trust);
    });
    const auto enable = [&](const char* name) {
        return code("pool.enable_client_certificate_auth", {of(pool()), Value(name)});
    };
    EXPECT_EQ(log_in(certified, "tool"), "SESSION_AUTHENTICATION_FAILED");
    EXPECT_EQ(enable(""), "INVALID_VALUE");
    works = false;
    EXPECT_EQ(enable("tool.example"), "INTERNAL_ERROR");
    EXPECT_FALSE(row().client_certificate_auth_enabled);
    works = true;
    EXPECT_EQ(enable("tool.example"), "success");
    EXPECT_TRUE(row().client_certificate_auth_enabled);
    EXPECT_EQ(row().client_certificate_auth_name, "tool.example");
    ASSERT_TRUE(told);
    EXPECT_EQ(told->name, "tool.example");
    EXPECT_THAT(told->certificates, IsEmpty());

    // Whom the pool trusts from then on, it trusts here too; who is trusted for one thing is not.
    pool_.call("pool.install_ca_certificate", {Value("one.pem"), Value(authority)});
    EXPECT_THAT(told->certificates, ElementsAre(authority));
    pool_.db().transact([](db::Txn& txn) {
        txn.each<Certificate>([&](Ref<Certificate> ref, const Certificate&) {
            txn.edit(ref).purpose = {xenapi::CertificatePurpose::licensing};
        });
    });
    pool_.call("pool.certificate_sync");
    EXPECT_THAT(told->certificates, IsEmpty());

    EXPECT_EQ(log_in(0, "tool"), "SESSION_AUTHENTICATION_FAILED");
    EXPECT_EQ(log_in(certified, "tool"), "");
    const Session& session = pool_.db().get(session_);
    EXPECT_TRUE(session.client_certificate);
    EXPECT_FALSE(session.is_local_superuser);
    EXPECT_EQ(session.auth_user_name, "tool");
    EXPECT_TRUE(std::ranges::contains(session.rbac_permissions, "VM.get_all"));
    EXPECT_FALSE(std::ranges::contains(session.rbac_permissions, "VM.start"));

    EXPECT_EQ(code("pool.disable_client_certificate_auth", {of(pool())}), "success");
    EXPECT_FALSE(told);
    EXPECT_EQ(row().client_certificate_auth_name, "");
    EXPECT_EQ(log_in(certified, "tool"), "SESSION_AUTHENTICATION_FAILED");
    EXPECT_EQ(code("pool.enable_client_certificate_auth", {of(host()), Value("x")}),
              "HANDLE_INVALID");
}

TEST_F(PoolMessages, agents_are_told_what_they_know) {
    const auto add = [&](const char* key, const char* value) {
        return code("pool.add_to_guest_agent_config", {of(pool()), Value(key), Value(value)});
    };
    EXPECT_EQ(add("colour", "red"), "INVALID_VALUE");
    EXPECT_EQ(add("auto_update_enabled", "yes"), "INVALID_VALUE");
    EXPECT_EQ(add("auto_update_url", "ftp://there"), "INVALID_VALUE");
    EXPECT_EQ(row().guest_agent_config.size(), 0U);
    EXPECT_EQ(add("auto_update_enabled", "false"), "success")
        << "a host without agents is no fault";
    EXPECT_EQ(add("auto_update_url", "https://there"), "success");
    EXPECT_EQ(add("auto_update_url", "https://there"), "MAP_DUPLICATE_KEY");
    const std::string update = "Guest_agent_auto_update/";
    EXPECT_THAT(
        domain::guest_features(row().guest_agent_config),
        ElementsAre(Pair(update + "licensed", "1"), Pair(update + "parameters/enabled", "0"),
                    Pair(update + "parameters/update_url", "https://there"),
                    Pair("VSS/licensed", "1")));
    // The simulated machine has no plug-ins at all.
    EXPECT_EQ(code("host.apply_guest_agent_config", {of(host())}), "XENAPI_MISSING_PLUGIN");
    EXPECT_EQ(code("host.apply_guest_agent_config", {of(pool())}), "HANDLE_INVALID");
    pool_.call("pool.remove_from_guest_agent_config", {of(pool()), Value("auto_update_url")});
    EXPECT_EQ(row().guest_agent_config.size(), 1U);
}

TEST_F(PoolMessages, a_host_keeps_texts_to_itself) {
    const auto set = [&](Ref<Host> where, const std::string& key, const std::string& value) {
        return code("host.set_localdb_key", {of(where), Value(key), Value(value)});
    };
    const auto kept = [&](const std::string& key) {
        std::optional<std::string> out;
        const auto job = spawn(
            pool_.loop, "read",
            [](core::Core& core, std::string name, std::optional<std::string>* into) -> Task<void> {
                *into = co_await domain::local_text(core, name);
            }(pool_.xapi->core(), key, &out));
        pool_.until([&] { return job->finished(); });
        return out;
    };
    EXPECT_EQ(kept("a/../b"), std::nullopt);
    EXPECT_EQ(set(host(), "a/../b", "one\ntwo"), "success");
    EXPECT_EQ(kept("a/../b"), "one\ntwo");
    EXPECT_EQ(set(host(), "a/../b", ""), "success");
    EXPECT_EQ(kept("a/../b"), "");
    EXPECT_EQ(set(host(), "", "x"), "INVALID_VALUE");
    EXPECT_EQ(set(host(), "a\nb", "x"), "INVALID_VALUE");
    EXPECT_EQ(set(host(), "long", std::string(70'000, 'x')), "INVALID_VALUE");
    EXPECT_EQ(set(Ref<Host>(pool().uuid()), "a", "x"), "HANDLE_INVALID");
}

TEST_F(PoolMessages, what_is_gone_or_elsewhere_says_so) {
    EXPECT_EQ(code("pool.test_archive_target", {of(pool()), text_map({{"type", "nfs"}})}),
              "MESSAGE_REMOVED");
    Ref<xenapi::Sr> sr;
    pool_.db().each<xenapi::Sr>([&](Ref<xenapi::Sr> ref, const xenapi::Sr&) { sr = ref; });
    const auto convert = [&](const auto& where) {
        return code("VM.import_convert", {Value("vmware"), Value("root"), Value("secret"),
                                          of(where), text_map({{"hostname", "esx"}})});
    };
    EXPECT_EQ(convert(sr), "XENAPI_MISSING_PLUGIN");
    EXPECT_EQ(convert(pool()), "HANDLE_INVALID");
}

}  // namespace
}  // namespace basalt::testing
