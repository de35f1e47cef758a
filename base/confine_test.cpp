#include "base/confine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "base/error.hpp"
#include "base/subprocess.hpp"

namespace basalt {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;

constexpr uid_t guest = 66000;

class Confine : public testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
        std::string pattern = "/tmp/confine.XXXXXX";
        folder_ = ::mkdtemp(pattern.data());
        fs::permissions(folder_, fs::perms::owner_all | fs::perms::others_exec);
    }

    void TearDown() override { fs::remove_all(folder_); }

    Output run(std::vector<std::string> argv) {
        std::optional<Output> out;
        const auto job = spawn(loop_, "test",
                               [](Confine* self, std::vector<std::string> words,
                                  std::optional<Output>* answer) -> Task<void> {
                                   Command command;
                                   command.argv = std::move(words);
                                   *answer =
                                       co_await run_command(self->loop_, std::move(command), 30s);
                                   self->loop_.stop();
                               }(this, std::move(argv), &out));
        loop_.context().restart();
        loop_.run();
        if (job->failure()) std::rethrow_exception(job->failure());
        return *out;
    }

    static std::vector<std::string> python(const std::string& script) {
        return {"/usr/bin/python3", "-I", "-S", "-c", script};
    }

    Output inside(const Cell& cell, const std::string& script) {
        return run(confined(CONFINE, cell, python(script)));
    }

    [[nodiscard]] const fs::path& folder() const { return folder_; }

    RealLoop loop_{1};

  private:
    fs::path folder_;
};

TEST_F(Confine, leaves_nothing_of_root) {
    const Output output =
        inside({.uid = guest, .readable = {"/proc"}}, "print(open('/proc/self/status').read())");
    ASSERT_EQ(output.status, 0) << output.err;
    EXPECT_THAT(
        output.out,
        AllOf(HasSubstr("Uid:\t66000\t66000\t66000\t66000\n"),
              HasSubstr("Gid:\t66000\t66000\t66000\t66000\n"), HasSubstr("Groups:\t \n"),
              HasSubstr("CapPrm:\t0000000000000000\n"), HasSubstr("CapEff:\t0000000000000000\n"),
              HasSubstr("CapBnd:\t0000000000000000\n"), HasSubstr("NoNewPrivs:\t1\n"),
              HasSubstr("Seccomp:\t2\n")));
}

TEST_F(Confine, a_driver_keeps_what_it_names_and_no_more) {
    const Output output = inside({.capabilities = {"sys_admin", "chown"}, .all_files = true},
                                 "print(open('/proc/self/status').read()); open('/etc/shadow')");
    ASSERT_EQ(output.status, 0) << output.err;
    EXPECT_THAT(output.out, AllOf(HasSubstr("CapEff:\t0000000000200001\n"),
                                  HasSubstr("CapBnd:\t0000000000200001\n")));
}

TEST_F(Confine, the_folders_of_the_program_need_not_be_open_to_its_user) {
    const fs::path closed = folder() / "closed";
    fs::create_directory(closed);
    fs::permissions(closed, fs::perms::owner_all);
    fs::copy_file("/usr/bin/true", closed / "true");
    const auto ends = [&] {
        return run(confined(CONFINE, {.uid = guest}, {closed / "true"})).status;
    };
    EXPECT_EQ(ends(), 0);
    fs::permissions(closed / "true", fs::perms::owner_all);
    EXPECT_EQ(ends(), 126);
}

struct Attempt {
    const char* name;
    const char* script;
    bool harmless;  // tried without the cell too: there it works
};

std::string name_of(const testing::TestParamInfo<Attempt>& info) {
    return info.param.name;
}

void PrintTo(const Attempt& attempt, std::ostream* out) {
    *out << attempt.name;
}

class Escape : public Confine, public testing::WithParamInterface<Attempt> {};

// What succeeds prints; what is refused ends with a traceback that says permission denied (or that
// the kernel lacks the call).
constexpr const char* libc = R"(
import ctypes, os, socket, sys
def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
)";

TEST_P(Escape, is_refused) {
    const std::string script = std::string(libc) + GetParam().script + "\nprint('escaped')\n";
    const Output output = inside({.uid = guest}, script);
    EXPECT_NE(output.status, 0);
    EXPECT_EQ(output.out, "");
    EXPECT_THAT(output.err, testing::ContainsRegex("PermissionError|Function not implemented"));
    if (!GetParam().harmless) return;
    const Output free = run(python(script));
    EXPECT_EQ(free.out, "escaped\n") << free.err;
}

INSTANTIATE_TEST_SUITE_P(
    Attempts, Escape,
    testing::Values(
        Attempt{"reads_passwords", "open('/etc/shadow').read()", true},
        Attempt{"reads_what_all_may_read", "open('/etc/passwd').read()", true},
        Attempt{"lists_the_root", "os.listdir('/')", true},
        Attempt{"lists_processes", "os.listdir('/proc')", true},
        Attempt{"reads_the_memory_of_init", "open('/proc/1/environ').read()", false},
        Attempt{"writes_in_tmp",
                "open('/tmp/confine-escape','w'); os.remove('/tmp/confine-escape')", true},
        Attempt{"links_in_tmp",
                "os.symlink('/etc/shadow','/tmp/confine-link'); os.remove('/tmp/confine-link')",
                true},
        Attempt{"makes_a_fifo", "os.mkfifo('/tmp/confine-fifo'); os.remove('/tmp/confine-fifo')",
                true},
        Attempt{"makes_a_device", "os.mknod('/tmp/confine-node', 0o60600, os.makedev(254, 0))",
                false},
        Attempt{"runs_a_shell", "os.execv('/bin/true', ['true'])", false},
        Attempt{"becomes_root", "os.setuid(0)", true},
        Attempt{"signals_init", "os.kill(1, 0)", true},
        Attempt{"opens_the_network", "socket.socket(socket.AF_INET, socket.SOCK_STREAM)", true},
        Attempt{"opens_packets", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", true},
        Attempt{"opens_netlink", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", true},
        Attempt{"makes_a_user_namespace", "call('unshare', 0x10000000)", true},
        Attempt{"makes_a_mount_namespace", "call('unshare', 0x20000)", true},
        Attempt{"mounts", "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)", false},
        Attempt{"changes_root", "os.chroot('/')", true},
        Attempt{"traces_itself", "call('ptrace', 0, 0, None, None)", true},
        Attempt{"enters_a_namespace", "os.setns(os.open('/proc/self/ns/net', 0), 0)", true},
        Attempt{"opens_kvm_or_tun", "open('/dev/net/tun', 'r+b', buffering=0)", true},
        Attempt{"sets_the_host_name", "call('sethostname', b'x', 1)", false},
        Attempt{"loads_bpf", "call('syscall', 321, 0, None, 0)", false}),
    name_of);

TEST_F(Confine, hears_of_devices_where_it_may) {
    const auto opens = [this](const Cell& cell, const char* socket) {
        return inside(cell, std::string("import socket; socket.socket(") + socket + ")").status ==
               0;
    };
    const char* events = "socket.AF_NETLINK, socket.SOCK_RAW, 15";  // NETLINK_KOBJECT_UEVENT
    const Cell cell{.uid = guest, .device_events = true};
    EXPECT_TRUE(opens(cell, events));
    EXPECT_TRUE(opens(cell, "socket.AF_UNIX"));
    EXPECT_FALSE(opens(cell, "socket.AF_NETLINK, socket.SOCK_RAW, 0"));
    EXPECT_FALSE(opens(cell, "socket.AF_INET"));
    EXPECT_FALSE(opens({.uid = guest}, events));
}

TEST_F(Confine, may_open_what_it_was_given) {
    const fs::path file = folder() / "given";
    std::ofstream(file) << "words";
    fs::permissions(file, fs::perms::all);
    const std::string path = file.string();
    const Cell cell{.uid = guest, .readable = {path}};
    EXPECT_EQ(inside(cell, "print(open('" + path + "').read())").out, "words\n");
    EXPECT_NE(inside(cell, "open('" + path + "','a')").status, 0);
    EXPECT_EQ(inside({.uid = guest, .writable = {path}}, "open('" + path + "','a').write('!')").err,
              "");
    EXPECT_NE(inside({.uid = guest}, "open('" + path + "')").status, 0);
}

TEST_F(Confine, a_file_stays_within_its_limit) {
    const fs::path file = folder() / "log";
    std::ofstream(file) << "";
    fs::permissions(file, fs::perms::all);
    const std::string path = file.string();
    const Output output = inside({.uid = guest, .writable = {path}, .file_bytes_max = 8192},
                                 "open('" + path +
                                     "','ab',buffering=0).write(b'x' * 8192)\n"
                                     "open('" +
                                     path + "','ab',buffering=0).write(b'y')");
    EXPECT_THAT(output.err, HasSubstr("File too large"));
    EXPECT_EQ(fs::file_size(file), 8192U);
}

TEST_F(Confine, joins_its_group_and_says_who_it_is) {
    Cgroups groups("basalt-test-" + std::to_string(::getpid()));
    if (groups.controllers().empty()) GTEST_SKIP() << "this machine gives no controllers to root";
    const fs::path pid = folder() / "pid";
    const Cell cell{.uid = guest,
                    .groups = groups.make("cell", {.pids_max = 1}),
                    .readable = {"/proc"},
                    .pid_file = pid.string()};
    const Output output = inside(cell,
                                 "import os\n"
                                 "print(os.getpid(), open('/proc/self/stat').read().split()[21])\n"
                                 "print(open('/proc/self/cgroup').read())\n"
                                 "try: os.fork()\n"
                                 "except BlockingIOError: print('alone')");
    EXPECT_THAT(output.out,
                AllOf(HasSubstr("basalt-test-"), HasSubstr("/cell\n"), HasSubstr("alone")))
        << output.err;
    std::ifstream in(pid);
    const std::string said(std::istreambuf_iterator<char>(in), {});
    EXPECT_EQ(output.out.substr(0, said.size()), said);
    EXPECT_EQ(process_of(pid.string()), -1);  // it has ended
    groups.remove("cell");
    groups.remove("");
}

TEST_F(Confine, a_process_is_known_by_its_start_too) {
    const std::string pid = folder() / "pid";
    EXPECT_EQ(process_of(pid), -1);
    std::ofstream(pid) << ::getpid() << " 1\n";  // somebody else had our number
    EXPECT_EQ(process_of(pid), -1);
    std::ifstream in("/proc/self/stat");
    std::string word;
    for (int field = 1; field <= 22; ++field)
        in >> word;
    std::ofstream(pid) << ::getpid() << " " << word << "\n";
    EXPECT_EQ(process_of(pid), ::getpid());
}

TEST_F(Confine, what_it_cannot_give_up_ends_it) {
    EXPECT_EQ(run({CONFINE, "--uid", "66000", "--read", "/no/such/file", "--", "true"}).status,
              126);
    EXPECT_EQ(run({CONFINE, "--uid", "all", "--", "true"}).status, 126);
    EXPECT_EQ(run({CONFINE, "--capability", "everything", "--", "true"}).status, 126);
    EXPECT_EQ(run({CONFINE, "--group", "/no/such/group", "--", "true"}).status, 126);
    EXPECT_EQ(run({CONFINE, "--uid", "66000", "--"}).status, 126);
    EXPECT_EQ(run({CONFINE, "--uid", "66000", "--", "true"}).status, 0);
}

class SlotsTest : public Confine {
  protected:
    // 0: refused.
    uid_t hold(Slots& slots, const std::string& key, std::vector<Slots::Held>& kept) {
        uid_t got = 0;
        spawn(loop_, "test",
              [](Slots* from, std::string who, RealLoop* loop, uid_t* uid,
                 std::vector<Slots::Held>* out) -> Task<void> {
                  try {
                      out->push_back(co_await from->hold(who));
                      *uid = out->back().guest();
                  } catch (const ApiError& error) {
                      EXPECT_EQ(error.code(), "INTERNAL_ERROR");
                  }
                  loop->stop();
              }(&slots, key, &loop_, &got, &kept));
        loop_.context().restart();
        loop_.run();
        return got;
    }

    Slots::Range range() { return {.uid_first = 70000, .count = 2, .file = folder() / "slots"}; }
};

TEST_F(SlotsTest, no_two_that_are_held_are_the_same) {
    Slots slots(loop_, range());
    std::vector<Slots::Held> kept;
    EXPECT_EQ(hold(slots, "a", kept), 70000U);
    EXPECT_EQ(hold(slots, "b", kept), 70002U);
    EXPECT_EQ(kept.back().storage(), 70003U);
    EXPECT_EQ(hold(slots, "a", kept), 70000U);  // the same again, held twice
    EXPECT_EQ(hold(slots, "c", kept), 0U);
    kept.erase(kept.begin() + 1);
    EXPECT_EQ(hold(slots, "c", kept), 70002U);
    EXPECT_EQ(hold(slots, "b", kept), 0U);
}

TEST_F(SlotsTest, the_next_daemon_knows_them) {
    std::vector<Slots::Held> kept;
    {
        Slots slots(loop_, range());
        hold(slots, "a", kept);
        hold(slots, "b", kept);
    }
    kept.clear();
    Slots slots(loop_, range());
    EXPECT_EQ(hold(slots, "b", kept), 70002U);
    EXPECT_EQ(hold(slots, "c", kept), 70000U);  // nobody holds a's
}

}  // namespace
}  // namespace basalt
