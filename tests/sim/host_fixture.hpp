#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "idl/records/host.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"

namespace basalt::testing {

/// What is asked of the host of a simulated pool, which has a folder for the files beside its
/// store.
class HostFixture : public ::testing::Test {
  protected:
    explicit HostFixture(std::uint64_t seed) : pool_(seed) {
        std::string name = "/tmp/basalt-host-XXXXXX";
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        folder_ = name;
        pool_.xapi->core().files = folder_;
    }

    ~HostFixture() override {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }

    std::string code(const std::string& method, std::vector<wire::Value> args = {}) {
        return code_of([&] { pool_.call(method, std::move(args)); });
    }

    [[nodiscard]] xenapi::Ref<xenapi::Host> host() const { return pool_.xapi->core().this_host; }

    SimPool pool_;
    std::string folder_;
};

}  // namespace basalt::testing
