#include "xapi/cli/terminal.hpp"

namespace basalt::cli {

using Kind = Instruction::Kind;

Task<void> Terminal::greet() {
    const std::string mine = handshake();
    co_await stream_.write(mine);
    const std::string theirs = co_await read_exactly(handshake_bytes);
    check_handshake(theirs);
}

Task<void> Terminal::print(std::string text) {
    co_await send({.kind = Kind::print, .text = std::move(text)});
}

Task<void> Terminal::print_error(std::string text) {
    text += '\n';
    co_await send({.kind = Kind::print_stderr, .text = std::move(text)});
}

Task<void> Terminal::print_raw_error(std::string text) {
    co_await send({.kind = Kind::print_stderr, .text = std::move(text)});
}

Task<void> Terminal::debug(std::string text) {
    co_await send({.kind = Kind::debug, .text = std::move(text)});
}

Task<void> Terminal::error(std::string code, std::vector<std::string> params) {
    co_await send({.kind = Kind::error, .text = std::move(code), .params = std::move(params)});
}

Task<void> Terminal::exit(std::int32_t status) {
    co_await send({.kind = Kind::exit, .status = status});
}

Task<std::optional<std::string>> Terminal::load(std::string path) {
    co_await send({.kind = Kind::load, .text = std::move(path)});
    if (!co_await worked()) co_return std::nullopt;
    co_return co_await read_blob();
}

Task<std::string> Terminal::prompt() {
    co_await send({.kind = Kind::prompt});
    co_return co_await read_blob();
}

Task<bool> Terminal::transfer(Instruction instruction) {
    co_await send(std::move(instruction));
    co_return co_await worked();
}

Task<void> Terminal::send(Instruction instruction) {
    const std::string bytes = frame(instruction);
    co_await stream_.write(bytes);
}

Task<Answer> Terminal::receive() {
    const std::string length = co_await read_exactly(4);
    const std::string content = co_await read_exactly(frame_length(length));
    co_return parse_answer(content);
}

Task<bool> Terminal::worked() {
    for (;;) {
        const Answer answer = co_await receive();
        if (answer.kind == Answer::Kind::ok) co_return true;
        if (answer.kind == Answer::Kind::failed) co_return false;
        if (answer.kind != Answer::Kind::wait) throw ProtocolError("the client sent data unasked");
    }
}

Task<std::string> Terminal::read_blob() {
    std::string out;
    for (;;) {
        const Answer answer = co_await receive();
        if (answer.kind == Answer::Kind::wait) continue;
        if (answer.kind == Answer::Kind::end) co_return out;
        if (answer.kind != Answer::Kind::chunk) throw ProtocolError("the client sent no data");
        const auto length = static_cast<std::size_t>(answer.length);
        if (out.size() + length > load_bytes_max) throw ProtocolError("the client sent too much");
        out += co_await read_exactly(length);
    }
}

Task<std::string> Terminal::read_exactly(std::size_t count) {
    std::string out(count, '\0');
    std::size_t done = 0;
    while (done < count) {
        const std::size_t more = co_await stream_.read_some(std::span(out).subspan(done));
        if (more == 0) throw ProtocolError("the client went away");
        done += more;
    }
    co_return out;
}

}  // namespace basalt::cli
