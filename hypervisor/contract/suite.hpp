#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>

#include "base/error.hpp"
#include "hypervisor/contract/bench.hpp"

namespace basalt::hv::contract {

constexpr Duration boot_limit = 240s;
constexpr Duration act_limit = 90s;

class HypervisorContract : public testing::TestWithParam<const char*> {
  protected:
    static std::unique_ptr<Bench> make_bench(const std::string& name) {
        if (name == "sim") return make_sim_bench();
        return name == "xen" ? make_xen_bench() : make_qemu_bench();
    }

    void SetUp() override {
        bench_ = make_bench(GetParam());
        if (!bench_) GTEST_SKIP() << "cannot run here";
        events_ = std::make_unique<Recorder>(bench_->loop());
        bench_->run([this]() -> Task<void> { co_await hv().adopt(*events_); });
    }

    void TearDown() override { bench_.reset(); }

    Hypervisor& hv() { return bench_->hv(); }

    void run(std::function<Task<void>()> body) { bench_->run(std::move(body)); }

    agent::DomainInfo info(DomId dom) {
        for (const agent::DomainInfo& one : hv().domains())
            if (one.domid == dom) return one;
        return {.uuid = "none"};
    }

    Task<void> until_ready(DomId dom) {
        const UniqueFd fd = co_await hv().open_console(dom, agent::ConsoleKind::serial);
        co_await read_until(bench_->loop(), fd.get(), "guest ready", boot_limit);
    }

    Task<DomId> started(DomainConfig config) {
        const DomId dom = co_await hv().create(std::move(config), {});
        co_await hv().set_running(dom, true);
        co_await until_ready(dom);
        co_return dom;
    }

    Task<bool> told(std::string what) {
        const Time deadline = bench_->loop().now() + act_limit;
        while (!std::ranges::contains(events_->told, what) && bench_->loop().now() < deadline)
            co_await events_->moved.wait_for(1s);
        co_return std::ranges::contains(events_->told, what);
    }

    // Looks again until it holds: a guest notices a change when it comes to it.
    template <class T>
    Task<T> eventually(std::function<Task<T>()> look, T wanted) {
        const Time deadline = bench_->loop().now() + act_limit;
        T seen = co_await look();
        while (seen != wanted && bench_->loop().now() < deadline) {
            co_await sleep_for(bench_->loop(), 200ms);
            seen = co_await look();
        }
        co_return seen;
    }

    Task<std::string> failure(Task<void> body) {
        try {
            co_await std::move(body);
        } catch (const ApiError& error) {
            co_return error.code();
        }
        co_return "";
    }

    std::unique_ptr<Bench> bench_;
    std::unique_ptr<Recorder> events_;
};

}  // namespace basalt::hv::contract
