// USB devices of the host, given to guests of QEMU. No bus is needed for this: of a file that is no
// device libusb finds out with its last question, so QEMU had all that it needs within its cell.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "hypervisor/api/usb_passthrough.hpp"
#include "hypervisor/contract/qemu_test.hpp"

namespace basalt::hv::contract {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* no_device = "failed to open host usb device";

class UsbContract : public QemuTest {
  protected:
    static UsbAttachment attachment(const std::string& node) {
        return {.spec = {"5c0ffee0-0000-4000-8000-000000000001", "1-2", "0781", "5591"},
                .node = node};
    }

    Task<std::string> plugging(DomId dom, std::string node) {
        auto& usb = dynamic_cast<UsbPassthrough&>(hv());
        try {
            co_await usb.plug_usb(dom, attachment(node));
        } catch (const ApiError& error) {
            co_return error.what();
        }
        co_return "plugged";
    }

    Task<std::string> making(DomainConfig config) {
        try {
            co_await hv().create(std::move(config), {});
        } catch (const ApiError& error) {
            co_return error.what();
        }
        co_return "made";
    }
};

TEST_F(UsbContract, a_file_that_is_no_device_is_refused_and_the_guest_lives) {
    bench_->run([this]() -> Task<void> {
        DomainConfig graphical = bench_->config();
        graphical.spec.boot = {.kind = agent::BootKind::firmware};
        const DomId dom = co_await hv().create(graphical, {});
        EXPECT_THAT(co_await plugging(dom, "/dev/null"), HasSubstr(no_device));
        EXPECT_THAT(co_await plugging(dom, "/dev/bus/usb/999/999"), HasSubstr("No such file"));
        EXPECT_THAT(hv().domains().front().plugged_usbs, IsEmpty());
        auto& usb = dynamic_cast<UsbPassthrough&>(hv());
        co_await usb.unplug_usb(dom, attachment("").spec.vusb);
        co_await hv().set_running(dom, true);
        co_await hv().destroy(dom);

        const DomId bare = co_await hv().create(bench_->config(), {});
        EXPECT_THAT(co_await plugging(bare, "/dev/null"), HasSubstr("OPERATION_NOT_ALLOWED"));
        co_await hv().destroy(bare);

        DomainConfig with_device = bench_->config();
        with_device.usbs = {attachment("/dev/null")};
        EXPECT_THAT(co_await making(with_device), HasSubstr(no_device));
        EXPECT_THAT(hv().domains(), IsEmpty());
    });
}

}  // namespace
}  // namespace basalt::hv::contract
