#include "xapi/cli/client/session.hpp"

#include <strings.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

namespace basalt::cli::client {

namespace {

constexpr const char* host_socket = "/var/lib/xcp/xapi";

void show(std::FILE* where, const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), where);
    std::fflush(where);
}

}  // namespace

std::vector<Address> addresses_of(const Options& options) {
    const bool here = options.server.empty() || options.server == "127.0.0.1";
    std::vector<Address> out;
    if (here && options.port.empty()) {
        const char* other = std::getenv("XE_SOCKET");
        out.push_back({.unix_path = other == nullptr ? host_socket : other});
    }
    // Over the loopback nobody listens in, unless the user names a port that may want TLS.
    const bool tls = options.tls && options.port != "80" && !(here && options.port.empty());
    out.push_back({.host = options.server.empty() ? "127.0.0.1" : options.server,
                   .port = !options.port.empty() ? options.port
                           : tls                 ? "443"
                                                 : "80",
                   .tls = tls});
    return out;
}

Session::Session(const Options& options, Address address, std::unique_ptr<Channel> channel)
    : options_(options),
      files_(options.words),
      channel_(std::move(channel)),
      transfers_(std::move(address), files_, [this] { send({Answer::Kind::wait}); }) {}

int Session::run() {
    const std::string body = request_body(options_);
    std::string head = "POST /cli HTTP/1.0\r\nUser-agent: xe-cli/Unix/0.2\r\noriginator: cli\r\n";
    if (!options_.traceparent.empty()) head += "traceparent: " + options_.traceparent + "\r\n";
    channel_->write(head + "content-length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    shake_hands();
    for (;;) {
        const Instruction instruction = next();
        if (instruction.kind == Instruction::Kind::exit) return instruction.status;
        obey(instruction);
    }
}

void Session::shake_hands() {
    const auto greeting = channel_->read_exactly(handshake_bytes);
    if (!greeting) throw std::runtime_error("The server ended the connection");
    if (::strncasecmp(greeting->data(), "HTTP", 4) == 0)
        throw std::runtime_error("Server internal error");
    check_handshake(*greeting);
    channel_->write(handshake());
}

Instruction Session::next() {
    const auto length = channel_->read_exactly(4);
    if (!length) throw std::runtime_error("Lost the connection to the server");
    const auto content = channel_->read_exactly(frame_length(*length));
    if (!content) throw std::runtime_error("Lost the connection to the server");
    return parse_instruction(*content);
}

void Session::obey(const Instruction& instruction) {
    using Kind = Instruction::Kind;
    switch (instruction.kind) {
        case Kind::print:
            return show(stdout, instruction.text + '\n');
        case Kind::print_stderr:
            return show(stderr, instruction.text);
        case Kind::debug:
            if (options_.debug) show(stderr, instruction.text + '\n');
            return;
        case Kind::error: {
            std::string params;
            for (const std::string& param : instruction.params)
                params += (params.empty() ? "" : ", ") + param;
            return show(stderr,
                        "Error code: " + instruction.text + "\nError parameters: " + params + '\n');
        }
        case Kind::load:
            return upload(instruction.text);
        case Kind::prompt:
            return prompt();
        case Kind::http_get:
            return answer(transfers_.get(instruction.text, instruction.url));
        case Kind::http_put:
            return answer(transfers_.put(instruction.text, instruction.url));
        case Kind::http_connect:
            return answer(transfers_.connect(instruction.url));
        case Kind::exit:
            return;
    }
}

void Session::answer(bool worked) {
    send({worked ? Answer::Kind::ok : Answer::Kind::failed});
}

void Session::send(const Answer& what) {
    channel_->write(frame(what));
}

void Session::upload(const std::string& path) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        files_.may_read(path) ? std::fopen(path.c_str(), "rb") : nullptr,
        [](std::FILE* f) { return f == nullptr ? 0 : std::fclose(f); });
    std::string content;
    std::array<char, 65536> buffer;
    while (file != nullptr) {
        const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get());
        if (count == 0) break;
        content.append(buffer.data(), count);
    }
    answer(file != nullptr);
    if (file == nullptr) return;
    send({Answer::Kind::chunk, static_cast<std::int32_t>(content.size())});
    channel_->write(content);
    send({Answer::Kind::end});
}

void Session::prompt() {
    std::string line;
    for (int c = std::getchar(); c != EOF && c != '\n'; c = std::getchar())
        line += static_cast<char>(c);
    send({Answer::Kind::chunk, static_cast<std::int32_t>(line.size())});
    channel_->write(line);
    send({Answer::Kind::end});
}

}  // namespace basalt::cli::client
