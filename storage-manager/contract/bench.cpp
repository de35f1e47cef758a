#include "storage-manager/contract/bench.hpp"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "base/fd.hpp"
#include "base/nbd.hpp"
#include "base/real_net.hpp"
#include "storage-manager/datapath/qemu_transfer.hpp"
#include "storage-manager/drivers/device/device_kinds.hpp"
#include "storage-manager/drivers/file/file_driver.hpp"
#include "storage-manager/sim/sim_driver.hpp"
#include "storage-manager/worker/kinds.hpp"
#include "storage-manager/worker/worker_drivers.hpp"

namespace basalt::sm::test {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t block_bytes = 4096;
constexpr const char* sr_uuid = "5e000000-0000-4000-8000-000000000001";

Task<void> write_block(std::unique_ptr<Stream> stream, std::string name, std::uint64_t block,
                       std::uint64_t value) {
    const auto client = co_await nbd::Client::open(std::move(stream), std::move(name));
    const std::string bytes(block_bytes, static_cast<char>(value));
    co_await client->write(block * block_bytes, bytes);
    co_await client->flush();
    co_await client->disconnect();
}

Task<std::uint64_t> read_block(std::unique_ptr<Stream> stream, std::string name,
                               std::uint64_t block) {
    const auto client = co_await nbd::Client::open(std::move(stream), std::move(name));
    std::vector<char> bytes(block_bytes);
    co_await client->read(block * block_bytes, bytes);
    co_await client->disconnect();
    for (const char byte : bytes)
        if (byte != bytes[0]) throw std::runtime_error("a block of several values");
    co_return static_cast<unsigned char>(bytes[0]);
}

Task<void> stop_after(RealLoop& loop, Task<void> body) {
    std::exception_ptr failure;
    try {
        co_await std::move(body);
    } catch (...) {
        failure = std::current_exception();
    }
    loop.stop();
    if (failure) std::rethrow_exception(failure);
}

class SimBench final : public Bench {
  public:
    SimBench() { kinds_.add(sim::sim_kind(loop_, world_, "file")); }

    Drivers& drivers() override { return kinds_; }

    Drivers::Sr sr() override { return {sr_uuid, "file", {{"location", "/sim"}}}; }

    void run(Task<void> body) override {
        const auto job = spawn(loop_, "test", std::move(body));
        loop_.run_until([job] { return job->finished(); }, 1h);
        if (job->failure()) std::rethrow_exception(job->failure());
    }

    Task<void> write(Attachment disk, std::uint64_t block, std::uint64_t value) override {
        world_->images.at(disk.chain.front().path).blocks[block] = value;
        co_return;
    }

    Task<std::uint64_t> read(Attachment disk, std::uint64_t block) override {
        co_return world_->read(disk.chain.front().path, block);
    }

  private:
    SimLoop loop_{1};
    sim::SharedWorld world_ = std::make_shared<sim::World>();
    Kinds kinds_;
};

// A file as a block device, which goes when nobody has it open or mounted any more.
class LoopDevice {
  public:
    LoopDevice(const fs::path& file, std::uintmax_t size_bytes) {
        std::ofstream(file).close();
        fs::resize_file(file, size_bytes);
        const UniqueFd backing = opened(file);
        const UniqueFd control = opened("/dev/loop-control");
        loop_config config{};
        config.fd = static_cast<std::uint32_t>(backing.get());
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        do {
            path_ = "/dev/loop" + std::to_string(ioctl(control.get(), LOOP_CTL_GET_FREE));
            device_ = opened(path_);
        } while (ioctl(device_.get(), LOOP_CONFIGURE, &config) != 0 && is_taken());
    }

    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    static UniqueFd opened(const fs::path& path) {
        UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        if (fd.get() < 0) throw std::system_error(errno, std::generic_category(), path.string());
        return fd;
    }

    // By another test, between the two questions.
    static bool is_taken() {
        if (errno == EBUSY) return true;
        throw std::system_error(errno, std::generic_category(), "LOOP_CONFIGURE");
    }

    std::string path_;
    UniqueFd device_;
};

class RealBench : public Bench {
  public:
    Drivers& drivers() override { return *drivers_; }

    void run(Task<void> body) override { test::run(loop_, std::move(body)); }

    Task<void> write(Attachment disk, std::uint64_t block, std::uint64_t value) override {
        Signal ended(loop_);
        bool over = false;
        UniqueFd fd = co_await transfer_.serve(std::move(disk), [&ended, &over] {
            over = true;
            ended.notify_all();
        });
        co_await write_block(adopt_stream(loop_, std::move(fd)), "disk", block, value);
        while (!over)
            co_await ended.wait();
    }

    Task<std::uint64_t> read(Attachment disk, std::uint64_t block) override {
        disk.read_only = true;
        Signal ended(loop_);
        bool over = false;
        UniqueFd fd = co_await transfer_.serve(std::move(disk), [&ended, &over] {
            over = true;
            ended.notify_all();
        });
        const std::uint64_t value =
            co_await read_block(adopt_stream(loop_, std::move(fd)), "disk", block);
        while (!over)
            co_await ended.wait();
        co_return value;
    }

  protected:
    TemporaryFolder folder_;
    RealLoop loop_;
    std::unique_ptr<Drivers> drivers_;

  private:
    std::shared_ptr<Confinement> confinement_ = std::make_shared<Confinement>(
        loop_, Confinement::Config{.launcher = CONFINE,
                                   .cgroup = "basalt-test-" + std::to_string(::getpid()),
                                   .slots = {66000, 100, folder_.path() / "users"}});
    QemuTransfer transfer_{loop_, folder_.path() / "work", SM_STREAM, confinement_};
};

class FileBench final : public RealBench {
  public:
    explicit FileBench(bool in_worker) {
        fs::create_directory(folder_.path() / "sr");
        if (in_worker) {
            drivers_ = std::make_unique<WorkerDrivers>(loop_, SM_WORKER);
        } else {
            auto kinds = std::make_unique<Kinds>();
            kinds->add(file_kind(loop_));
            drivers_ = std::move(kinds);
        }
    }

    Drivers::Sr sr() override {
        return {sr_uuid, "file", {{"location", (folder_.path() / "sr").string()}}};
    }
};

class DeviceBench final : public RealBench {
  public:
    explicit DeviceBench(const char* type) : type_(type) {
        auto kinds = std::make_unique<Kinds>();
        kinds->add(ext_kind(loop_));
        kinds->add(xfs_kind(loop_));
        drivers_ = std::move(kinds);
    }

    Drivers::Sr sr() override { return {sr_uuid, type_, {{"device", device_.path()}}}; }

  private:
    const char* type_;
    LoopDevice device_{folder_.path() / "device", std::uintmax_t{512} << 20};
};

}  // namespace

TemporaryFolder::TemporaryFolder() {
    // In memory where that is possible: tests sync a lot, and what they prove does not need a disk.
    std::string name = access("/dev/shm", W_OK) == 0 ? "/dev/shm/sm-XXXXXX" : "/tmp/sm-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = name;
    // Confined programs pass through, each as a user of its own.
    fs::permissions(path_, fs::perms::owner_all | fs::perms::others_exec);
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void run(RealLoop& loop, Task<void> body) {
    const auto job = spawn(loop, "test", stop_after(loop, std::move(body)));
    loop.run();
    if (job->failure()) std::rethrow_exception(job->failure());
}

std::unique_ptr<Bench> sim_bench() {
    return std::make_unique<SimBench>();
}

std::unique_ptr<Bench> file_bench() {
    return std::make_unique<FileBench>(false);
}

std::unique_ptr<Bench> worker_bench() {
    return std::make_unique<FileBench>(true);
}

namespace {

std::unique_ptr<Bench> device_bench(const char* type) {
    if (!fs::exists("/dev/loop-control")) return nullptr;
    return std::make_unique<DeviceBench>(type);
}

}  // namespace

std::unique_ptr<Bench> ext_bench() {
    return device_bench("ext");
}

std::unique_ptr<Bench> xfs_bench() {
    return device_bench("xfs");
}

Task<void> guest_write(RealLoop& loop, DiskServer server, std::uint64_t block,
                       std::uint64_t value) {
    co_await write_block(co_await connect_unix(loop, server.socket), server.name, block, value);
}

Task<std::uint64_t> guest_read(RealLoop& loop, DiskServer server, std::uint64_t block) {
    co_return co_await read_block(co_await connect_unix(loop, server.socket), server.name, block);
}

agent::VdiSpec spec_of(const std::string& uuid, std::int64_t size_bytes) {
    agent::VdiSpec spec;
    spec.uuid = uuid;
    spec.size_bytes = size_bytes;
    spec.name = "disk " + uuid.substr(0, 2);
    spec.type = "user";
    return spec;
}

Task<std::string> code_of(Task<void> body) {
    try {
        co_await std::move(body);
    } catch (const ApiError& error) {
        co_return error.code();
    }
    co_return "";
}

}  // namespace basalt::sm::test
