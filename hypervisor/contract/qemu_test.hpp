#pragma once
#include <gtest/gtest.h>

#include <memory>

#include "hypervisor/contract/bench.hpp"

namespace basalt::hv::contract {

/// What tests of what QEMU alone offers stand on: a backend that has adopted, without domains.
/// Skips where it cannot run.
class QemuTest : public testing::Test {
  protected:
    void SetUp() override {
        bench_ = make_qemu_bench();
        if (!bench_) GTEST_SKIP() << "cannot run here";
        events_ = std::make_unique<Recorder>(bench_->loop());
        bench_->run([this]() -> Task<void> { co_await hv().adopt(*events_); });
    }

    void TearDown() override { bench_.reset(); }

    Hypervisor& hv() { return bench_->hv(); }

    std::unique_ptr<Bench> bench_;
    std::unique_ptr<Recorder> events_;
};

}  // namespace basalt::hv::contract
