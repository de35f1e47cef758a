#include "hypervisor/xen/outlet.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string>

namespace basalt::hv::xen {
namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

// How much of it could be written.
std::size_t written(int end, std::size_t bytes) {
    const std::string piece(4096, 'x');
    std::size_t out = 0;
    while (out < bytes) {
        const ssize_t sent = ::write(end, piece.data(), piece.size());
        if (sent <= 0) break;
        out += static_cast<std::size_t>(sent);
    }
    return out;
}

TEST(XenOutlet, all_that_is_written_comes_through) {
    const std::string path = testing::TempDir() + "outlet-" + std::to_string(::getpid());
    const UniqueFd sink(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    Outlet outlet(sink.get());
    EXPECT_EQ(written(outlet.end(), 3 * mib), 3 * mib);
    EXPECT_EQ(outlet.finish(), 0);
    EXPECT_EQ(::lseek(sink.get(), 0, SEEK_END), static_cast<off_t>(3 * mib));
    ::unlink(path.c_str());
}

TEST(XenOutlet, a_sink_that_takes_nothing_is_told_at_the_end_of_a_short_stream) {
    const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    Outlet outlet(full.get());
    EXPECT_EQ(written(outlet.end(), mib / 2), mib / 2);
    EXPECT_EQ(outlet.finish(), ENOSPC);
}

TEST(XenOutlet, a_long_stream_ends_when_its_sink_has_failed) {
    std::signal(SIGPIPE, SIG_IGN);
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const UniqueFd sink(ends[1]);
    ::close(ends[0]);
    Outlet outlet(sink.get());
    const std::size_t out = written(outlet.end(), 64 * mib);
    EXPECT_GE(out, mib);
    EXPECT_LT(out, 4 * mib);
    EXPECT_EQ(outlet.finish(), EPIPE);
}

}  // namespace
}  // namespace basalt::hv::xen
