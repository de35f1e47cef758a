#include "xapi/cli/protocol.hpp"

#include <array>
#include <cstring>
#include <utility>

namespace basalt::cli {

namespace {

constexpr std::string_view magic = "XenSource thin CLI protocol";
constexpr std::int32_t class_command = 9, class_response = 10, class_blob = 11;
// Members of the two classes that the client sends.
constexpr std::array<std::pair<Answer::Kind, std::int32_t>, 5> answer_tags = {{
    {Answer::Kind::ok, 5},
    {Answer::Kind::failed, 6},
    {Answer::Kind::wait, 18},
    {Answer::Kind::chunk, 7},
    {Answer::Kind::end, 8},
}};

void put(std::string& out, std::int32_t value) {
    const auto bits = static_cast<std::uint32_t>(value);
    for (unsigned shift = 0; shift < 32; shift += 8)
        out += static_cast<char>(bits >> shift & 0xffU);
}

void put(std::string& out, std::string_view text) {
    put(out, static_cast<std::int32_t>(text.size()));
    out += text;
}

class Reader {
  public:
    explicit Reader(std::string_view bytes) : left_(bytes) {}

    std::int32_t integer() {
        const std::string_view four = take(4);
        std::uint32_t bits = 0;
        for (unsigned i = 0; i < 4; ++i)
            bits |= static_cast<std::uint32_t>(static_cast<unsigned char>(four[i])) << (8 * i);
        return static_cast<std::int32_t>(bits);
    }

    std::string text() {
        const std::int32_t length = integer();
        if (length < 0) throw ProtocolError("a text of negative length");
        return std::string(take(static_cast<std::size_t>(length)));
    }

  private:
    std::string_view take(std::size_t count) {
        if (count > left_.size()) throw ProtocolError("a message ends too early");
        const std::string_view taken = left_.substr(0, count);
        left_.remove_prefix(count);
        return taken;
    }

    std::string_view left_;
};

std::string framed(const std::string& content) {
    std::string out;
    out.reserve(content.size() + 4);
    put(out, static_cast<std::int32_t>(content.size()));
    return out + content;
}

}  // namespace

std::string handshake() {
    std::string out{magic};
    put(out, protocol_major);
    put(out, protocol_minor);
    return out;
}

void check_handshake(std::string_view bytes) {
    if (!bytes.starts_with(magic)) throw ProtocolError("the other side is no thin CLI");
    const std::int32_t major = Reader(bytes.substr(magic.size())).integer();
    if (major != protocol_major) {
        throw ProtocolError("the other side speaks version " + std::to_string(major) +
                            " of the protocol, this side version " +
                            std::to_string(protocol_major));
    }
}

std::string frame(const Instruction& instruction) {
    using Kind = Instruction::Kind;
    std::string out;
    put(out, class_command);
    put(out, std::to_underlying(instruction.kind));
    switch (instruction.kind) {
        case Kind::print:
        case Kind::debug:
        case Kind::print_stderr:
        case Kind::load:
            put(out, instruction.text);
            break;
        case Kind::prompt:
            break;
        case Kind::exit:
            put(out, instruction.status);
            break;
        case Kind::http_get:
        case Kind::http_put:
            put(out, instruction.text);
            put(out, instruction.url);
            break;
        case Kind::http_connect:
            put(out, instruction.url);
            break;
        case Kind::error:
            put(out, instruction.text);
            put(out, static_cast<std::int32_t>(instruction.params.size()));
            for (const std::string& param : instruction.params)
                put(out, param);
            break;
    }
    return framed(out);
}

std::string frame(const Answer& answer) {
    const bool blob = answer.kind == Answer::Kind::chunk || answer.kind == Answer::Kind::end;
    std::string out;
    put(out, blob ? class_blob : class_response);
    for (const auto& [kind, tag] : answer_tags) {
        if (kind == answer.kind) put(out, tag);
    }
    if (answer.kind == Answer::Kind::chunk) put(out, answer.length);
    return framed(out);
}

std::size_t frame_length(std::string_view four_bytes) {
    const std::int32_t length = Reader(four_bytes).integer();
    if (length < 0 || length > message_bytes_max)
        throw ProtocolError("a message of " + std::to_string(length) + " bytes");
    return static_cast<std::size_t>(length);
}

Instruction parse_instruction(std::string_view content) {
    using Kind = Instruction::Kind;
    Reader reader(content);
    if (reader.integer() != class_command) throw ProtocolError("the server sent no command");
    Instruction out;
    const std::int32_t tag = reader.integer();
    out.kind = static_cast<Kind>(tag);
    switch (out.kind) {
        case Kind::print:
        case Kind::debug:
        case Kind::print_stderr:
        case Kind::load:
            out.text = reader.text();
            return out;
        case Kind::prompt:
            return out;
        case Kind::exit:
            out.status = reader.integer();
            return out;
        case Kind::http_get:
        case Kind::http_put:
            out.text = reader.text();
            out.url = reader.text();
            return out;
        case Kind::http_connect:
            out.url = reader.text();
            return out;
        case Kind::error: {
            out.text = reader.text();
            for (std::int32_t left = reader.integer(); left > 0; --left)
                out.params.push_back(reader.text());
            return out;
        }
    }
    throw ProtocolError("the server sent an unknown command, " + std::to_string(tag));
}

Answer parse_answer(std::string_view content) {
    Reader reader(content);
    const std::int32_t of = reader.integer();
    if (of != class_response && of != class_blob) throw ProtocolError("the client sent no answer");
    const std::int32_t tag = reader.integer();
    for (const auto& [kind, member] : answer_tags) {
        if (member != tag) continue;
        Answer out{kind};
        if (kind == Answer::Kind::chunk) out.length = reader.integer();
        if (out.length < 0) throw ProtocolError("a chunk of negative length");
        return out;
    }
    throw ProtocolError("the client sent an unknown answer, " + std::to_string(tag));
}

}  // namespace basalt::cli
