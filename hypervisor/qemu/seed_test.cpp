// The drive that cloud-init reads, read back by the tools that made it.
#include "hypervisor/qemu/seed.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.hpp"
#include "base/subprocess.hpp"

namespace basalt::hv::qemu {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Seed : public testing::Test {
  protected:
    void SetUp() override {
        if (!std::filesystem::exists("/usr/bin/mformat")) GTEST_SKIP() << "no mtools here";
    }

    void TearDown() override { std::filesystem::remove(path); }

    void run(std::function<Task<void>()> body) {
        const auto job =
            spawn(loop, "test", [](RealLoop& l, std::function<Task<void>()> b) -> Task<void> {
                std::exception_ptr failure;
                try {
                    co_await b();
                } catch (const std::exception&) {
                    failure = std::current_exception();
                }
                l.stop();
                if (failure) std::rethrow_exception(failure);
            }(loop, std::move(body)));
        loop.context().restart();
        loop.run();
        if (job->failure()) std::rethrow_exception(job->failure());
    }

    Task<std::string> said(std::vector<std::string> argv) {
        const Command command{.argv = std::move(argv), .env = {"MTOOLS_SKIP_CHECK=1"}};
        const Output output = co_await run_command(loop, command, 10s);
        EXPECT_EQ(output.status, 0) << output.err;
        co_return output.out;
    }

    RealLoop loop{1};
    const std::string path = testing::TempDir() + "seed-" + std::to_string(getpid());
};

TEST_F(Seed, has_its_label_its_names_and_every_byte) {
    run([this]() -> Task<void> {
        agent::SeedDrive seed;
        seed.label = "cidata";
        std::string large;
        for (int i = 0; i < 40000; ++i)
            large += std::to_string(i) + "\n";
        seed.files = {{"meta-data", "instance-id: 7\n"},
                      {"user-data", large},
                      {"network-config", ""},
                      {"vendor-data", std::string("a\0\r\n\xff", 5)}};
        co_await make_seed(loop, path, seed);
        EXPECT_EQ(std::filesystem::file_size(path), static_cast<std::uintmax_t>(seed_bytes));
        std::vector<std::string> list = {"mdir", "-b", "-i", path, "::"};
        const std::string names = co_await said(std::move(list));
        for (const auto& [name, text] : seed.files) {
            EXPECT_THAT(names, HasSubstr("::/" + name + "\n"));
            std::vector<std::string> type = {"mtype", "-i", path, "::" + name};
            EXPECT_EQ(co_await said(std::move(type)), text) << name;
        }
        std::ifstream in(path, std::ios::binary);
        std::string sector(512, '\0');
        in.read(sector.data(), 512);
        // Where NoCloud looks: the label in the first sector.
        EXPECT_THAT(sector.substr(43), StartsWith("cidata     FAT"));

        // What was there before is gone.
        seed.files = {{"user-data", "new"}};
        co_await make_seed(loop, path, seed);
        std::vector<std::string> again = {"mdir", "-b", "-i", path, "::"};
        EXPECT_EQ(co_await said(std::move(again)), "::/user-data\n");
    });
}

TEST_F(Seed, takes_names_of_files_only) {
    run([this]() -> Task<void> {
        for (const char* name : {"", "-i", "..", "a/b", "::x", "a b"}) {
            agent::SeedDrive seed;
            seed.label = "cidata";
            seed.files = {{name, "x"}};
            std::string code;
            try {
                co_await make_seed(loop, path, seed);
            } catch (const ApiError& error) {
                code = error.code();
            }
            EXPECT_EQ(code, "INVALID_VALUE") << name;
        }
    });
}

}  // namespace
}  // namespace basalt::hv::qemu
