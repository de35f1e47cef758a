#pragma once
// For tests of stores: they run on the real loop, the SQLite store's threads need it.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "base/real_loop.hpp"
#include "base/wait.hpp"
#include "xapi/db/store/store.hpp"

namespace basalt::db {

/// Runs a coroutine on the loop to its end; throws what it threw.
inline void run_real(RealLoop& loop, Task<void> body) {
    struct End {
        bool reached = false;
        std::exception_ptr failure;
    };

    End end;
    const auto note_end = [](RealLoop& l, Task<void> inner, End& out) -> Task<void> {
        try {
            co_await std::move(inner);
        } catch (...) {
            out.failure = std::current_exception();
        }
        out.reached = true;
        l.stop();
    };
    const auto job = spawn(loop, "test", note_end(loop, std::move(body), end));
    loop.run();
    EXPECT_TRUE(end.reached);
    if (end.failure) std::rethrow_exception(end.failure);
}

/// A folder of its own, gone afterwards.
class TemporaryFolder {
  public:
    TemporaryFolder() {
        std::string name = std::filesystem::temp_directory_path() / "basalt-db-XXXXXX";
        path_ = ::mkdtemp(name.data());
    }

    ~TemporaryFolder() { std::filesystem::remove_all(path_); }

    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    [[nodiscard]] std::string file(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

/// Remembers what a store said.
class Recorder : public StoreListener {
  public:
    explicit Recorder(Loop& loop) : heard_(loop) {}

    void stored(std::uint64_t generation) override {
        EXPECT_GT(generation, stored_until);
        stored_until = generation;
        heard_.notify_all();
    }

    void reserved(std::uint64_t generation) override {
        reserved_until = generation;
        heard_.notify_all();
    }

    void failed(std::string reason) override {
        failure = std::move(reason);
        heard_.notify_all();
    }

    /// Until everything up to `generation` is stored, or the store failed.
    Task<void> wait_stored(std::uint64_t generation) {
        while (stored_until < generation && failure.empty())
            co_await heard_.wait();
    }

    Task<void> wait_reserved(std::uint64_t generation) {
        while (reserved_until < generation)
            co_await heard_.wait();
    }

    std::uint64_t stored_until = 0;
    std::uint64_t reserved_until = 0;
    std::string failure;

  private:
    Signal heard_;
};

}  // namespace basalt::db
