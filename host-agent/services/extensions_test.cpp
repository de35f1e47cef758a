#include "host-agent/services/extensions.hpp"

#include "base/json.hpp"
#include "host-agent/services/testing.hpp"
#include "host-agent/services/xmlrpc.hpp"

namespace basalt::agent {
namespace {

using testing_::Folder;
using testing_::outcome;

std::string answer_script(const std::string& status, const std::string& member) {
    return "#!/bin/sh\ncat > \"$0.got\"\ncat <<'X'\n<methodResponse><params><param><value><struct>"
           "<member><name>Status</name><value>" +
           status + "</value></member>" + member +
           "</struct></value></param></params></methodResponse>\nX\n";
}

std::string call(const Folder& folder, const std::string& name, const std::string& request,
                 std::string* result = nullptr) {
    std::string kept;
    const std::string told = outcome([&](RealLoop& loop) -> Task<void> {
        Extensions extensions(loop, folder.path());
        kept = co_await extensions.call(name, request);
    });
    if (result != nullptr) *result = kept;
    return told;
}

TEST(XmlRpc, values_are_written_by_their_kind) {
    EXPECT_EQ(xmlrpc_call("a.b", Json::parse(R"(["<x>",true,7,[1.5],{"k":null}])")),
              "<methodCall><methodName>a.b</methodName><params>"
              "<param><value><string>&lt;x&gt;</string></value></param>"
              "<param><value><boolean>1</boolean></value></param>"
              "<param><value><string>7</string></value></param>"
              "<param><value><array><data><value><double>1.5</double></value></data></array>"
              "</value></param><param><value><struct><member><name>k</name><value><nil/></value>"
              "</member></struct></value></param></params></methodCall>");
}

TEST(XmlRpc, what_is_no_response_is_refused) {
    EXPECT_THROW(parse_xmlrpc_answer("hello"), std::invalid_argument);
    EXPECT_THROW(parse_xmlrpc_answer("<methodResponse/>"), std::invalid_argument);
    std::string deep = "<methodResponse><params><param>";
    for (int i = 0; i < 100; ++i)
        deep += "<value><array><data>";
    EXPECT_THROW(parse_xmlrpc_answer(deep), std::invalid_argument);
}

TEST(Extensions, a_script_gets_the_call_and_its_value_comes_back) {
    Folder folder;
    folder.write("Test.hello",
                 answer_script("Success",
                               "<member><name>Value</name><value><array><data><value>a"
                               "</value></data></array></value></member>"),
                 0755);
    std::string result;
    EXPECT_EQ(call(folder, "Test.hello", R"({"method":"Test.hello","params":["you"]})", &result),
              "ok");
    EXPECT_EQ(result, R"(["a"])");
    std::ifstream got(folder.path() + "/Test.hello.got");
    const std::string text(std::istreambuf_iterator<char>(got), {});
    EXPECT_NE(text.find("<methodName>Test.hello</methodName>"), std::string::npos) << text;
    EXPECT_NE(text.find("<string>you</string>"), std::string::npos) << text;
}

TEST(Extensions, failures_are_those_of_the_api) {
    Folder folder;
    folder.write("plain", "no script");
    folder.write("bad", "#!/bin/sh\necho nonsense\n", 0755);
    folder.write("dies", "#!/bin/sh\nexit 4\n", 0755);
    folder.write("says",
                 answer_script("Failure",
                               "<member><name>ErrorDescription</name><value><array>"
                               "<data><value>MINE</value></data></array></value>"
                               "</member>"),
                 0755);
    const std::string good = R"({"params":[]})";
    EXPECT_TRUE(call(folder, "absent", good).starts_with("MESSAGE_METHOD_UNKNOWN"));
    EXPECT_TRUE(call(folder, "plain", good).starts_with("MESSAGE_METHOD_UNKNOWN"));
    EXPECT_TRUE(call(folder, "../bad", good).starts_with("MESSAGE_METHOD_UNKNOWN"));
    EXPECT_TRUE(call(folder, "bad", good).starts_with("EXTENSION_PROTOCOL_FAILURE"));
    EXPECT_TRUE(call(folder, "dies", good).starts_with("EXTENSION_PROTOCOL_FAILURE"));
    EXPECT_NE(call(folder, "says", good).find("MINE"), std::string::npos);
    EXPECT_TRUE(call(folder, "bad", "no json").starts_with("INVALID_VALUE"));
}

}  // namespace
}  // namespace basalt::agent
