#include "host-agent/services/plugins.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "host-agent/services/testing.hpp"

namespace basalt::agent {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// A plug-in as scripts in the field are written: the usual helper module's protocol, in Python.
constexpr auto script = R"(#!/usr/bin/env python3
import sys, xmlrpc.client as rpc, time

def answer(value):
    print(rpc.dumps((value,), "", True))

params, function = rpc.loads(sys.argv[1])
session, args = params
if function == "echo":
    words = ",".join(f"{k}={v}" for k, v in sorted(args.items()))
    answer({"Status": "Success", "Value": session + "/" + words})
elif function == "fail":
    answer({"Status": "Failure", "ErrorDescription": ["MY_CODE", "one", "two"]})
elif function == "fault":
    print(rpc.dumps(rpc.Fault(7, "broken"), methodresponse=True))
elif function == "exit":
    print("partial"); print("bad", file=sys.stderr); sys.exit(3)
elif function == "garbage":
    print("not <xml")
elif function == "hog":
    held = bytearray(int(args["bytes"])); held[::4096] = b"x" * len(held[::4096])
    answer({"Status": "Success", "Value": "held"})
elif function == "fork":
    import os
    born = 0
    try:
        while born < 200:
            if os.fork() == 0: time.sleep(5); os._exit(0)
            born += 1
    except OSError: pass
    answer({"Status": "Success", "Value": str(born)})
elif function == "leave":
    import os
    if os.fork() == 0:
        os.setsid(); [os.close(fd) for fd in (0, 1, 2)]; time.sleep(60); os._exit(0)
    answer({"Status": "Success", "Value": "left one"})
elif function == "talk":
    print("x" * int(args["bytes"]))
elif function == "groups":
    answer({"Status": "Success", "Value": open("/proc/self/cgroup").read()})
elif function == "sleep":
    open(args["file"], "w").write("started"); time.sleep(60)
)";

class PluginsTest : public testing::Test {
  protected:
    PluginsTest() { folder_.write("tool.py", script, 0755); }

    std::string call(const std::string& plugin, const std::string& function, PluginArgs args = {}) {
        std::string answer;
        const std::string error = testing_::outcome([&, args](RealLoop& loop) -> Task<void> {
            Plugins plugins(loop, folder_.path());
            answer = co_await plugins.call(plugin, function, args, "OpaqueRef:s");
        });
        return error == "ok" ? answer : error;
    }

    testing_::Folder folder_;
};

TEST_F(PluginsTest, a_success_returns_its_value_unchanged) {
    EXPECT_EQ(call("tool.py", "echo"), "OpaqueRef:s/");
    EXPECT_EQ(call("tool.py", "echo", {{"a", "<&>\"' \n\tü  x "}, {"b", ""}}),
              "OpaqueRef:s/a=<&>\"' \n\tü  x ,b=");
    EXPECT_EQ(call("tool.py", "echo", {{"b", " "}}), "OpaqueRef:s/b= ");
}

TEST_F(PluginsTest, failures_keep_their_code_or_become_a_plugin_failure) {
    EXPECT_EQ(call("tool.py", "fail"), "MY_CODE(one, two)");
    EXPECT_EQ(call("tool.py", "fault"), "XENAPI_PLUGIN_FAILURE(fault, 7, broken)");
    EXPECT_EQ(call("tool.py", "exit"), "XENAPI_PLUGIN_FAILURE(non-zero exit, partial\n, bad\n)");
    EXPECT_THAT(call("tool.py", "garbage"),
                StartsWith("XENAPI_PLUGIN_FAILURE(failed to parse plugin output, not <xml\n, "));
    EXPECT_THAT(call("tool.py", "unheard-of"), StartsWith("XENAPI_PLUGIN_FAILURE("));
}

TEST_F(PluginsTest, a_signal_is_told) {
    folder_.write("dies", "#!/bin/sh\nkill -9 $$\n", 0755);
    EXPECT_THAT(call("dies", "x"), StartsWith("XENAPI_PLUGIN_FAILURE(signal: SIGKILL, "));
}

TEST_F(PluginsTest, only_plain_names_of_executables_are_plugins) {
    folder_.write("data", "#!/bin/sh\n", 0644);
    folder_.write(".hidden", "#!/bin/sh\n", 0755);
    folder_.write("sub/tool", "#!/bin/sh\n", 0755);
    for (const char* name : {"nope", "data", ".hidden", "..", ".", "", "sub", "sub/tool",
                             "../../bin/true", "/bin/true"})
        EXPECT_EQ(call(name, "x"), std::string("XENAPI_MISSING_PLUGIN(") + name + ")");
}

TEST_F(PluginsTest, cancelling_kills_it) {
    const std::string marker = folder_.path() + "/marker";
    const auto start = std::chrono::steady_clock::now();
    testing_::outcome([&](RealLoop& loop) -> Task<void> {
        Plugins plugins(loop, folder_.path());
        const auto job = spawn(loop, "call", [](Plugins& p, std::string file) -> Task<void> {
            co_await p.call("tool.py", "sleep", {{"file", file}}, "s");
        }(plugins, marker));
        while (!std::filesystem::exists(marker))
            co_await sleep_for(loop, 20ms);
        job->cancel();
        co_await job->wait();
        EXPECT_TRUE(is_cancellation(job->failure()));
    });
    EXPECT_LT(std::chrono::steady_clock::now() - start, 20s);
}

/// Limits that the kernel keeps, if it does so here.
class LimitedPlugins : public PluginsTest {
  protected:
    [[nodiscard]] bool has(const std::string& controller) const {
        return std::ranges::contains(groups_->controllers(), controller);
    }

    std::string limited(const std::string& function, PluginArgs args = {}) {
        std::string answer;
        const std::string error = testing_::outcome([&, args](RealLoop& loop) -> Task<void> {
            Plugins plugins(loop, folder_.path(), groups_, limits_);
            answer = co_await plugins.call("tool.py", function, args, "s");
        });
        return error == "ok" ? answer : error;
    }

    ~LimitedPlugins() override { groups_->remove(""); }

    std::shared_ptr<Cgroups> groups_ =
        std::make_shared<Cgroups>("basalt-plugins-test-" + std::to_string(::getpid()));
    PluginLimits limits_;
};

TEST_F(LimitedPlugins, each_call_is_in_a_group_of_its_own_that_goes_with_it) {
    if (groups_->layout() == Cgroups::Layout::none) GTEST_SKIP() << "this machine has no cgroups";
    EXPECT_THAT(limited("groups"), HasSubstr("/call-1"));
    EXPECT_TRUE(groups_->processes("call-1").empty());
}

TEST_F(LimitedPlugins, one_that_takes_too_much_memory_is_killed) {
    if (!has("memory")) GTEST_SKIP() << "no cgroup controller memory for us on this machine";
    limits_.memory_bytes_max = std::int64_t{64} << 20;
    EXPECT_EQ(limited("hog", {{"bytes", "1000"}}), "held");
    EXPECT_THAT(limited("hog", {{"bytes", "200000000"}}), StartsWith("XENAPI_PLUGIN_FAILURE"));
}

TEST_F(LimitedPlugins, one_that_multiplies_is_stopped) {
    if (!has("pids")) GTEST_SKIP() << "no cgroup controller pids for us on this machine";
    limits_.pids_max = 20;
    const std::string born = limited("fork");
    EXPECT_LT(std::stoi(born), 20) << born;
}

TEST_F(LimitedPlugins, what_one_leaves_running_stays_within_its_group) {
    if (groups_->layout() == Cgroups::Layout::none) GTEST_SKIP() << "this machine has no cgroups";
    EXPECT_EQ(limited("leave"), "left one");
    EXPECT_EQ(groups_->processes("call-1").size(), 1U);
    groups_->kill("call-1");
}

TEST_F(LimitedPlugins, too_much_output_is_a_failure) {
    limits_.output_bytes_max = 1000;
    const std::string said = limited("talk", {{"bytes", "5000"}});
    EXPECT_THAT(said, StartsWith("XENAPI_PLUGIN_FAILURE"));
    EXPECT_THAT(said, HasSubstr("too much output"));
}

TEST_F(LimitedPlugins, so_many_at_once_and_no_more) {
    limits_.running_max = 0;
    EXPECT_THAT(limited("echo"), HasSubstr("too many"));
}

TEST(PluginResponse, odd_but_valid_texts_are_read) {
    const auto success = [](const std::string& value) {
        return parse_plugin_response(
            "<?xml version='1.0'?>\n<methodResponse>\n<params><param><value><struct>"
            "<member><name>Status</name><value>Success</value></member>"
            "<member><name>Value</name>" +
            value + "</member></struct></value></param></params></methodResponse>\n");
    };
    EXPECT_EQ(success("<value>plain</value>"), "plain");
    EXPECT_EQ(success("<value><string></string></value>"), "");
    EXPECT_EQ(success("<value/>"), "");
    EXPECT_EQ(success("<value><int>5</int></value>"), "5");
    EXPECT_EQ(success("<value><string>a &lt;b&gt; &amp;</string></value>"), "a <b> &");
    EXPECT_THROW(parse_plugin_response(""), ApiError);
    EXPECT_THROW(parse_plugin_response("<methodResponse/>"), ApiError);
}

}  // namespace
}  // namespace basalt::agent
