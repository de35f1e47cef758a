#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "base/real_loop.hpp"
#include "base/sim_loop.hpp"
#include "storage-manager/api/storage.hpp"
#include "storage-manager/sim/sim_storage.hpp"

/// What the contract tests run on: the same questions to every implementation.
namespace basalt::sm::test {

/// A folder that goes with the test.
class TemporaryFolder {
  public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

/// Runs a test's coroutine to its end on the real loop.
void run(RealLoop& loop, Task<void> body);

/// A set of drivers with a way to write and read the disks that they open.
class Bench {
  public:
    virtual ~Bench() = default;
    virtual Drivers& drivers() = 0;
    virtual Drivers::Sr sr() = 0;
    virtual void run(Task<void> body) = 0;
    /// Fills a block of 4096 bytes with `value` (0 to 255).
    virtual Task<void> write(Attachment disk, std::uint64_t block, std::uint64_t value) = 0;
    virtual Task<std::uint64_t> read(Attachment disk, std::uint64_t block) = 0;
};

std::unique_ptr<Bench> sim_bench();
/// `file` in this process.
std::unique_ptr<Bench> file_bench();
/// `file` in a worker process.
std::unique_ptr<Bench> worker_bench();
/// `ext` and `xfs` in this process, on a loop device; null on a machine that has none.
std::unique_ptr<Bench> ext_bench();
std::unique_ptr<Bench> xfs_bench();

/// As a guest would: over the NBD socket of a served disk.
Task<void> guest_write(RealLoop& loop, DiskServer server, std::uint64_t block, std::uint64_t value);
Task<std::uint64_t> guest_read(RealLoop& loop, DiskServer server, std::uint64_t block);

agent::VdiSpec spec_of(const std::string& uuid, std::int64_t size_bytes);

/// The code that the body throws, or "".
Task<std::string> code_of(Task<void> body);

template <class T>
Task<void> ignoring(Task<T> body) {
    co_await std::move(body);
}

}  // namespace basalt::sm::test
