#include <gtest/gtest.h>

#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/http.hpp"

namespace basalt::server {
namespace {

std::string page_of(MethodCall (*parse)(std::string_view), std::string_view body) {
    try {
        (void)parse(body);
    } catch (const HttpError& error) {
        return error.response().body;
    }
    return "";
}

TEST(XmlCall, every_type_is_read) {
    const MethodCall call = parse_xml_call(
        "<?xml version='1.0'?>\n<methodCall>\n<methodName>A.b</methodName>\n<params>\n"
        "<param><value>bare &lt;x&gt;</value></param><param><value><string> s </string></value>"
        "</param><param><value><int>5</int></value></param><param><value><i8>-7</i8></value></"
        "param>"
        "<param><value><boolean>1</boolean></value></param><param><value><double>nan</double>"
        "</value></param><param><value><dateTime.iso8601>20200131T23:59:59Z</dateTime.iso8601>"
        "</value></param><param><value><array><data>\n<value>a</value> <value/></data></array>"
        "</value></param><param><value><struct>\n<member><name>k</name>\n<value>v</value></member>"
        "\n</struct></value></param><param><value><nil/></value></param></params></methodCall>");
    EXPECT_EQ(call.method, "A.b");
    ASSERT_EQ(call.params.size(), 10U);
    EXPECT_EQ(call.params[0].debug_text(), "S(bare <x>)");
    EXPECT_EQ(call.params[1].debug_text(), "S( s )");
    EXPECT_EQ(call.params[2].debug_text(), "I(5)");
    EXPECT_EQ(call.params[3].debug_text(), "I(-7)");
    EXPECT_EQ(call.params[4].debug_text(), "B(true)");
    EXPECT_EQ(call.params[6].debug_text(), "D(20200131T23:59:59Z)");
    EXPECT_EQ(call.params[7].debug_text(), "[S(a);S()]");
    EXPECT_EQ(call.params[8].debug_text(), "{k:S(v)}");
    EXPECT_TRUE(call.params[9].is_null());
}

TEST(XmlCall, depth_and_text_are_bounded) {
    std::string deep = "<methodCall><methodName>m</methodName><params><param>";
    for (int i = 0; i < 500; ++i)
        deep += "<value><array><data>";
    deep += "<value>x</value>";
    for (int i = 0; i < 500; ++i)
        deep += "</data></array></value>";
    deep += "</param></params></methodCall>";
    EXPECT_NE(page_of(parse_xml_call, deep).find("nested too deeply"), std::string::npos);
    const MethodCall call =
        parse_xml_call("<methodCall><methodName>m\xff</methodName><params></params></methodCall>");
    EXPECT_TRUE(call.invalid_text);
}

TEST(XmlCall, entities_of_a_document_are_not_expanded) {
    std::string bomb = "<?xml version='1.0'?><!DOCTYPE l [<!ENTITY a0 \"ha\">";
    for (int i = 1; i < 30; ++i) {
        const std::string before = "&a" + std::to_string(i - 1) + ";";
        bomb += "<!ENTITY a" + std::to_string(i) + " \"" + before + before + "\">";
    }
    bomb +=
        "<!ENTITY file SYSTEM \"file:///etc/passwd\">]><methodCall><methodName>m</methodName>"
        "<params><param><value>&a29;</value></param><param><value>&file;</value></param>"
        "</params></methodCall>";
    const MethodCall call = parse_xml_call(bomb);
    EXPECT_EQ(call.params.at(0).debug_text(), "S(&a29;)");
    EXPECT_EQ(call.params.at(1).debug_text(), "S(&file;)");
}

TEST(XmlCall, nesting_of_a_hundred_thousand_elements_needs_no_stack) {
    std::string deep = "<methodCall><methodName>m</methodName><params><param>";
    for (int i = 0; i < 100'000; ++i)
        deep += "<value><array><data>";
    EXPECT_NE(page_of(parse_xml_call, deep).find("Xmlm.Error"), std::string::npos);
    for (int i = 0; i < 100'000; ++i)
        deep += "</data></array></value>";
    deep += "</param></params></methodCall>";
    EXPECT_NE(page_of(parse_xml_call, deep).find("nested too deeply"), std::string::npos);
}

TEST(JsonCall, nesting_of_a_million_needs_no_stack) {
    for (const char* open : {"[", "{\"a\":"}) {
        std::string deep = R"({"jsonrpc":"2.0","method":"m","id":1,"params":)";
        for (int i = 0; i < 1'000'000; ++i)
            deep += open;
        EXPECT_NE(page_of(parse_json_call, deep).find("nested too deeply"), std::string::npos);
    }
}

TEST(JsonCall, text_that_is_not_utf8_is_known_and_harmless) {
    for (const char* bytes : {"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"}) {
        const std::string body =
            std::string(R"({"method":"m)") + bytes + R"(","params":[],"id":1})";
        const MethodCall call = parse_json_call(body);
        EXPECT_TRUE(call.invalid_text);
        EXPECT_TRUE(is_utf8(call.method));
    }
}

TEST(JsonCall, versions_ids_and_params) {
    const MethodCall one = parse_json_call(R"({"method":"m","params":[1,"a",{"b":true}],"id":-3})");
    EXPECT_EQ(one.protocol, Protocol::json1);
    EXPECT_EQ(one.params.size(), 3U);
    EXPECT_EQ(failure_text(one, {"C", "p"}), R"({"result":null,"error":["C","p"],"id":-3})");
    const MethodCall two =
        parse_json_call(R"({"jsonrpc":"2.0","method":"m","params":{},"id":"x"})");
    EXPECT_EQ(two.params.size(), 1U);
    EXPECT_EQ(failure_text(two, {"C", "p\"q"}),
              R"({"jsonrpc":"2.0","error":{"code":1,"message":"C","data":["p\"q"]},"id":"x"})");
    EXPECT_EQ(success_text(two, {}), R"({"jsonrpc":"2.0","result":"","id":"x"})");
    EXPECT_EQ(success_text(one, {}), R"({"result":"","error":null,"id":-3})");
    EXPECT_NE(page_of(parse_json_call, R"({"method":"m","id":1})").find("params"),
              std::string::npos);
    EXPECT_NE(page_of(parse_json_call, R"({"method":"m","params":[],"id":1.5})").find("id"),
              std::string::npos);
}

TEST(Utf8, whole_characters_only) {
    EXPECT_TRUE(is_utf8("a\xc3\xa9\xe4\xb8\xad\xf0\x9f\x98\x80"));
    EXPECT_FALSE(is_utf8("\xc0\xaf"));
    EXPECT_FALSE(is_utf8("\xed\xa0\x80"));
    EXPECT_FALSE(is_utf8("\xe4\xb8"));
    EXPECT_EQ(made_utf8("a\xff"), "a\xef\xbf\xbd");
}

}  // namespace
}  // namespace basalt::server
