#include "base/shown_file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <system_error>

namespace basalt {
namespace {

namespace fs = std::filesystem;

constexpr uid_t guest = 66000;
constexpr uid_t other = 66002;

// The errno of `open` by somebody else, 0 when it worked.
int opened_by(uid_t uid, const fs::path& path, int flags) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setgid(uid) != 0 || ::setuid(uid) != 0) ::_exit(255);
        ::_exit(::open(path.c_str(), flags) >= 0 ? 0 : errno);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
}

class Shown : public testing::TestWithParam<const char*> {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "only root can mount";
        std::string pattern = std::string(GetParam()) + "/shown.XXXXXX";
        folder_ = ::mkdtemp(pattern.data());
        fs::create_directories(folder_ / "cell");
        fs::create_directories(folder_ / "secret");
        fs::permissions(folder_, fs::perms::owner_all | fs::perms::others_exec);
        fs::permissions(folder_ / "cell", fs::perms::owner_all | fs::perms::others_exec);
        fs::permissions(folder_ / "secret", fs::perms::owner_all);
        std::ofstream(image()) << "content";
        fs::permissions(image(), fs::perms::owner_read | fs::perms::owner_write);
    }

    void TearDown() override {
        if (folder_.empty()) return;
        hide_files(folder_ / "cell");
        fs::remove_all(folder_);
    }

    [[nodiscard]] fs::path image() const { return folder_ / "secret/image"; }

    [[nodiscard]] fs::path at() const { return folder_ / "cell/disk"; }

    void show(bool read_only) {
        show_file({.path = image(), .at = at(), .uid = guest, .read_only = read_only}, maps_);
    }

    OwnerMaps maps_;

  private:
    fs::path folder_;
};

TEST_P(Shown, to_one_user_only_and_the_file_stays_as_it_was) {
    EXPECT_EQ(opened_by(guest, image(), O_RDONLY), EACCES);
    show(false);
    EXPECT_EQ(opened_by(guest, at(), O_RDWR), 0);
    EXPECT_EQ(opened_by(other, at(), O_RDONLY), EACCES);
    EXPECT_EQ(opened_by(guest, image(), O_RDONLY), EACCES);
    std::ofstream(at(), std::ios::app) << "!";
    std::ifstream in(image());
    EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "content!");
    struct stat facts{};
    ASSERT_EQ(::stat(image().c_str(), &facts), 0);
    EXPECT_EQ(facts.st_uid, 0U);
    EXPECT_EQ(facts.st_mode & 0777U, 0600U);
    hide_file(at());
    EXPECT_FALSE(fs::exists(at()));
    EXPECT_TRUE(fs::exists(image()));
    hide_file(at());  // again
}

TEST_P(Shown, for_reading_only) {
    show(true);
    EXPECT_EQ(opened_by(guest, at(), O_RDONLY), 0);
    EXPECT_EQ(opened_by(guest, at(), O_RDWR), EROFS);
}

TEST_P(Shown, whoever_owned_it) {
    ASSERT_EQ(::chown(image().c_str(), 4711, 4711), 0);
    show(false);
    EXPECT_EQ(opened_by(guest, at(), O_RDWR), 0);
    EXPECT_EQ(opened_by(4711, at(), O_RDWR), EACCES);
}

TEST_P(Shown, nothing_takes_a_place_that_is_taken) {
    std::ofstream(at()) << "mine";
    EXPECT_THROW(show(true), std::system_error);
    EXPECT_THROW(show_file({.path = image().parent_path(), .at = at(), .uid = guest}, maps_),
                 std::system_error);
    EXPECT_THROW(show_file({.path = "/no/such", .at = at(), .uid = guest}, maps_),
                 std::system_error);
    EXPECT_EQ(fs::file_size(at()), 4U);
}

TEST_P(Shown, a_device_by_a_node_of_its_own) {
    const fs::path node = image().string() + ".node";
    if (::mknod(node.c_str(), S_IFBLK | 0600, makedev(7, 250)) != 0)
        GTEST_SKIP() << "this machine lets nobody make nodes";
    show_file({.path = node, .at = at(), .uid = guest, .read_only = true}, maps_);
    struct stat facts{};
    ASSERT_EQ(::stat(at().c_str(), &facts), 0);
    EXPECT_EQ(facts.st_rdev, makedev(7, 250));
    EXPECT_EQ(facts.st_uid, guest);
    EXPECT_EQ(facts.st_mode & 0777U, 0400U);
}

std::string place_name(const testing::TestParamInfo<const char*>& place) {
    return std::string(place.param) == "/tmp" ? "disk" : "memory";
}

INSTANTIATE_TEST_SUITE_P(On, Shown, testing::Values("/tmp", "/dev/shm"), place_name);

}  // namespace
}  // namespace basalt
