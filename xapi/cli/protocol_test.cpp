#include "xapi/cli/protocol.hpp"

#include <gtest/gtest.h>

namespace basalt::cli {
namespace {

using namespace std::string_literals;

TEST(CliProtocol, InstructionsHaveTheKnownBytes) {
    EXPECT_EQ(frame(Instruction{.kind = Instruction::Kind::print, .text = "hi"}),
              "\x0e\0\0\0\x09\0\0\0\0\0\0\0\x02\0\0\0hi"s);
    EXPECT_EQ(frame(Instruction{.kind = Instruction::Kind::exit, .status = -1}),
              "\x0c\0\0\0\x09\0\0\0\x04\0\0\0\xff\xff\xff\xff"s);
    EXPECT_EQ(frame(Answer{Answer::Kind::ok}), "\x08\0\0\0\x0a\0\0\0\x05\0\0\0"s);
    EXPECT_EQ(frame(Answer{Answer::Kind::chunk, 3}), "\x0c\0\0\0\x0b\0\0\0\x07\0\0\0\x03\0\0\0"s);
    EXPECT_EQ(handshake(), "XenSource thin CLI protocol\0\0\0\0\x02\0\0\0"s);
    EXPECT_EQ(handshake().size(), handshake_bytes);
}

TEST(CliProtocol, InstructionsSurviveTheWire) {
    const std::vector<Instruction> all = {
        {.kind = Instruction::Kind::load, .text = "file"},
        {.kind = Instruction::Kind::prompt},
        {.kind = Instruction::Kind::http_get, .text = "out", .url = "/export?x=y"},
        {.kind = Instruction::Kind::http_put, .text = "in", .url = "https://host/import"},
        {.kind = Instruction::Kind::http_connect, .url = "/console"},
        {.kind = Instruction::Kind::error, .text = "CODE", .params = {"a", "", "c"}},
    };
    for (const Instruction& sent : all) {
        const std::string bytes = frame(sent);
        ASSERT_EQ(frame_length(bytes), bytes.size() - 4);
        const Instruction got = parse_instruction(std::string_view(bytes).substr(4));
        EXPECT_EQ(got.kind, sent.kind);
        EXPECT_EQ(got.text, sent.text);
        EXPECT_EQ(got.url, sent.url);
        EXPECT_EQ(got.params, sent.params);
    }
}

TEST(CliProtocol, RefusesWhatIsNotTheProtocol) {
    EXPECT_THROW((void)parse_instruction("\x09\0\0\0\x02\0\0\0"s), ProtocolError);  // a retired tag
    EXPECT_THROW((void)parse_instruction("\x09\0\0\0\0\0\0\0\x09\0\0\0x"s), ProtocolError);
    EXPECT_THROW((void)parse_answer("\x09\0\0\0\x05\0\0\0"s), ProtocolError);
    EXPECT_THROW(static_cast<void>(frame_length("\xff\xff\xff\xff")), ProtocolError);
    EXPECT_THROW(check_handshake("XenSource thin CLI protocol\x01\0\0\0\0\0\0\0"s), ProtocolError);
    EXPECT_THROW(check_handshake("HTTP/1.1 500 Internal Error, and so"), ProtocolError);
}

}  // namespace
}  // namespace basalt::cli
