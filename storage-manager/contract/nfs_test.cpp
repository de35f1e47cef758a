// CDs of an NFS server: a real one, nfs-ganesha, in namespaces of this program's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iostream>

#include "base/error.hpp"
#include "base/nbd.hpp"
#include "base/real_net.hpp"
#include "base/subprocess.hpp"
#include "storage-manager/contract/bench.hpp"
#include "storage-manager/manager/real_storage.hpp"

namespace basalt::sm::test {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t mib = 1024 * 1024;
const std::string sr_nfs = "5e000000-0000-4000-8000-000000000004";
const std::string sr_file = "5e000000-0000-4000-8000-000000000005";
const std::string vm = "f0000000-0000-4000-8000-00000000000e";

// Why there can be no server here; empty: there is.
std::string missing() {
    if (std::getenv("BASALT_OWN_NAMESPACES") == nullptr) return "no namespaces of its own";
    for (const char* program : {"/usr/bin/ganesha.nfsd", "/usr/sbin/rpcbind"})
        if (::access(program, X_OK) != 0) return std::string("no ") + program;
    return {};
}

std::string read_text(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Ganesha exports folders on disks only, and /tmp may be none.
fs::path share_folder() {
    const char* set = std::getenv("BASALT_CACHE");
    std::string name = std::string(set != nullptr ? set : "/var/cache/basalt") + "/nfs-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error(name);
    return name;
}

class NfsServer {
  public:
    NfsServer(RealLoop& loop, fs::path folder)
        : loop_(loop), folder_(std::move(folder)), share_(share_folder()) {
        std::ofstream(config())
            << "NFS_CORE_PARAM { Protocols = 3; Enable_NLM = false; Enable_RQUOTA = false;\n"
               " allow_set_io_flusher_fail = true; }\n"
               "EXPORT { Export_Id = 1; Path = "
            << share().string()
            << "; Pseudo = /iso; Protocols = 3; Transports = TCP; Access_Type = RO;\n"
               " Squash = Root_Squash; SecType = sys; FSAL { Name = VFS; } }\n";
    }

    NfsServer(const NfsServer&) = delete;
    NfsServer& operator=(const NfsServer&) = delete;

    ~NfsServer() {
        // The next server wants the same ports.
        for (const auto& process : {ganesha_, rpcbind_}) {
            if (!process) continue;
            process->kill(SIGKILL);
            siginfo_t gone{};
            ::waitid(P_PID, static_cast<id_t>(process->pid()), &gone, WEXITED | WNOWAIT);
        }
        fs::remove_all(share_);
    }

    [[nodiscard]] const fs::path& share() const { return share_; }

    Task<void> start() {
        rpcbind_ = start_process(loop_, {.argv = {"rpcbind", "-f"}});
        // Ganesha registers once, and ends when nobody listens.
        co_await until_rpcinfo_says("portmapper");
        ganesha_ = start_process(
            loop_, {.argv = {"ganesha.nfsd", "-F", "-f", config().string(), "-L",
                             (folder_ / "log").string(), "-p", (folder_ / "pid").string()}});
        co_await until_rpcinfo_says("mountd");
    }

    /// Holds it still, every thread of it.
    Task<void> freeze() {
        ganesha_->kill(SIGSTOP);
        const fs::path threads = "/proc/" + std::to_string(ganesha_->pid()) + "/task";
        for (bool all = false; !all;) {
            co_await sleep_for(loop_, 20ms);
            all = true;
            for (const auto& thread : fs::directory_iterator(threads)) {
                all = all && read_text(thread.path() / "status").contains("State:\tT");
            }
        }
    }

    void thaw() { ganesha_->kill(SIGCONT); }

  private:
    Task<void> until_rpcinfo_says(std::string_view name) {
        for (int tries = 0; tries < 300; ++tries) {
            const auto answer =
                co_await run_command(loop_, {.argv = {"rpcinfo", "-p", "127.0.0.1"}}, 10s);
            if (answer.out.contains(name)) co_return;
            co_await sleep_for(loop_, 100ms);
        }
        throw std::runtime_error("no " + std::string(name) + ": " + read_text(folder_ / "log"));
    }

    [[nodiscard]] fs::path config() const { return folder_ / "ganesha.conf"; }

    RealLoop& loop_;
    fs::path folder_;
    fs::path share_;
    std::shared_ptr<Process> rpcbind_;
    std::shared_ptr<Process> ganesha_;
};

class NfsIso : public testing::Test {
  protected:
    void SetUp() override {
        if (const std::string why = missing(); !why.empty()) GTEST_SKIP() << why;
        std::string name = "/tmp/sm-nfs-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        fs::permissions(folder_, fs::perms::owner_all | fs::perms::others_exec);
        fs::create_directory(folder_ / "disks");
        confinement_ = std::make_shared<Confinement>(
            loop_, Confinement::Config{.launcher = CONFINE,
                                       .cgroup = "basalt-test",
                                       .slots = {66000, 100, folder_ / "users"}});
        server_.emplace(loop_, folder_);
        std::ofstream(server_->share() / "debian.iso") << std::string(2 * mib, 'd');
        std::ofstream(server_->share() / "Win dows, \"7\".IMG") << std::string(mib, 'w');
        std::ofstream(server_->share() / "notes.txt") << "no CD";
        std::ofstream(server_->share() / "bad\xff.iso") << "no text";
        std::ofstream(server_->share() / "private.iso") << std::string(mib, 'p');
        fs::permissions(server_->share() / "private.iso", fs::perms::owner_all);
        fs::create_symlink("debian.iso", server_->share() / "link.iso");
        fs::create_symlink("nowhere", server_->share() / "broken.iso");
        fs::create_directory(server_->share() / "folder.iso");
        fs::permissions(server_->share(), fs::perms(0755));
    }

    void TearDown() override {
        server_.reset();
        if (!folder_.empty()) fs::remove_all(folder_);
    }

    void on_host(std::function<Task<void>()> body) {
        run(loop_, [](NfsIso& self, std::function<Task<void>()> act) -> Task<void> {
            co_await self.server_->start();
            co_await self.boot();
            co_await act();
            co_await self.storage_->close_all(vm);
            self.storage_.reset();
            self.confinement_->groups.remove("");
        }(*this, std::move(body)));
    }

    Task<void> boot() {
        storage_.reset();
        RealStorageConfig config;
        config.run_folder = folder_ / "run";
        config.state_file = folder_ / "state" / "storage.json";
        config.work_folder = folder_ / "work";
        config.worker_program = SM_WORKER;
        config.stream_program = SM_STREAM;
        config.confinement = confinement_;
        storage_ = real_storage(loop_, config);
        co_await storage_->adopt();
    }

    DeviceConfig config() {
        return {{"location", "127.0.0.1:" + server_->share().string()},
                {"type", "nfs_iso"},
                {"nfsversion", "3"},
                {"options", "soft,timeo=100,retrans=2"}};
    }

    Task<void> attach() { co_await storage_->sr_attach({sr_nfs, "iso", config()}); }

    /// The code with which an SR of that configuration is refused.
    Task<std::string> refusal(std::map<std::string, std::string> changes) {
        DeviceConfig changed = config();
        for (const auto& [key, value] : changes)
            changed[key] = value;
        co_return co_await code_of(storage_->sr_create({sr_nfs, "iso", changed, 0}));
    }

    static agent::DiskSpec cd(const std::string& location,
                              agent::Access access = agent::Access::ro) {
        agent::DiskSpec spec;
        spec.device = "xvdd";
        spec.kind = agent::DiskKind::cd;
        spec.access = access;
        spec.disk = {sr_nfs, "", location};
        return spec;
    }

    Task<std::uint64_t> read(DiskServer disk, std::uint64_t block) {
        return guest_read(loop_, std::move(disk), block);
    }

    /// Of the VM's storage daemon.
    [[nodiscard]] std::string daemon_user() const {
        const pid_t pid = process_of((folder_ / "run" / vm / "pid").string());
        const std::string status = read_text("/proc/" + std::to_string(pid) + "/status");
        const std::size_t at = status.find("Uid:\t") + 5;
        return status.substr(at, status.find('\t', at) - at);
    }

    Task<void> scan_quietly() {
        scanned_ = co_await code_of(ignoring(storage_->sr_scan({sr_nfs})));
    }

    Task<void> read_or_fail(DiskServer disk, std::uint64_t block) {
        try {
            co_await guest_read(loop_, std::move(disk), block);
        } catch (const std::exception& error) {
            std::cout << "the read failed: " << error.what() << '\n';
        }
    }

    /// Processes of our storage daemons' folder.
    [[nodiscard]] std::vector<std::string> relays() const {
        std::vector<std::string> out;
        std::error_code failed;
        for (const auto& entry : fs::directory_iterator(folder_ / "run" / vm, failed))
            if (const pid_t pid = process_of(entry.path());
                entry.path().filename().string().starts_with("relay-") && pid > 0)
                out.push_back(entry.path().filename());
        return out;
    }

    RealLoop loop_;
    fs::path folder_;
    std::shared_ptr<Confinement> confinement_;
    std::optional<NfsServer> server_;
    std::shared_ptr<Storage> storage_;
    std::string scanned_;
};

TEST_F(NfsIso, a_share_is_probed_listed_and_checked) {
    on_host([this]() -> Task<void> {
        EXPECT_EQ(co_await refusal({}), "");
        EXPECT_EQ(co_await refusal({{"location", ""}}), "SR_BACKEND_FAILURE_220");
        EXPECT_EQ(co_await refusal({{"location", "no colon"}}), "SR_BACKEND_FAILURE_225");
        EXPECT_EQ(co_await refusal({{"location", "-x:/a"}}), "SR_BACKEND_FAILURE_225");
        EXPECT_EQ(co_await refusal({{"location", "127.0.0.1:/a/../b"}}), "SR_BACKEND_FAILURE_225");
        EXPECT_EQ(co_await refusal({{"location", "127.0.0.1:/nowhere"}}), "SR_BACKEND_FAILURE_222");
        EXPECT_EQ(co_await refusal({{"location", "127.0.0.2:/x"}}), "SR_BACKEND_FAILURE_222");
        EXPECT_EQ(co_await refusal({{"location", "no-such.invalid:/x"}}), "SR_BACKEND_FAILURE_222");
        EXPECT_EQ(co_await refusal({{"nfsversion", "4"}}), "SR_BACKEND_FAILURE_1");
        EXPECT_EQ(co_await refusal({{"options", "ro,sec=krb5"}}), "SR_BACKEND_FAILURE_1");
        EXPECT_EQ(co_await refusal({{"options", "timeo=x"}}), "SR_BACKEND_FAILURE_1");
        EXPECT_EQ(co_await refusal({{"type", "cifs"}}), "SR_BACKEND_FAILURE_1");

        const std::string found = co_await storage_->sr_probe({"iso", config(), {}});
        EXPECT_THAT(found, testing::HasSubstr("<Path>" + server_->share().string() + "</Path>"));
        EXPECT_THAT(found, testing::HasSubstr("<Target>127.0.0.1</Target>"));

        co_await attach();
        const auto contents = co_await storage_->sr_scan({sr_nfs});
        std::map<std::string, std::int64_t> sizes;
        for (const agent::VdiInfo& info : contents.vdis)
            sizes[info.location] = info.size_bytes;
        EXPECT_EQ(sizes, (std::map<std::string, std::int64_t>{{"Win dows, \"7\".IMG", mib},
                                                              {"debian.iso", 2 * mib},
                                                              {"link.iso", 2 * mib},
                                                              {"private.iso", mib}}));
        EXPECT_GT(contents.sr.size_bytes, 0);
        const auto again = co_await storage_->sr_scan({sr_nfs});
        EXPECT_EQ(again.vdis, contents.vdis);
    });
}

TEST_F(NfsIso, a_guest_reads_a_disc_and_cannot_write_it) {
    on_host([this]() -> Task<void> {
        co_await attach();
        const DiskServer disc = co_await storage_->open_disk(vm, cd("Win dows, \"7\".IMG"));
        EXPECT_EQ(co_await read(disc, 3), static_cast<unsigned>('w'));
        EXPECT_EQ(relays().size(), 1U);
        const pid_t relay = process_of((folder_ / "run" / vm / relays().front()).string());
        const std::string status = read_text("/proc/" + std::to_string(relay) + "/status");
        EXPECT_THAT(status, testing::HasSubstr("NoNewPrivs:\t1"));
        EXPECT_THAT(status, testing::HasSubstr("CapEff:\t0000000000000000"));
        EXPECT_THAT(status, testing::Not(testing::HasSubstr("Uid:\t" + daemon_user())))
            << "who has the network is not who has the disks";
        EXPECT_EQ(co_await code_of(ignoring(storage_->open_disk(vm,
                                                                [] {
                                                                    agent::DiskSpec other =
                                                                        cd("private.iso");
                                                                    other.device = "xvde";
                                                                    return other;
                                                                }()))),
                  "SR_BACKEND_FAILURE_46");
        EXPECT_EQ(relays().size(), 1U);

        // hostd goes and comes; the guest reads on, and the disc can still be taken out.
        co_await boot();
        EXPECT_EQ(co_await read(disc, 4), static_cast<unsigned>('w'));
        co_await storage_->close_disk(vm, "xvdd");
        EXPECT_EQ(relays().size(), 0U);

        const DiskServer link = co_await storage_->open_disk(vm, cd("link.iso", agent::Access::rw));
        EXPECT_EQ(co_await read(link, 511), static_cast<unsigned>('d'));
        bool written = false;
        try {
            co_await guest_write(loop_, link, 0, 1);
            written = true;
        } catch (const std::exception& refused) {
            EXPECT_FALSE(written) << refused.what();
        }
        EXPECT_FALSE(written);
        co_await storage_->close_all(vm);

        agent::VdiCreateArgs upload;
        upload.sr = sr_nfs;
        upload.spec = spec_of("aa000000-0000-4000-8000-00000000000a", mib);
        upload.spec.name = "upload.iso";
        EXPECT_EQ(co_await code_of(ignoring(storage_->vdi_create(upload))),
                  "SR_OPERATION_NOT_SUPPORTED");
        EXPECT_EQ(co_await code_of(storage_->vdi_destroy({{sr_nfs, "", "debian.iso"}})),
                  "SR_OPERATION_NOT_SUPPORTED");
        EXPECT_TRUE(fs::exists(server_->share() / "debian.iso"));

        // A disc is copied like any other disk.
        co_await storage_->sr_attach(
            {sr_file, "file", {{"location", (folder_ / "disks").string()}}});
        agent::VdiCopyArgs copy;
        copy.disk = {sr_nfs, "", "debian.iso"};
        copy.sr = sr_file;
        copy.spec = spec_of("aa000000-0000-4000-8000-00000000000b", 0);
        const agent::VdiInfo made = co_await storage_->vdi_copy(copy, {});
        EXPECT_EQ(made.size_bytes, 2 * mib);
        agent::DiskSpec disk = cd("");
        disk.disk = {sr_file, made.uuid, made.location};
        const DiskServer copied = co_await storage_->open_disk(vm, disk);
        EXPECT_EQ(co_await read(copied, 100), static_cast<unsigned>('d'));
    });
}

TEST_F(NfsIso, a_server_that_is_dead_costs_a_deadline) {
    on_host([this]() -> Task<void> {
        co_await attach();
        co_await storage_->sr_attach(
            {sr_file, "file", {{"location", (folder_ / "disks").string()}}});
        const DiskServer disc = co_await storage_->open_disk(vm, cd("debian.iso"));
        EXPECT_EQ(co_await read(disc, 3), static_cast<unsigned>('d'));

        co_await server_->freeze();
        Time began = loop_.now();
        const auto scan = spawn(loop_, "scan", scan_quietly());
        co_await storage_->sr_scan({sr_file});
        EXPECT_LT(loop_.now() - began, 5s) << "another SR waits for the dead one";
        agent::DiskSpec second = cd("link.iso");
        second.device = "xvde";
        EXPECT_THAT(co_await code_of(ignoring(storage_->open_disk(vm, second))),
                    testing::StartsWith("SR_BACKEND_FAILURE_"));
        co_await scan->wait();
        EXPECT_THAT(scanned_, testing::AnyOf("SR_BACKEND_FAILURE_222", "SR_BACKEND_FAILURE_40"));
        EXPECT_LT(loop_.now() - began, 60s);
        std::cout << "told after "
                  << std::chrono::duration_cast<std::chrono::seconds>(loop_.now() - began) << '\n';

        // A guest waits for what it reads, and can be taken its disc away all the same.
        const auto stuck = spawn(loop_, "guest", read_or_fail(disc, 400));
        co_await sleep_for(loop_, 500ms);
        EXPECT_FALSE(stuck->finished());
        began = loop_.now();
        co_await storage_->close_disk(vm, "xvdd");
        EXPECT_LT(loop_.now() - began, 20s);
        co_await stuck->wait();
        EXPECT_EQ(relays().size(), 0U);

        server_->thaw();
        EXPECT_EQ((co_await storage_->sr_scan({sr_nfs})).vdis.size(), 4U);
        const DiskServer back = co_await storage_->open_disk(vm, cd("debian.iso"));
        EXPECT_EQ(co_await read(back, 3), static_cast<unsigned>('d'));
    });
}

}  // namespace
}  // namespace basalt::sm::test

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    const bool alone = unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
                       mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                       mount("tmpfs", "/run", "tmpfs", 0, nullptr) == 0 &&
                       mount("tmpfs", "/var/lib/nfs", "tmpfs", 0, nullptr) == 0;
    // NOLINTBEGIN(concurrency-mt-unsafe): before any thread
    if (alone && std::system("ip link set lo up && mkdir -p /run/rpcbind /run/ganesha "
                             "/var/lib/nfs/ganesha") == 0)
        setenv("BASALT_OWN_NAMESPACES", "1", 1);
    // NOLINTEND(concurrency-mt-unsafe)
    return RUN_ALL_TESTS();
}
