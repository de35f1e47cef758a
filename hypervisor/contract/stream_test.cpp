// A guest on its way to another host: what its stream is, and who has the guest when.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "hypervisor/api/live_migration.hpp"
#include "hypervisor/contract/suite.hpp"

namespace basalt::hv::contract {
namespace {

using testing::Contains;
using testing::IsEmpty;

struct Connection {
    UniqueFd ours;
    UniqueFd theirs;
};

Connection connection() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A guest counts the time that it stood still, too; under emulation that is long.
constexpr double still_seconds = 600;

// All of one into the other, which takes no more at a time than another host would.
void pass(const UniqueFd& from, const UniqueFd& into) {
    std::vector<char> buffer(65536);
    for (;;) {
        const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
        if (got <= 0 || ::write(into.get(), buffer.data(), static_cast<std::size_t>(got)) != got)
            return;
    }
}

UniqueFd opened(const std::string& path, int flags) {
    return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
}

class GuestStream : public HypervisorContract {
  protected:
    void SetUp() override {
        HypervisorContract::SetUp();
        if (IsSkipped()) return;
        mover_ = dynamic_cast<LiveMigration*>(&hv());
        if (mover_ == nullptr) GTEST_SKIP() << "this hypervisor moves only what stands still";
    }

    void TearDown() override {
        HypervisorContract::TearDown();
        ::unlink(path_.c_str());
    }

    // Another host, as far as the guest is concerned: a file that has what was sent.
    Task<void> send_to_file(DomId dom) {
        Connection way = connection();
        std::thread reader([into = opened(path_, O_WRONLY | O_CREAT | O_TRUNC),
                            from = std::move(way.ours)] { pass(from, into); });
        std::exception_ptr failed;
        try {
            co_await mover_->send(dom, std::move(way.theirs), {});
        } catch (const ApiError&) {
            failed = std::current_exception();
        }
        reader.join();
        if (failed) std::rethrow_exception(failed);
    }

    Task<DomId> restore_from_file(DomainConfig config) {
        Connection way = connection();
        std::thread writer(
            [from = opened(path_, O_RDONLY), into = std::move(way.ours)] { pass(from, into); });
        std::exception_ptr failed;
        DomId dom = 0;
        try {
            dom = co_await hv().restore(std::move(config), std::move(way.theirs), {});
        } catch (const ApiError&) {
            failed = std::current_exception();
        }
        writer.join();
        if (failed) std::rethrow_exception(failed);
        co_return dom;
    }

    Task<void> restore_and_drop(DomainConfig config) {
        co_await restore_from_file(std::move(config));
    }

    // It runs, and reads from its disk.
    Task<void> expect_goes_on(DomId dom, double from) {
        EXPECT_EQ(info(dom).power, agent::DomainPower::running);
        const double now = co_await bench_->uptime(dom);
        EXPECT_GT(now, from);
        EXPECT_LT(now, from + still_seconds);
        const auto disks = [this, dom] { return bench_->disks(dom); };
        const std::vector<std::string> whole{std::to_string(disk_bytes)};
        EXPECT_EQ(co_await eventually<std::vector<std::string>>(disks, whole), whole);
        EXPECT_EQ(co_await bench_->find(dom, "firs"), "first");
    }

    LiveMigration* mover_ = nullptr;
    std::string path_ = testing::TempDir() + "hv-stream-" + std::to_string(getpid());
};

TEST_P(GuestStream, a_running_guest_goes_to_another_host) {
    DomainConfig config = bench_->config();
    DomId dom = 0;
    double before = 0;
    run([&]() -> Task<void> {
        EXPECT_THAT(co_await mover_->movable_kinds(), Contains("pvh"));
        config.disks.push_back(co_await bench_->disk("xvda", 0, agent::DiskKind::disk, "first"));
        dom = co_await started(config);
        before = co_await bench_->uptime(dom);
        co_await expect_goes_on(dom, before);
        co_await send_to_file(dom);
        EXPECT_EQ(info(dom).power, agent::DomainPower::paused);
    });
    // What was sent is kept until somebody says otherwise, whoever asks by then.
    bench_->restart();
    events_ = std::make_unique<Recorder>(bench_->loop());
    run([&]() -> Task<void> {
        co_await hv().adopt(*events_);
        EXPECT_EQ(info(dom).power, agent::DomainPower::paused);
        EXPECT_THAT(events_->told, IsEmpty());
        co_await hv().destroy(dom);
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());

        const DomId there = co_await restore_from_file(config);
        EXPECT_EQ(info(there).power, agent::DomainPower::paused);
        co_await hv().set_running(there, true);
        co_await expect_goes_on(there, before);
        co_await hv().destroy(there);

        // The sender's host died in the middle.
        std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
        EXPECT_EQ(co_await failure(restore_and_drop(config)), "INTERNAL_ERROR");
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());
    });
}

TEST_P(GuestStream, it_stays_when_the_other_side_fails) {
    run([this]() -> Task<void> {
        DomainConfig config = bench_->config();
        config.disks.push_back(co_await bench_->disk("xvda", 0, agent::DiskKind::disk, "first"));
        const DomId dom = co_await started(config);
        double before = co_await bench_->uptime(dom);

        // After all was sent.
        co_await send_to_file(dom);
        co_await hv().set_running(dom, true);
        co_await expect_goes_on(dom, before);

        // In the middle: nobody reads.
        before = co_await bench_->uptime(dom);
        Connection way = connection();
        way.ours.reset();
        EXPECT_EQ(co_await failure(mover_->send(dom, std::move(way.theirs), {})), "INTERNAL_ERROR");
        co_await expect_goes_on(dom, before);

        co_await hv().set_running(dom, false);
        way = connection();
        EXPECT_EQ(co_await failure(mover_->send(dom, std::move(way.theirs), {})),
                  "OPERATION_NOT_ALLOWED");
        EXPECT_EQ(info(dom).power, agent::DomainPower::paused);
        co_await hv().set_running(dom, true);

        // It can be sent again, and ends like any other.
        co_await send_to_file(dom);
        EXPECT_EQ(info(dom).power, agent::DomainPower::paused);
        co_await hv().destroy(dom);
        EXPECT_THAT(events_->told, IsEmpty());
        EXPECT_THAT(bench_->traces(config.spec.uuid), IsEmpty());
    });
}

INSTANTIATE_TEST_SUITE_P(Sim, GuestStream, testing::Values("sim"));
INSTANTIATE_TEST_SUITE_P(Qemu, GuestStream, testing::Values("qemu"));
INSTANTIATE_TEST_SUITE_P(Xen, GuestStream, testing::Values("xen"));

}  // namespace
}  // namespace basalt::hv::contract
