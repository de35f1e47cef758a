// Alarms on figures over time: what clients configure, and the messages that they parse.
#include <gtest/gtest.h>

#include <map>

#include "xapi/domain/perfmon.hpp"

namespace basalt::testing {
namespace {

using namespace domain::perfmon;

constexpr const char* two_variables = R"(<config>
  <variable>
    <name value="cpu_usage"/><alarm_trigger_level value="0.9"/>
    <alarm_trigger_period value="300"/><alarm_auto_inhibit_period value="600"/>
    <alarm_priority value="2"/>
  </variable>
  <variable><name value="network_usage"/><alarm_trigger_level value="1000"/></variable>
</config>)";

const std::map<std::string, double> of_vm = {
    {"cpu0", 0.5},          {"cpu1", 1},           {"cpu_usage", 0.75},
    {"memory", 100},        {"vif_0_rx", 600},     {"vif_0_tx", 500},
    {"vif_0_rx_errors", 7}, {"vbd_xvda_read", 40}, {"vbd_xvda_read_latency", 9}};

std::vector<Variable> parsed(const std::string& variable, Owner owner = Owner::vm) {
    return parse("<config><variable>" + variable + "</variable></config>", owner);
}

TEST(Perfmon, a_configuration_as_clients_write_it) {
    const std::vector<Variable> variables = parse(two_variables, Owner::vm);
    ASSERT_EQ(variables.size(), 2U);
    const Variable& cpu = variables[0];
    EXPECT_EQ(cpu.period_seconds, 300);
    EXPECT_EQ(cpu.silence_seconds, 600);
    EXPECT_EQ(cpu.priority, 2);
    EXPECT_DOUBLE_EQ(*figure(cpu, of_vm), 0.75) << "the average of the processors";
    EXPECT_FALSE(is_alarm(cpu, 0.75));
    EXPECT_TRUE(is_alarm(cpu, 0.95));
    const Variable& network = variables[1];
    EXPECT_EQ(network.period_seconds, 60);
    EXPECT_EQ(network.silence_seconds, 3600);
    EXPECT_EQ(network.priority, 3);
    EXPECT_DOUBLE_EQ(*figure(network, of_vm), 1100) << "the sum, without errors";
}

TEST(Perfmon, what_names_mean_depends_on_whose_they_are) {
    const std::string level = R"(<alarm_trigger_level value="1"/>)";
    const auto value = [&](const char* name, Owner owner, std::map<std::string, double> means) {
        const auto found = parsed(R"(<name value=")" + std::string(name) + R"("/>)" + level, owner);
        return found.size() == 1 ? figure(found.front(), means).value_or(-1) : -2;
    };
    EXPECT_EQ(value("disk_usage", Owner::vm, of_vm), 40);
    EXPECT_EQ(value("network_usage", Owner::host,
                    {{"pif_eth0_rx", 1}, {"pif_eth0_tx", 2}, {"pif_eth0_rx_errors", 4}}),
              3);
    EXPECT_EQ(value("sr_io_throughput_total_0a1b2c3d", Owner::host,
                    {{"io_throughput_total_0a1b2c3d", 5}, {"io_throughput_total_0a1b2c3e", 7}}),
              5);
    EXPECT_EQ(value("physical_utilisation", Owner::sr, {{"physical_utilisation", 6}}), 6);
    EXPECT_EQ(value("memory", Owner::vm, {{"memory_target", 6}}), -1) << "another name";
    const auto low = parsed(R"(<name value="memory_free_kib"/>)" + level, Owner::host);
    EXPECT_TRUE(is_alarm(low.front(), 0.5));
    EXPECT_FALSE(is_alarm(low.front(), 1.5));
}

TEST(Perfmon, a_variable_says_what_it_is_made_of) {
    const auto found = parsed(R"(<name value="mine"/><alarm_trigger_level value="1"/>
        <rrd_regex value="vbd_.*_(read|write)$"/><consolidation_fn value="average"/>
        <alarm_trigger_sense value="low"/>)");
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(figure(found.front(), {{"vbd_xvda_read", 2}, {"vbd_xvda_write", 6}, {"x", 1}}), 4);
    EXPECT_TRUE(is_alarm(found.front(), 0));
}

TEST(Perfmon, what_cannot_be_an_alarm_is_left_out) {
    EXPECT_TRUE(parse("no XML", Owner::vm).empty());
    EXPECT_TRUE(parse("", Owner::vm).empty());
    for (const char* bad :
         {R"(<name value="cpu_usage"/>)", R"(<alarm_trigger_level value="1"/>)",
          R"(<name value="cpu_usage"/><alarm_trigger_level value="much"/>)",
          R"(<name value="cpu_usage"/><alarm_trigger_level value="nan"/>)",
          R"(<name value="x"/><alarm_trigger_level value="1"/><rrd_regex value="("/>)",
          R"(<name value="x"/><alarm_trigger_level value="1"/><rrd_regex value="(.*)\1"/>)"})
        EXPECT_TRUE(parsed(bad).empty()) << bad;
    const auto odd = parsed(R"(<name value="x"/><alarm_trigger_level value="1"/>
        <alarm_trigger_period value="-5"/><alarm_priority value="9"/>)");
    EXPECT_EQ(odd.front().period_seconds, 60);
    EXPECT_EQ(odd.front().priority, 3);
}

TEST(Perfmon, the_body_is_what_clients_parse) {
    const auto found = parsed(R"(<name value="cpu_usage"/><alarm_trigger_level value="0.5"/>)");
    const std::string text = body(found.front(), 0.75);
    EXPECT_EQ(text,
              "value: 0.750000\nconfig:\n<variable>\n  <name value=\"cpu_usage\" />\n"
              "  <alarm_trigger_level value=\"0.5\" />\n</variable>\n");
    EXPECT_EQ(variable_in(text), "cpu_usage");
    EXPECT_EQ(variable_in("value: 1"), "");
}

}  // namespace
}  // namespace basalt::testing
