// The real loop against the kernel: sockets, descriptors, processes.
#include <gtest/gtest.h>

#include <boost/system/system_error.hpp>
#include <filesystem>

#include "base/real_net.hpp"
#include "base/rpc.hpp"
#include "base/subprocess.hpp"

namespace basalt {
namespace {

template <class Body>
void run(RealLoop& loop, Body body) {
    const auto job = spawn(loop, "test", [](RealLoop& l, Body b) -> Task<void> {
        std::exception_ptr failure;
        try {
            co_await b(l);
        } catch (...) {
            failure = std::current_exception();
        }
        l.stop();
        if (failure) std::rethrow_exception(failure);
    }(loop, std::move(body)));
    loop.run();
    if (job->failure()) std::rethrow_exception(job->failure());
}

TEST(Real, a_command_gives_status_and_outputs) {
    RealLoop loop(1);
    run(loop, [](RealLoop& l) -> Task<void> {
        const Output output = co_await run_command(
            l, {.argv = {"sh", "-c", "cat; echo bad >&2; exit 3"}}, 10s, "hello");
        EXPECT_EQ(output.status, 3);
        EXPECT_EQ(output.out, "hello");
        EXPECT_EQ(output.err, "bad\n");
    });
}

TEST(Real, a_program_need_not_read_its_input) {
    RealLoop loop(1);
    run(loop, [](RealLoop& l) -> Task<void> {
        const std::string more_than_a_pipe_takes(std::size_t{1} << 20, 'x');
        const Output output =
            co_await run_command(l, {.argv = {"true"}}, 10s, more_than_a_pipe_takes);
        EXPECT_EQ(output.status, 0);
    });
}

TEST(Real, a_command_that_takes_too_long_is_killed) {
    RealLoop loop(1);
    run(loop, [](RealLoop& l) -> Task<void> {
        std::string code;
        try {
            co_await run_command(l, {.argv = {"sleep", "100"}}, 50ms);
        } catch (const ApiError& error) {
            code = error.code();
        }
        EXPECT_EQ(code, "INTERNAL_ERROR");
    });
}

TEST(Real, a_missing_program_says_so) {
    RealLoop loop(1);
    EXPECT_THROW(start_process(loop, {.argv = {"/no/such/program"}}), boost::system::system_error);
}

TEST(Real, descriptors_pass_through_a_channel) {
    RealLoop loop(1);
    run(loop, [](RealLoop& l) -> Task<void> {
        auto [near, far] = socket_pair();
        const auto sender = rpc::socket_channel(l, adopt_stream(l, std::move(near)));
        const auto receiver = rpc::socket_channel(l, adopt_stream(l, std::move(far)));
        auto [inner_near, inner_far] = socket_pair();
        rpc::Frame frame{{{"event", "x"}}, {}};
        frame.fds.push_back(std::move(inner_far));
        co_await sender->send(std::move(frame));
        rpc::Frame got = co_await receiver->receive();
        EXPECT_EQ(got.fds.size(), 1U);
        auto one = adopt_stream(l, std::move(inner_near));
        auto two = adopt_stream(l, std::move(got.fds.front()));
        co_await one->write("through");
        char buffer[16];
        const std::size_t count = co_await two->read_some(buffer);
        EXPECT_EQ(std::string(buffer, count), "through");
    });
}

TEST(Real, a_stream_that_has_ended_stays_so) {
    RealLoop loop(1);
    run(loop, [](RealLoop& l) -> Task<void> {
        auto [near, far] = socket_pair();
        const auto in = adopt_stream(l, std::move(near));
        const auto out = adopt_stream(l, std::move(far));
        co_await out->write("last words");
        out->close();
        char buffer[64];
        EXPECT_EQ(co_await in->read_some(buffer), 10U);
        std::vector<std::size_t> after;
        co_await within(
            l, 5s,
            [](Stream& stream, std::span<char> into, std::vector<std::size_t>& got) -> Task<void> {
                for (int i = 0; i < 3; ++i)
                    got.push_back(co_await stream.read_some(into));
            }(*in, buffer, after),
            ApiError("LATE", {}));
        EXPECT_EQ(after, (std::vector<std::size_t>{0, 0, 0}));
    });
}

TEST(Real, unix_sockets_connect_and_refuse) {
    RealLoop loop(1);
    const std::string path = testing::TempDir() + "basalt-real-test.sock";
    run(loop, [path](RealLoop& l) -> Task<void> {
        const auto listener = listen_unix(l, path, 0600);
        const auto client = co_await connect_unix(l, path);
        const auto server = co_await listener->accept();
        EXPECT_EQ(peer_uid(server->fd()), static_cast<std::int64_t>(getuid()));
        client->shutdown_write();
        char buffer[4];
        EXPECT_EQ(co_await server->read_some(buffer), 0U);
        std::filesystem::remove(path);
        bool refused = false;
        try {
            co_await connect_unix(l, path);
        } catch (const boost::system::system_error&) {
            refused = true;
        }
        EXPECT_TRUE(refused);
    });
}

TEST(Real, blocking_work_leaves_the_loop_and_comes_back) {
    RealLoop loop(2);
    run(loop, [](RealLoop& l) -> Task<void> {
        EXPECT_EQ(co_await blocking(l, [] { return 42; }), 42);
        const Time before = l.now();
        co_await sleep_for(l, 20ms);
        EXPECT_GE(l.now() - before, 19ms);
    });
}

}  // namespace
}  // namespace basalt
