#include "host-agent/services/terminal.hpp"

#include <gtest/gtest.h>

#include <unistd.h>

#include <array>

#include "base/real_net.hpp"
#include "base/wait.hpp"

namespace basalt::agent {
namespace {

Task<void> read_all(Stream& stream, std::string& out) {
    std::array<char, 256> buffer{};
    while (const std::size_t got = co_await stream.read_some(buffer))
        out.append(buffer.data(), got);
}

Task<void> talk(RealLoop& loop, std::string& said) {
    const auto stream = adopt_stream(
        loop,
        open_terminal(loop, {"/bin/sh", "-c",
                             "tty >/dev/null && echo a terminal of $(stty size); "
                             "(exec </dev/tty) && echo controls; read line; echo got $line"}));
    co_await stream->write("words\n");
    co_await within(loop, 20s, read_all(*stream, said), ApiError("TOO_LATE", {}));
}

Task<void> hang_up(RealLoop& loop, std::string path) {
    {
        const auto stream = adopt_stream(
            loop,
            open_terminal(loop, {"/bin/sh", "-c",
                                 "trap 'echo gone > " + path +
                                     "; exit' HUP; echo ready; while :; do sleep 0.1; done"}));
        std::array<char, 64> buffer{};
        co_await stream->read_some(buffer);
    }
    for (int i = 0; i < 100 && ::access(path.c_str(), F_OK) != 0; ++i)
        co_await sleep_for(loop, 100ms);
}

void run(RealLoop& loop, Task<void> body) {
    const auto job = spawn(loop, "test", std::move(body));
    const auto end = [](RealLoop& on, std::shared_ptr<Job> waited) -> Task<void> {
        co_await waited->wait();
        on.stop();
    };
    spawn(loop, "end", end(loop, job));
    loop.run();
    EXPECT_FALSE(job->failure());
}

TEST(Terminal, a_program_has_it_as_its_own) {
    RealLoop loop;
    std::string said;
    run(loop, talk(loop, said));
    EXPECT_NE(said.find("a terminal of 24 80"), std::string::npos) << said;
    EXPECT_NE(said.find("controls"), std::string::npos) << said;
    EXPECT_NE(said.find("got words"), std::string::npos) << said;
}

TEST(Terminal, closing_it_hangs_the_session_up) {
    RealLoop loop;
    const std::string path = "/tmp/terminal-test-" + loop.new_uuid().text();
    run(loop, hang_up(loop, path));
    EXPECT_EQ(::access(path.c_str(), F_OK), 0);
    ::unlink(path.c_str());
}

}  // namespace
}  // namespace basalt::agent
