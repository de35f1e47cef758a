#include "hypervisor/xen/beginning.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>
#include <thread>

#include "base/error.hpp"
#include "base/fd.hpp"

namespace basalt::hv::xen {
namespace {

const std::string good = std::string("LibxlFmt\0\0\0\2\0\0\0\0\1\0\0\0\0\0\0\0", 24);

std::string first_of(int fd) {
    std::array<char, 64> bytes{};
    const ssize_t got = ::read(fd, bytes.data(), bytes.size());
    return {bytes.data(), static_cast<std::size_t>(got)};
}

bool is_accepted(int fd) {
    try {
        require_saved_guest(fd);
        return true;
    } catch (const ApiError& error) {
        EXPECT_EQ(error.code(), "INTERNAL_ERROR");
        return false;
    }
}

std::array<UniqueFd, 2> pair_of(bool sockets) {
    std::array<int, 2> ends{};
    EXPECT_EQ(sockets ? ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) : ::pipe(ends.data()),
              0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

TEST(XenBeginning, what_is_looked_at_stays_there_whatever_it_comes_through) {
    for (const bool sockets : {false, true}) {
        auto [from, to] = pair_of(sockets);
        const std::string sent = good + "more";
        ASSERT_EQ(::write(to.get(), sent.data(), sent.size()), static_cast<ssize_t>(sent.size()));
        EXPECT_TRUE(is_accepted(from.get())) << sockets;
        EXPECT_EQ(first_of(from.get()), sent);
    }
}

TEST(XenBeginning, it_may_come_piece_by_piece) {
    for (const bool sockets : {false, true}) {
        auto [from, to] = pair_of(sockets);
        ASSERT_EQ(::write(to.get(), good.data(), 5), 5);
        std::jthread sender([&to] {
            ::poll(nullptr, 0, 50);
            EXPECT_EQ(::write(to.get(), good.data() + 5, good.size() - 5),
                      static_cast<ssize_t>(good.size() - 5));
        });
        EXPECT_TRUE(is_accepted(from.get())) << sockets;
    }
}

TEST(XenBeginning, what_ends_too_early_or_is_something_else_is_refused) {
    for (const bool sockets : {false, true}) {
        auto [from, to] = pair_of(sockets);
        ASSERT_EQ(::write(to.get(), good.data(), 23), 23);
        to.reset();
        EXPECT_FALSE(is_accepted(from.get())) << sockets;
    }
    for (const std::size_t wrong : {0U, 11U, 16U}) {
        auto [from, to] = pair_of(true);
        std::string bad = good;
        bad[wrong] = '\x7f';
        ASSERT_EQ(::write(to.get(), bad.data(), bad.size()), static_cast<ssize_t>(bad.size()));
        EXPECT_FALSE(is_accepted(from.get())) << wrong;
    }
    const UniqueFd zeros(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
    EXPECT_FALSE(is_accepted(zeros.get()));
}

TEST(XenBeginning, of_a_file_counts_what_comes_from_its_place_on) {
    std::FILE* const file = std::tmpfile();
    const int fd = ::fileno(file);
    const std::string before = "before";
    ASSERT_EQ(::write(fd, before.data(), before.size()), 6);
    ASSERT_EQ(::write(fd, good.data(), good.size()), 24);
    ASSERT_EQ(::lseek(fd, 6, SEEK_SET), 6);
    EXPECT_TRUE(is_accepted(fd));
    EXPECT_EQ(::lseek(fd, 0, SEEK_CUR), 6);
    ASSERT_EQ(::lseek(fd, 7, SEEK_SET), 7);
    EXPECT_FALSE(is_accepted(fd));
    std::fclose(file);
}

}  // namespace
}  // namespace basalt::hv::xen
