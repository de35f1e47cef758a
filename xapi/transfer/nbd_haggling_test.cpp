#include "xapi/transfer/nbd_haggling.hpp"

#include <gtest/gtest.h>

#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <optional>

#include "base/error.hpp"
#include "base/nbd_protocol.hpp"
#include "base/sim_loop.hpp"
#include "base/wait.hpp"

namespace basalt::transfer {
namespace {

using namespace nbd;  // NOLINT(google-build-using-namespace)

constexpr std::uint64_t disk_size = 4096;
constexpr std::uint16_t disk_flags = 3;  // has flags, is read-only

template <class T>
std::string number(T value) {
    std::string out;
    put(out, value);
    return out;
}

std::string option(std::uint32_t kind, const std::string& data = {}) {
    return number(option_magic) + number(kind) + number(static_cast<std::uint32_t>(data.size())) +
           data;
}

std::string answer(std::uint32_t kind, std::uint32_t type, const std::string& data = {}) {
    return number(option_reply_magic) + number(kind) + number(type) +
           number(static_cast<std::uint32_t>(data.size())) + data;
}

std::string named(const std::string& name) {
    return number(static_cast<std::uint32_t>(name.size())) + name + number<std::uint16_t>(0);
}

const std::string hello = number(greeting_magic) + number(option_magic) + number<std::uint16_t>(3);
const std::string client_flags = number<std::uint32_t>(3);
const std::string facts = number(disk_size) + number(disk_flags);
const std::string info = number(info_export) + facts;

Task<std::string> take(Stream& stream, std::size_t size) {
    std::string out(size, '\0');
    std::span<char> rest = out;
    while (!rest.empty()) {
        const std::size_t got = co_await stream.read_some(rest);
        if (got == 0) throw boost::system::system_error(asio::error::eof);
        rest = rest.subspan(got);
    }
    co_return out;
}

/// A disk's server until it is left: it knows the export "disk", tells its name too, and notes what
/// it was asked.
Task<void> serve_disk(std::unique_ptr<Stream> stream, std::string& asked) {
    co_await stream->write(hello);
    (void)co_await take(*stream, 4);
    for (;;) {
        const std::string head = co_await take(*stream, 16);
        const auto kind = get<std::uint32_t>(head, 8);
        const std::string data = co_await take(*stream, get<std::uint32_t>(head, 12));
        asked += std::to_string(kind) + ":" + (data.size() > 8 ? data.substr(4, 4) : "") + " ";
        std::string out;
        if (kind == option_go || kind == option_info) {
            out += answer(kind, reply_info, number(info_name) + "disk");
            out += answer(kind, reply_info, info);
        }
        out += answer(kind, reply_ack);
        co_await stream->write(out);
        if (kind != option_go) continue;
        // From here on it says what it hears.
        co_await stream->write("data");
        co_return;
    }
}

Task<void> until_left(Task<void> body) {
    try {
        co_await std::move(body);
    } catch (const boost::system::system_error&) {
        // How it is told that nobody wants the disk.
    }
}

struct House {
    House() {
        terms.open = [this](std::string name) { return open(std::move(name)); };
    }

    Task<std::unique_ptr<Stream>> open(std::string name) {
        opened += name + " ";
        if (name == "/secret") throw ApiError("SESSION_INVALID", {"x"});
        auto [near, far] = memory_streams(loop);
        spawn(loop, "disk", until_left(serve_disk(std::move(far), asked)));
        co_return std::move(near);
    }

    void allow_tls() {
        terms.start_tls = [this](std::unique_ptr<Stream> stream) -> Task<std::unique_ptr<Stream>> {
            ++tls_began;
            co_return std::move(stream);
        };
    }

    Task<void> run(std::unique_ptr<Stream> client) {
        try {
            NbdPeers peers = co_await haggle_nbd(loop, limits, std::move(client), terms);
            got_disk = peers.disk != nullptr;
            if (!peers.disk) {
                if (peers.client) peers.client->close();
                co_return;
            }
            const std::string data = co_await take(*peers.disk, 4);
            co_await peers.client->write(data);
            peers.client->close();
        } catch (const boost::system::system_error&) {
            broken = true;
        }
    }

    static Task<void> read(Stream& stream, std::string& out) {
        std::array<char, 4096> buffer{};
        try {
            while (const std::size_t got = co_await stream.read_some(buffer))
                out.append(buffer.data(), got);
        } catch (const boost::system::system_error&) {
            out += "<reset>";
        }
    }

    static Task<void> write(Stream& stream, std::string bytes) { co_await stream.write(bytes); }

    /// A client that says `bytes`; what it hears until it is let go, without the greeting.
    std::string talk(const std::string& bytes) {
        auto [near, far] = memory_streams(loop);
        std::string heard;
        const auto server = spawn(loop, "server", run(std::move(far)));
        const auto reader = spawn(loop, "reader", read(*near, heard));
        spawn(loop, "writer", write(*near, bytes));
        loop.run_until([&] { return server->finished() && reader->finished(); }, 1h);
        EXPECT_TRUE(server->finished());
        EXPECT_TRUE(heard.starts_with(hello));
        return heard.size() < hello.size() ? heard : heard.substr(hello.size());
    }

    SimLoop loop{3};
    Limits limits;
    NbdTerms terms;
    std::string opened;
    std::string asked;
    int tls_began = 0;
    bool got_disk = false;
    bool broken = false;
};

TEST(NbdHaggling, a_client_gets_the_disk_that_it_names) {
    House house;
    EXPECT_EQ(house.talk(client_flags + option(option_go, named("/a?session_id=b"))),
              answer(option_go, reply_info, info) + answer(option_go, reply_ack) + "data");
    EXPECT_EQ(house.opened, "/a?session_id=b ");
    EXPECT_EQ(house.asked, "7:disk ");
    EXPECT_TRUE(house.got_disk);
}

TEST(NbdHaggling, nothing_is_named_before_tls) {
    House house;
    house.allow_tls();
    EXPECT_EQ(house.talk(client_flags + option(option_go, named("/a")) + option(option_list) +
                         option(option_start_tls, "x") + option(option_start_tls) +
                         option(option_start_tls) + option(option_go, named("/a"))),
              answer(option_go, reply_tls_required) + answer(option_list, reply_tls_required) +
                  answer(option_start_tls, reply_invalid) + answer(option_start_tls, reply_ack) +
                  answer(option_start_tls, reply_invalid) + answer(option_go, reply_info, info) +
                  answer(option_go, reply_ack) + "data");
    EXPECT_EQ(house.tls_began, 1);
    House old;
    old.allow_tls();
    EXPECT_EQ(old.talk(client_flags + option(option_export_name, "/a")), "");
    EXPECT_EQ(old.opened, "");
}

TEST(NbdHaggling, without_tls_none_is_begun) {
    House house;
    EXPECT_EQ(house.talk(client_flags + option(option_start_tls) + option(option_abort)),
              answer(option_start_tls, reply_policy) + answer(option_abort, reply_ack));
    EXPECT_FALSE(house.got_disk);
}

TEST(NbdHaggling, a_refusal_is_told_and_the_client_may_go_on) {
    House house;
    EXPECT_EQ(house.talk(client_flags + option(option_go, named("/secret")) +
                         option(option_go, "abc") + option(99) + option(option_go, named("/a"))),
              answer(option_go, reply_unknown, ApiError("SESSION_INVALID", {"x"}).what()) +
                  answer(option_go, reply_invalid) + answer(99, reply_unsupported) +
                  answer(option_go, reply_info, info) + answer(option_go, reply_ack) + "data");
    EXPECT_EQ(house.opened, "/secret /a ");
}

TEST(NbdHaggling, disks_are_not_listed) {
    House house;
    EXPECT_EQ(house.talk(client_flags + option(option_list) + option(option_abort)),
              answer(option_list, reply_policy, "disks are not listed") +
                  answer(option_abort, reply_ack));
}

TEST(NbdHaggling, a_client_of_the_old_way_hears_size_and_flags) {
    House house;
    EXPECT_EQ(house.talk(client_flags + option(option_export_name, "/a")), facts + "data");
    House older;
    EXPECT_EQ(older.talk(number<std::uint32_t>(1) + option(option_export_name, "/a")),
              facts + std::string(124, '\0') + "data");
    House refused;
    EXPECT_EQ(refused.talk(client_flags + option(option_export_name, "/secret")), "");
}

TEST(NbdHaggling, what_is_agreed_holds_for_the_disk_too) {
    House house;
    EXPECT_EQ(
        house.talk(client_flags + option(option_structured_reply) +
                   option(option_set_meta_context, named("/a")) + option(option_go, named("/a"))),
        answer(option_structured_reply, reply_ack) + answer(option_set_meta_context, reply_ack) +
            answer(option_go, reply_info, info) + answer(option_go, reply_ack) + "data");
    EXPECT_EQ(house.asked, "8: 10:disk 7:disk ");
    EXPECT_EQ(house.opened, "/a ");
    // Another name is another disk, of which nothing is agreed but the form of answers.
    House other;
    other.talk(client_flags + option(option_structured_reply) + option(option_info, named("/a")) +
               option(option_go, named("/b")));
    EXPECT_EQ(other.opened, "/a /b ");
    EXPECT_EQ(other.asked, "8: 6:disk 8: 7:disk ");
}

TEST(NbdHaggling, who_says_nothing_or_nonsense_is_cut_off) {
    House silent;
    const Time began = silent.loop.now();
    silent.talk(client_flags);
    EXPECT_EQ(silent.loop.now() - began, silent.limits.time(Limit::head_time));
    EXPECT_EQ(silent.limits.times_exceeded(Limit::head_time), 1U);
    EXPECT_TRUE(silent.broken);
    House nonsense;
    nonsense.talk(client_flags + std::string(16, 'x'));
    EXPECT_TRUE(nonsense.broken);
    House large;
    large.talk(client_flags + number(option_magic) + number(option_go) +
               number(std::uint32_t{1} << 30U));
    EXPECT_TRUE(large.broken);
    House endless;
    std::string options;
    for (int i = 0; i < 100; ++i)
        options += option(option_list);
    endless.talk(client_flags + options);
    EXPECT_FALSE(endless.got_disk);
}

}  // namespace
}  // namespace basalt::transfer
