#include "xapi/cli/command_line.hpp"

#include <gtest/gtest.h>

#include "xapi/cli/client/options.hpp"

namespace basalt::cli {
namespace {

TEST(CommandLine, WordsBecomeParameters) {
    const CommandLine line = parse_command_line(
        "vm-list\nparams=uuid,name-label\n--minimal\n-s\nhost\nbare\na=b=c\n"
        "username=root\npassword=p=w");
    EXPECT_EQ(line.command, "vm-list");
    EXPECT_EQ(line.user, "root");
    EXPECT_EQ(line.password, "p=w");
    EXPECT_FALSE(line.session);
    const std::vector<Params::Pair> expected = {{"params", "uuid,name-label"},
                                                {"minimal", "true"},
                                                {"server", "host"},
                                                {"bare", ""},
                                                {"a", "b=c"}};
    EXPECT_EQ(line.params.all(), expected);
}

TEST(CommandLine, AForwardedOneNamesItsSession) {
    const CommandLine line = parse_command_line("session_id=OpaqueRef:x\r\nvm-start\r\nvm=a b\r\n");
    EXPECT_EQ(line.session, "OpaqueRef:x");
    EXPECT_EQ(line.command, "vm-start");
    EXPECT_EQ(line.params.get("vm"), "a b");
}

TEST(CommandLine, WhatIsNoCommandIsASyntaxError) {
    EXPECT_THROW((void)parse_command_line(""), SyntaxError);
    EXPECT_THROW((void)parse_command_line("uuid=x\nvm-start"), SyntaxError);
    EXPECT_THROW((void)parse_command_line("vm-start\n-z"), SyntaxError);
    EXPECT_THROW((void)parse_command_line("vm-start\n-s"), SyntaxError);
}

TEST(CommandLine, MapsAndMissingParameters) {
    Params params;
    params.add("device-config:server", "a");
    params.add("device-config:path", "/b");
    const wire::Object map = params.map("device-config");
    ASSERT_EQ(map.size(), 2U);
    EXPECT_EQ(map[1].name, "path");
    EXPECT_THROW(static_cast<void>(params.need("uuid")), MissingParameter);
}

TEST(CommandLine, NumbersHaveUnits) {
    EXPECT_EQ(parse_bytes("size", "5GiB"), std::int64_t{5} << 30);
    EXPECT_EQ(parse_bytes("size", "10 mib"), 10 << 20);
    EXPECT_EQ(parse_bytes("size", "7"), 7);
    EXPECT_THROW((void)parse_bytes("size", "GiB"), CommandError);
    EXPECT_THROW((void)parse_bytes("size", "9000000000000TiB"), CommandError);
    EXPECT_THROW((void)parse_truth("force", "perhaps"), CommandError);
    EXPECT_TRUE(parse_truth("force", "Yes"));
}

TEST(XeOptions, ArgumentsWinOverTheEnvironmentAndTheFile) {
    const client::Surroundings around{
        .extra_arguments = "server=extra,port=444,other\\,word",
        .settings = client::parse_settings("server=file\nusername = somebody\n#password=no\n")};
    const client::Options options =
        client::parse_options({"-s", "given", "vm-list", "-pw", "secret", "--nossl"}, around);
    EXPECT_EQ(options.server, "given");
    EXPECT_EQ(options.port, "444");
    EXPECT_EQ(options.user, "somebody");
    EXPECT_EQ(options.password, "secret");
    EXPECT_FALSE(options.tls);
    const std::vector<std::string> words = {"vm-list", "other,word"};
    EXPECT_EQ(options.words, words);
    EXPECT_EQ(client::request_body(options),
              "vm-list\nother,word\nusername=somebody\npassword=secret");
}

TEST(XeOptions, DefaultsAreRootWithoutAPassword) {
    const client::Options options = client::parse_options({"vm-list"}, {});
    EXPECT_EQ(client::request_body(options), "vm-list\nusername=root\npassword=null");
    EXPECT_THROW((void)client::parse_options({"-s"}, {}), client::UsageError);
}

}  // namespace
}  // namespace basalt::cli
