#include "base/cgroup.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace basalt {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

std::string text_of(const fs::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
}

class Folder {
  public:
    Folder() {
        std::string pattern = "/tmp/cgroup.XXXXXX";
        path_ = ::mkdtemp(pattern.data());
    }

    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    ~Folder() { fs::remove_all(path_); }

    [[nodiscard]] const fs::path& path() const { return path_; }

    void file(const std::string& name, const std::string& text = "") const {
        fs::create_directories((path_ / name).parent_path());
        std::ofstream(path_ / name) << text;
    }

    [[nodiscard]] Cgroups::Places places() const {
        return {.mounts = path_ / "cg", .own = path_ / "own"};
    }

  private:
    fs::path path_;
};

// The kernel makes a group's files with the group; a folder of files stands in for it.
TEST(CgroupLayout, one_tree_moves_the_caller_aside_and_enables_controllers) {
    const Folder folder;
    folder.file("own", "0::/system.slice/hostd.service\n");
    folder.file("cg/cgroup.controllers", "cpu memory pids\n");
    const std::string unit = "cg/system.slice/hostd.service";
    folder.file(unit + "/cgroup.subtree_control");
    folder.file(unit + "/daemon/cgroup.procs");
    folder.file(unit + "/basalt/cgroup.subtree_control");
    folder.file(unit + "/basalt/cpu.weight");
    for (const char* file : {"memory.max", "pids.max", "cpu.weight", "cgroup.procs"})
        folder.file(unit + "/basalt/vm/" + file);
    Cgroups groups("basalt", folder.places());
    EXPECT_EQ(groups.layout(), Cgroups::Layout::v2);
    EXPECT_THAT(groups.controllers(), ElementsAre("memory", "pids", "cpu"));
    EXPECT_EQ(text_of(folder.path() / unit / "daemon/cgroup.procs"), "0");
    EXPECT_EQ(text_of(folder.path() / unit / "basalt/cpu.weight"), "1000");
    const auto joins =
        groups.make("vm", {.memory_bytes_max = 1 << 20, .pids_max = 7, .cpu_weight = 50});
    EXPECT_THAT(joins, ElementsAre((folder.path() / unit / "basalt/vm/cgroup.procs").string()));
    EXPECT_EQ(text_of(folder.path() / unit / "basalt/vm/memory.max"), "1048576");
    EXPECT_EQ(text_of(folder.path() / unit / "basalt/vm/pids.max"), "7");
    EXPECT_EQ(text_of(folder.path() / unit / "basalt/vm/cpu.weight"), "50");
}

TEST(CgroupLayout, a_daemon_in_its_delegated_group_stays_there) {
    const Folder folder;
    folder.file("own", "0::/hostd.service/daemon\n");
    folder.file("cg/cgroup.controllers");
    folder.file("cg/hostd.service/daemon/cgroup.procs", "4711");
    const Cgroups groups("basalt", folder.places());
    EXPECT_TRUE(fs::is_directory(folder.path() / "cg/hostd.service/basalt"));
    EXPECT_EQ(text_of(folder.path() / "cg/hostd.service/daemon/cgroup.procs"), "4711");
    EXPECT_TRUE(groups.controllers().empty());  // the tree above enables none
}

TEST(CgroupLayout, a_tree_a_controller) {
    const Folder folder;
    folder.file("own", "3:cpu,cpuacct:/\n2:memory:/box\n1:pids:/elsewhere\n");
    folder.file("cg/memory/box/basalt/vm/memory.limit_in_bytes");
    folder.file("cg/cpu/basalt/vm/cpu.shares");
    folder.file("cg/pids/basalt/vm/pids.max");
    Cgroups groups("basalt", folder.places());
    EXPECT_EQ(groups.layout(), Cgroups::Layout::v1);
    EXPECT_EQ(
        groups.make("vm", {.memory_bytes_max = 4096, .pids_max = 9, .cpu_weight = 200}).size(), 3U);
    EXPECT_EQ(text_of(folder.path() / "cg/memory/box/basalt/vm/memory.limit_in_bytes"), "4096");
    EXPECT_EQ(text_of(folder.path() / "cg/cpu/basalt/vm/cpu.shares"), "2048");
    EXPECT_EQ(text_of(folder.path() / "cg/pids/basalt/vm/pids.max"), "9");
}

TEST(CgroupLayout, a_machine_without_groups_limits_nothing) {
    const Folder folder;
    Cgroups groups("basalt", folder.places());
    EXPECT_EQ(groups.layout(), Cgroups::Layout::none);
    EXPECT_TRUE(groups.make("vm", {.pids_max = 1}).empty());
}

// With the kernel's own groups: what joins is found, limited and killed.
TEST(CgroupKernel, holds_what_joined) {
    Cgroups groups("basalt-test-" + std::to_string(::getpid()));
    const auto known = groups.controllers();
    if (!testing::Value(known, testing::Contains("pids")))
        GTEST_SKIP() << "this machine gives no pids controller to " << ::geteuid();
    const auto joins = groups.make("cell", {.pids_max = 3});
    std::array<int, 2> answer{};
    ASSERT_EQ(::pipe(answer.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        for (const std::string& join : joins)
            std::ofstream(join) << "0" << std::flush;
        int started = 0;
        while (started < 10 && ::fork() >= 0)  // each of them waits below, as this one does
            ++started;
        const char count = static_cast<char>(started);
        if (::write(answer[1], &count, 1) != 1) ::_exit(1);
        for (;;)
            ::pause();
    }
    ::close(answer[1]);
    // The first to reach the limit tells how many it could start; no tree of three has more.
    char count = 99;
    ASSERT_EQ(::read(answer[0], &count, 1), 1);
    EXPECT_LE(count, 2);
    EXPECT_EQ(groups.processes("cell").size(), 3U);
    groups.kill("cell");
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    while (!groups.processes("cell").empty())
        ::sched_yield();
    groups.remove("cell");
    groups.remove("");  // ours too, as nothing is left in it
}

}  // namespace
}  // namespace basalt
