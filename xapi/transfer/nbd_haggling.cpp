#include "xapi/transfer/nbd_haggling.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <cstdint>
#include <optional>

#include "base/error.hpp"
#include "base/nbd_protocol.hpp"
#include "xapi/rpc/deadline.hpp"

namespace basalt::transfer {

namespace {

using namespace nbd;  // NOLINT(google-build-using-namespace): the numbers of its protocol

/// As the disk's own server calls it.
constexpr std::string_view disk_name = "disk";
/// More is no haggling: a client needs half a dozen.
constexpr int options_max = 64;
constexpr std::size_t reserved_bytes = 124;

[[noreturn]] void break_off() {
    throw boost::system::system_error(asio::error::connection_reset);
}

Task<std::string> take(Stream& stream, std::size_t size) {
    std::string out(size, '\0');
    std::span<char> rest = out;
    while (!rest.empty()) {
        const std::size_t got = co_await stream.read_some(rest);
        if (got == 0) break_off();
        rest = rest.subspan(got);
    }
    co_return out;
}

struct Option {
    std::uint32_t kind = 0;
    std::string data;
};

Task<Option> take_option(Stream& client) {
    const std::string head = co_await take(client, 16);
    const auto length = get<std::uint32_t>(head, 12);
    if (get<std::uint64_t>(head, 0) != option_magic || length > option_bytes_max) break_off();
    Option option;
    option.kind = get<std::uint32_t>(head, 8);
    option.data = co_await take(client, length);
    co_return option;
}

Task<void> send_option(Stream& server, Option option) {
    std::string out;
    put(out, option_magic);
    put(out, option.kind);
    put(out, static_cast<std::uint32_t>(option.data.size()));
    out += option.data;
    co_await server.write(out);
}

struct Answer {
    std::uint32_t type = 0;
    std::string data;

    [[nodiscard]] bool refuses() const { return (type & reply_is_error) != 0; }
};

Task<Answer> take_answer(Stream& server) {
    const std::string head = co_await take(server, 20);
    const auto length = get<std::uint32_t>(head, 16);
    if (get<std::uint64_t>(head, 0) != option_reply_magic || length > option_bytes_max) break_off();
    Answer answer;
    answer.type = get<std::uint32_t>(head, 12);
    answer.data = co_await take(server, length);
    co_return answer;
}

Task<void> send_answer(Stream& client, std::uint32_t option, Answer answer) {
    std::string out;
    put(out, option_reply_magic);
    put(out, option);
    put(out, answer.type);
    put(out, static_cast<std::uint32_t>(answer.data.size()));
    out += answer.data;
    co_await client.write(out);
}

/// What names an export in the options that do: a name behind its length, and what follows it.
struct Named {
    std::string name;
    std::string rest;
};

std::optional<Named> parse_named(const std::string& data) {
    if (data.size() < 4) return std::nullopt;
    const auto length = get<std::uint32_t>(data, 0);
    if (length > data.size() - 4) return std::nullopt;
    return Named{data.substr(4, length), data.substr(4 + std::size_t{length})};
}

std::string disk_named(const std::string& rest) {
    std::string data;
    put(data, static_cast<std::uint32_t>(disk_name.size()));
    data += disk_name;
    return data + rest;
}

class Haggling {
  public:
    Haggling(Loop& loop, Limits& limits, std::unique_ptr<Stream> client, const NbdTerms& terms)
        : loop_(loop), limits_(limits), client_(std::move(client)), terms_(terms) {}

    Task<NbdPeers> run();

  private:
    enum class Next : std::uint8_t { option, data, end };

    Task<bool> in_the_clear();
    Task<bool> choose();
    Task<void> greet();
    Task<Next> serve(Option option);
    Task<Next> pass_on(Option option);
    Task<Next> export_the_old_way(std::string name);
    Task<std::optional<Answer>> open(std::string name);
    Task<void> greet_disk();
    void drop_disk();

    Task<void> answer(std::uint32_t option, std::uint32_t type, std::string text = {}) {
        return send_answer(*client_, option, {type, std::move(text)});
    }

    Loop& loop_;
    Limits& limits_;
    std::unique_ptr<Stream> client_;
    const NbdTerms& terms_;
    std::unique_ptr<Stream> disk_;
    std::string opened_;  // what the client calls it
    bool no_zeroes_ = false;
    bool structured_ = false;
};

Task<NbdPeers> Haggling::run() {
    if (!co_await in_the_clear()) co_return NbdPeers{std::move(client_), nullptr};
    if (terms_.start_tls) {
        client_ = co_await terms_.start_tls(std::move(client_));
        if (!client_) co_return NbdPeers{};
    }
    if (!co_await choose()) drop_disk();
    co_return NbdPeers{std::move(client_), std::move(disk_)};
}

Task<void> Haggling::greet() {
    std::string hello;
    put(hello, greeting_magic);
    put(hello, option_magic);
    put<std::uint16_t>(hello, flag_fixed_newstyle | flag_no_zeroes);
    co_await client_->write(hello);
    const std::string flags = co_await take(*client_, 4);
    no_zeroes_ = (get<std::uint32_t>(flags, 0) & flag_no_zeroes) != 0;
}

/// Whether the client goes on: to TLS if there is to be any.
Task<bool> Haggling::in_the_clear() {
    server::Deadline deadline(loop_, *client_, limits_);
    deadline.set(Limit::head_time);
    co_await greet();
    if (!terms_.start_tls) co_return true;
    for (int i = 0; i < options_max; ++i) {
        const Option option = co_await take_option(*client_);
        if (option.kind == option_export_name) co_return false;  // it knows no refusal
        if (option.kind == option_start_tls && option.data.empty()) {
            co_await answer(option.kind, reply_ack);
            co_return true;
        }
        if (option.kind == option_abort) {
            co_await answer(option.kind, reply_ack);
            co_return false;
        }
        const bool wrong = option.kind == option_start_tls;
        co_await answer(option.kind, wrong ? reply_invalid : reply_tls_required);
    }
    co_return false;
}

/// Whether the client has got a disk.
Task<bool> Haggling::choose() {
    server::Deadline deadline(loop_, *client_, limits_);
    deadline.set(Limit::head_time);
    for (int i = 0; i < options_max; ++i) {
        Option option = co_await take_option(*client_);
        const Next next = co_await serve(std::move(option));
        if (next != Next::option) co_return next == Next::data;
    }
    co_return false;
}

Task<Haggling::Next> Haggling::serve(Option option) {
    switch (option.kind) {
        case option_export_name:
            co_return co_await export_the_old_way(std::move(option.data));
        case option_abort:
            co_await answer(option.kind, reply_ack);
            co_return Next::end;
        case option_structured_reply:
            if (!option.data.empty()) {
                co_await answer(option.kind, reply_invalid);
                co_return Next::option;
            }
            // The disk's server is told when it greets.
            drop_disk();
            structured_ = true;
            co_await answer(option.kind, reply_ack);
            co_return Next::option;
        case option_info:
        case option_go:
        case option_list_meta_context:
        case option_set_meta_context:
            co_return co_await pass_on(std::move(option));
        case option_list:
            co_await answer(option.kind, reply_policy, "disks are not listed");
            co_return Next::option;
        case option_start_tls:
            co_await answer(option.kind, terms_.start_tls ? reply_invalid : reply_policy);
            co_return Next::option;
        default:
            co_await answer(option.kind, reply_unsupported);
            co_return Next::option;
    }
}

/// The disk's server answers, for an export that it calls otherwise.
Task<Haggling::Next> Haggling::pass_on(Option option) {
    const std::uint32_t kind = option.kind;
    const std::optional<Named> named = parse_named(option.data);
    if (!named) {
        co_await answer(kind, reply_invalid);
        co_return Next::option;
    }
    if (std::optional<Answer> refusal = co_await open(named->name)) {
        co_await send_answer(*client_, kind, *std::move(refusal));
        co_return Next::option;
    }
    option.data = disk_named(named->rest);
    co_await send_option(*disk_, std::move(option));
    for (;;) {
        Answer answer = co_await take_answer(*disk_);
        const bool its_name = answer.type == reply_info && answer.data.size() >= 2 &&
                              get<std::uint16_t>(answer.data, 0) == info_name;
        if (its_name) continue;
        const bool refused = answer.refuses();
        const bool last = refused || answer.type == reply_ack;
        co_await send_answer(*client_, kind, std::move(answer));
        if (last) co_return !refused && kind == option_go ? Next::data : Next::option;
    }
}

/// A client that knows no refusal: it is told size and flags, or nothing.
Task<Haggling::Next> Haggling::export_the_old_way(std::string name) {
    const std::optional<Answer> refusal = co_await open(std::move(name));
    if (refusal) co_return Next::end;
    Option go;
    go.kind = option_go;
    go.data = disk_named(std::string(2, '\0'));
    co_await send_option(*disk_, std::move(go));
    std::string facts;
    for (;;) {
        const Answer answer = co_await take_answer(*disk_);
        if (answer.refuses()) co_return Next::end;
        if (answer.type == reply_ack) break;
        const bool exports = answer.type == reply_info && answer.data.size() == 12 &&
                             get<std::uint16_t>(answer.data, 0) == info_export;
        if (exports) facts = answer.data.substr(2);
    }
    if (facts.empty()) co_return Next::end;
    if (!no_zeroes_) facts.append(reserved_bytes, '\0');
    co_await client_->write(facts);
    co_return Next::data;
}

/// Absent: it is open.
Task<std::optional<Answer>> Haggling::open(std::string name) {
    if (disk_ && opened_ == name) co_return std::nullopt;
    drop_disk();
    std::optional<Answer> refusal;
    try {
        disk_ = co_await terms_.open(name);
    } catch (const ApiError& error) {
        refusal = Answer{reply_unknown, error.what()};
    }
    if (refusal) co_return refusal;
    opened_ = std::move(name);
    co_await greet_disk();
    co_return std::nullopt;
}

Task<void> Haggling::greet_disk() {
    const std::string hello = co_await take(*disk_, 18);
    if (get<std::uint64_t>(hello, 0) != greeting_magic ||
        get<std::uint64_t>(hello, 8) != option_magic)
        break_off();
    std::string flags;
    put<std::uint32_t>(flags,
                       get<std::uint16_t>(hello, 16) & (flag_fixed_newstyle | flag_no_zeroes));
    co_await disk_->write(flags);
    if (!structured_) co_return;
    Option option;
    option.kind = option_structured_reply;
    co_await send_option(*disk_, std::move(option));
    const Answer answer = co_await take_answer(*disk_);
    // It was promised to the client.
    if (answer.type != reply_ack) break_off();
}

void Haggling::drop_disk() {
    if (disk_) disk_->close();
    disk_.reset();
    opened_.clear();
}

}  // namespace

Task<NbdPeers> haggle_nbd(Loop& loop, Limits& limits, std::unique_ptr<Stream> client,
                          const NbdTerms& terms) {
    Haggling haggling(loop, limits, std::move(client), terms);
    co_return co_await haggling.run();
}

}  // namespace basalt::transfer
