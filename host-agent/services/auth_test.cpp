#include "host-agent/services/auth.hpp"

#include <gtest/gtest.h>

#include "host-agent/services/testing.hpp"

namespace basalt::agent {
namespace {

using testing_::Folder;
using testing_::outcome;

constexpr auto check_script = R"SH(#!/bin/sh
given=$(tr -d '\000')
case $PAM_TYPE in
auth) [ "$PAM_USER" = root ] && [ "$given" = "$(cat "$1")" ] && echo "$PAM_RHOST" > "$1.from" ;;
password) [ ${#given} -ge 4 ] && printf %s "$given" > "$1" ;;
account) true ;;
esac
)SH";

/// A PAM service of one user, root, whose password lies in a file.
class AuthTest : public testing::Test {
  protected:
    AuthTest() {
        const std::string tool = folder_.write("check", check_script, 0755);
        const std::string secret = folder_.write("secret", "hunter2");
        std::string service;
        for (const char* line : {"auth required pam_exec.so quiet expose_authtok ",
                                 "account required pam_exec.so quiet ",
                                 "password required pam_exec.so quiet expose_authtok "})
            service += line + tool + " " + secret + "\n";
        folder_.write("xapi", service);
    }

    std::string login(const std::string& user, const std::string& password) {
        return outcome([this, user, password](RealLoop& loop) -> Task<void> {
            Auth auth(loop, config());
            co_await auth.login(user, log::Secret(password), "192.0.2.7");
        });
    }

    std::string change(const std::string& old, const std::string& fresh) {
        return outcome([this, old, fresh](RealLoop& loop) -> Task<void> {
            Auth auth(loop, config());
            co_await auth.change_password("root", log::Secret(old), log::Secret(fresh));
        });
    }

    [[nodiscard]] Auth::Config config() const {
        return {.service = "xapi", .directory = folder_.path()};
    }

    Folder folder_;
};

TEST_F(AuthTest, the_right_password_logs_in) {
    EXPECT_EQ(login("root", "hunter2"), "ok");
    std::string from;
    std::ifstream(folder_.path() + "/secret.from") >> from;
    EXPECT_EQ(from, "192.0.2.7");
}

TEST_F(AuthTest, anything_else_does_not) {
    for (const char* password : {"", "hunter", "hunter22", "HUNTER2"})
        EXPECT_EQ(login("root", password),
                  "SESSION_AUTHENTICATION_FAILED(root, Authentication failure)")
            << password;
    EXPECT_EQ(login("toor", "hunter2"),
              "SESSION_AUTHENTICATION_FAILED(toor, Authentication failure)");
    EXPECT_NE(login("", "hunter2"), "ok");
    EXPECT_EQ(login("root", std::string("hunter2\0x", 9)),
              "SESSION_AUTHENTICATION_FAILED(root, Authentication failure)");
}

TEST_F(AuthTest, a_failure_does_not_hold_the_pool) {
    const auto start = std::chrono::steady_clock::now();
    login("root", "wrong");
    EXPECT_LT(std::chrono::steady_clock::now() - start, 1500ms);
}

TEST_F(AuthTest, a_missing_service_refuses) {
    std::filesystem::remove(folder_.path() + "/xapi");
    EXPECT_TRUE(login("root", "hunter2").starts_with("SESSION_AUTHENTICATION_FAILED(root, "));
}

TEST_F(AuthTest, a_password_changes_only_with_the_old_one) {
    EXPECT_TRUE(change("wrong", "secret8").starts_with("SESSION_AUTHENTICATION_FAILED(root, "));
    EXPECT_EQ(login("root", "hunter2"), "ok");
    EXPECT_EQ(change("hunter2", "secret8"), "ok");
    EXPECT_EQ(login("root", "secret8"), "ok");
    EXPECT_NE(login("root", "hunter2"), "ok");
}

TEST_F(AuthTest, a_refused_new_password_says_so) {
    EXPECT_TRUE(change("hunter2", "abc").starts_with("CHANGE_PASSWORD_REJECTED("));
    EXPECT_TRUE(change("hunter2", "").starts_with("CHANGE_PASSWORD_REJECTED("));
    EXPECT_EQ(login("root", "hunter2"), "ok");
}

TEST_F(AuthTest, many_at_once_are_all_answered) {
    EXPECT_EQ(outcome([this](RealLoop& loop) -> Task<void> {
                  Auth auth(loop, config());
                  std::vector<Task<void>> logins;
                  for (int i = 0; i < 16; ++i)
                      logins.push_back(auth.login("root", log::Secret("hunter2"), ""));
                  co_await all(loop, std::move(logins));
              }),
              "ok");
}

}  // namespace
}  // namespace basalt::agent
