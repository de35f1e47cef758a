// Locked ports of Open vSwitch: what a guest sends with a false name does not leave its port. The
// guest is this test, which writes frames into the tap; a neighbour on the wire answers, or never
// hears of it.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstring>

#include "base/fd.hpp"
#include "network-manager/contract/ovs_rig.hpp"
#include "network-manager/linux/links.hpp"
#include "network-manager/ovsdb/locks.hpp"

namespace basalt::nm {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* vif = "6c5e3b2e-0000-4000-8000-000000000001";
constexpr const char* own_mac = "02:00:00:00:00:aa";
constexpr const char* false_mac = "02:00:00:00:00:ab";

std::string bytes_of(const std::string& mac) {
    std::string out;
    for (std::size_t at = 0; at + 2 <= mac.size(); at += 3) {
        int byte = 0;
        std::from_chars(mac.data() + at, mac.data() + at + 2, byte, 16);
        out += static_cast<char>(byte);
    }
    return out;
}

std::string address_bytes(const std::string& text) {
    const bool six = text.contains(':');
    std::string out(six ? 16 : 4, '\0');
    EXPECT_EQ(::inet_pton(six ? AF_INET6 : AF_INET, text.c_str(), out.data()), 1);
    return out;
}

std::string checksum(std::string text) {
    if (text.size() % 2 != 0) text += '\0';
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < text.size(); i += 2)
        sum += static_cast<std::uint32_t>((static_cast<unsigned char>(text[i]) << 8U) |
                                          static_cast<unsigned char>(text[i + 1]));
    while (sum > 0xffff)
        sum = (sum & 0xffffU) + (sum >> 16U);
    sum = ~sum & 0xffffU;
    return {static_cast<char>(sum >> 8U), static_cast<char>(sum & 0xffU)};
}

// What the guest says it is.
struct Claim {
    std::string mac = own_mac;
    std::string address;
};

class LockedPort : public testing::Test {
  protected:
    void SetUp() override {
        const std::string why_not = OvsRig::why_not();
        if (!why_not.empty()) GTEST_SKIP() << why_not;
        rig_ = std::make_unique<OvsRig>();
        neighbour_ = std::make_unique<Neighbour>(rig_->loop(), "wire0", "10.77.0.2/24");
        neighbour_->run("ip addr add fd77::2/64 dev eth0 nodad");
        neighbour_mac_ = "02:00:00:00:00:77";
        neighbour_->run("ip link set eth0 address " + neighbour_mac_);
        // It answers to whoever calls itself so, without asking.
        for (const char* one : {"10.77.0.7", "10.77.0.8", "fd77::7", "fd77::8"})
            neighbour_->run(std::string("ip neigh replace ") + one + " dev eth0 lladdr " + own_mac);
        const agent::NetworkWant want{.bridges = {{.name = "xenbr0", .uplink = "eth0"}}};
        rig_->run([want](Network& network) -> Task<void> { co_await network.apply(want); });
    }

    void plug(agent::NicSpec nic) {
        nic.vif = vif;
        nic.mac = own_mac;
        const PortWant want{.bridge = "xenbr0", .name = "vif1.0", .nic = nic};
        rig_->run([want](Network& network) -> Task<void> { co_await network.add_port(want); });
        tap_ = UniqueFd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
        ifreq request{};
        std::strcpy(request.ifr_name, "vif1.0");
        request.ifr_flags = IFF_TAP | IFF_NO_PI;
        ASSERT_EQ(::ioctl(tap_.get(), TUNSETIFF, &request), 0);
    }

    void plug_locked() { plug({.locked = true, .ipv4 = {"10.77.0.7"}, .ipv6 = {"fd77::7"}}); }

    bool asks_for_the_neighbour(const Claim& claim) {
        const std::string request = bytes_of("ff:ff:ff:ff:ff:ff") + bytes_of(own_mac) +
                                    std::string("\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01", 10) +
                                    bytes_of(claim.mac) + address_bytes(claim.address) +
                                    std::string(6, '\0') + address_bytes("10.77.0.2");
        // An answer: ARP, operation 2, to the address that asked.
        return answered(request, std::string("\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02", 10));
    }

    bool pings(const Claim& claim) {
        const bool six = claim.address.contains(':');
        return answered(six ? ping_six(claim) : ping_four(claim),
                        six ? std::string("\x86\xdd") : std::string("\x08\x00\x45", 3));
    }

    [[nodiscard]] OvsRig& rig() { return *rig_; }

    [[nodiscard]] Neighbour& neighbour() { return *neighbour_; }

  private:
    [[nodiscard]] std::string head(const Claim& claim) const {
        return bytes_of(neighbour_mac_) + bytes_of(claim.mac);
    }

    [[nodiscard]] std::string ping_four(const Claim& claim) const {
        std::string echo = std::string("\x08\x00\x00\x00\x00\x01\x00\x01", 8) + "basalt";
        echo.replace(2, 2, checksum(echo));
        std::string ip = std::string("\x45\x00\x00\x22\x00\x00\x00\x00\x40\x01\x00\x00", 12) +
                         address_bytes(claim.address) + address_bytes("10.77.0.2");
        ip.replace(10, 2, checksum(ip));
        return head(claim) + std::string("\x08\x00", 2) + ip + echo;
    }

    [[nodiscard]] std::string ping_six(const Claim& claim) const {
        std::string echo = std::string("\x80\x00\x00\x00\x00\x01\x00\x01", 8) + "basalt";
        const std::string both = address_bytes(claim.address) + address_bytes("fd77::2");
        echo.replace(2, 2,
                     checksum(both + std::string("\x00\x00\x00\x0e\x00\x00\x00\x3a", 8) + echo));
        return head(claim) + std::string("\x86\xdd\x60\x00\x00\x00\x00\x0e\x3a\x40", 10) + both +
               echo;
    }

    // Sends the frame, three times at most as the switch may still learn; an answer begins, after
    // the two stations, with `kind`, and comes from the neighbour to us.
    bool answered(const std::string& frame, const std::string& kind) {
        const std::string from_neighbour = bytes_of(own_mac) + bytes_of(neighbour_mac_) + kind;
        for (int attempt = 0; attempt < 3; ++attempt) {
            if (::write(tap_.get(), frame.data(), frame.size()) < 0) return false;
            const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
            while (std::chrono::steady_clock::now() < deadline) {
                pollfd waiting{tap_.get(), POLLIN, 0};
                ::poll(&waiting, 1, 20);
                std::array<char, 2048> buffer{};
                const ssize_t got = ::read(tap_.get(), buffer.data(), buffer.size());
                if (got <= 0) continue;
                const std::string said(buffer.data(), static_cast<std::size_t>(got));
                if (said.starts_with(from_neighbour)) return true;
            }
        }
        return false;
    }

    std::unique_ptr<OvsRig> rig_;
    std::unique_ptr<Neighbour> neighbour_;
    std::string neighbour_mac_;
    UniqueFd tap_;
};

TEST_F(LockedPort, an_open_one_may_claim_anything) {
    plug({});
    EXPECT_TRUE(asks_for_the_neighbour({.address = "10.77.0.8"}));
    EXPECT_TRUE(pings({.address = "10.77.0.7"}));
    EXPECT_TRUE(pings({.address = "10.77.0.8"}));
    EXPECT_TRUE(pings({.address = "fd77::8"}));
}

TEST_F(LockedPort, a_locked_one_only_what_is_its_own) {
    plug_locked();
    EXPECT_TRUE(asks_for_the_neighbour({.address = "10.77.0.7"}));
    EXPECT_TRUE(pings({.address = "10.77.0.7"}));
    EXPECT_TRUE(pings({.address = "fd77::7"}));
    EXPECT_FALSE(asks_for_the_neighbour({.address = "10.77.0.8"}));
    EXPECT_FALSE(asks_for_the_neighbour({.mac = false_mac, .address = "10.77.0.7"}));
    EXPECT_FALSE(pings({.address = "10.77.0.8"}));
    EXPECT_FALSE(pings({.address = "fd77::8"}));
    EXPECT_FALSE(pings({.mac = false_mac, .address = "10.77.0.7"}));
}

TEST_F(LockedPort, without_addresses_it_is_silent) {
    plug({.locked = true});
    EXPECT_FALSE(asks_for_the_neighbour({.address = "10.77.0.7"}));
    EXPECT_FALSE(pings({.address = "10.77.0.7"}));
    EXPECT_FALSE(pings({.address = "fd77::7"}));
}

TEST_F(LockedPort, a_disabled_one_carries_nothing) {
    plug({.ipv4 = {"10.77.0.7"}, .disabled = true});
    EXPECT_FALSE(asks_for_the_neighbour({.address = "10.77.0.7"}));
    // Whoever puts the interface up again has still no rules.
    rig().shell("ip link set vif1.0 up");
    EXPECT_FALSE(asks_for_the_neighbour({.address = "10.77.0.7"}));
}

TEST_F(LockedPort, stays_locked_when_vswitchd_was_killed) {
    plug_locked();
    ASSERT_TRUE(pings({.address = "10.77.0.7"}));
    rig().stop_switch(SIGKILL);
    rig().start_switch();
    rig().run([this](Network&) -> Task<void> {
        for (int i = 0; i < 200; ++i) {
            const std::string rules = rig().shell("ovs-ofctl -O OpenFlow14 dump-flows xenbr0");
            if (rules.contains("nw_src=10.77.0.7")) co_return;
            co_await sleep_for(rig().loop(), 50ms);
        }
        ADD_FAILURE() << "the rules did not come back";
    });
    EXPECT_FALSE(pings({.address = "10.77.0.8"}));
    EXPECT_FALSE(asks_for_the_neighbour({.address = "10.77.0.8"}));
    EXPECT_TRUE(pings({.address = "10.77.0.7"}));
}

TEST_F(LockedPort, leaves_no_rule_behind_and_may_be_opened) {
    plug_locked();
    EXPECT_THAT(rig().shell("ovs-ofctl dump-flows xenbr0"), HasSubstr("nw_src=10.77.0.7"));
    plug({});
    EXPECT_TRUE(pings({.address = "10.77.0.8"}));
    plug_locked();
    // What the datapath has cached of an open port it looks at again within a second.
    for (int i = 0; i < 10 && pings({.address = "10.77.0.8"}); ++i) {
    }
    EXPECT_FALSE(pings({.address = "10.77.0.8"}));
    plug({.disabled = true});
    EXPECT_FALSE(links::find("vif1.0")->up);
    EXPECT_FALSE(pings({.address = "10.77.0.7"}));
    plug({});
    EXPECT_TRUE(pings({.address = "10.77.0.8"}));
    plug_locked();
    rig().run([](Network& network) -> Task<void> { co_await network.remove_port("vif1.0"); });
    EXPECT_THAT(rig().shell("ovs-ofctl dump-flows xenbr0"), Not(HasSubstr("in_port")));
}

TEST(Lock, is_kept_as_text) {
    const ovsdb::Lock lock{own_mac, {"192.0.2.1"}, {"fd77::7"}};
    EXPECT_EQ(ovsdb::lock_from(ovsdb::to_text(lock)), lock);
    EXPECT_FALSE(ovsdb::lock_from("").has_value());
    EXPECT_FALSE(ovsdb::lock_from("{}").has_value());
    EXPECT_FALSE(ovsdb::lock_of({.mac = own_mac}).has_value());
    EXPECT_EQ(ovsdb::lock_of({.mac = own_mac, .ipv4 = {"192.0.2.1"}, .disabled = true}),
              (ovsdb::Lock{own_mac, {}, {}}));
}

}  // namespace
}  // namespace basalt::nm
