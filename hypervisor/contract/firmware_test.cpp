// What UEFI keeps for a VM, seen from the shell inside the firmware. Only for hypervisors whose
// guests have a firmware.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.hpp"
#include "hypervisor/contract/qemu_test.hpp"

namespace basalt::hv::contract {
namespace {

constexpr Duration firmware_limit = 240s;
constexpr const char* prompt = "Shell> ";

class UefiContract : public QemuTest {
  protected:
    DomainConfig config() {
        DomainConfig config = bench_->config();
        config.spec.boot = {.kind = agent::BootKind::firmware, .firmware = agent::Firmware::uefi};
        return config;
    }

    // A client of the serial console that has not read anything yet.
    Task<UniqueFd> console(DomId dom) { return hv().open_console(dom, agent::ConsoleKind::serial); }

    Task<std::string> until(const UniqueFd& fd, std::string text) {
        return read_until(bench_->loop(), fd.get(), std::move(text), firmware_limit);
    }

    // What the shell says up to its next prompt.
    Task<std::string> shell(const UniqueFd& fd, std::string line) {
        line += "\r";
        ::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL);
        co_return co_await until(fd, prompt);
    }

    Task<std::string> variable(const UniqueFd& fd, std::string name) {
        return shell(fd, "setvar " + name + " -guid 11111111-2222-3333-4444-555555555555");
    }

    Task<std::string> set_variable(const UniqueFd& fd, std::string name) {
        return shell(fd, "setvar " + name +
                             " -guid 11111111-2222-3333-4444-555555555555 -bs -rt -nv =L\"kept\"");
    }

    Task<DomId> started(DomainConfig made) {
        const DomId dom = co_await hv().create(std::move(made), {});
        co_await hv().set_running(dom, true);
        co_return dom;
    }
};

// UTF-16 of "kept", as the shell prints it.
constexpr const char* kept = "6B 00 65 00 70 00 74 00";

TEST_F(UefiContract, variables_last_over_reboot_suspend_and_restart) {
    const std::string path = testing::TempDir() + "hv-uefi-" + std::to_string(getpid());
    bench_->run([this, path]() -> Task<void> {
        const DomainConfig made = config();
        const DomId dom = co_await started(made);
        UniqueFd fd = co_await console(dom);
        co_await until(fd, prompt);
        EXPECT_EQ((co_await variable(fd, "first")).find(kept), std::string::npos);
        co_await set_variable(fd, "first");
        co_await shell(fd, "reset");
        EXPECT_TRUE(std::ranges::contains(events_->told, "rebooted"));
        EXPECT_NE((co_await variable(fd, "first")).find(kept), std::string::npos);

        UniqueFd sink(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        co_await hv().save(dom, std::move(sink), {});
        co_await hv().destroy(dom);
        UniqueFd source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        const DomId back = co_await hv().restore(made, std::move(source), {});
        co_await hv().set_running(back, true);
        fd = co_await console(back);
        EXPECT_NE((co_await variable(fd, "first")).find(kept), std::string::npos);
        co_await set_variable(fd, "second");
        co_await hv().destroy(back);

        const DomId again = co_await started(made);
        fd = co_await console(again);
        co_await until(fd, prompt);
        EXPECT_NE((co_await variable(fd, "first")).find(kept), std::string::npos);
        EXPECT_NE((co_await variable(fd, "second")).find(kept), std::string::npos);
        co_await hv().destroy(again);

        // Another VM has variables of its own.
        const DomId other = co_await started(config());
        fd = co_await console(other);
        co_await until(fd, prompt);
        EXPECT_EQ((co_await variable(fd, "first")).find(kept), std::string::npos);
        co_await hv().destroy(other);
    });
    ::unlink(path.c_str());
}

TEST_F(UefiContract, secure_boot_refuses_what_nobody_signed) {
    bench_->run([this]() -> Task<void> {
        const auto disk = co_await bench_->unsigned_disk();
        if (!disk) co_return;
        DomainConfig made = config();
        made.disks.push_back(*disk);
        const DomId open = co_await started(made);
        co_await until(co_await console(open), "BdsDxe: starting Boot");
        co_await hv().destroy(open);

        // The same variables: the firmware alone is another.
        made.spec.platform["secureboot"] = "true";
        const DomId secure = co_await started(made);
        const std::string said = co_await until(co_await console(secure), "Access Denied");
        EXPECT_EQ(said.find("BdsDxe: starting Boot"), std::string::npos);
        co_await hv().destroy(secure);
    });
}

}  // namespace
}  // namespace basalt::hv::contract
