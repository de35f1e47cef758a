#pragma once
#include <optional>
#include <string>
#include <vector>

#include "base/real_loop.hpp"
#include "base/subprocess.hpp"
#include "base/undo.hpp"
#include "base/wait.hpp"
#include "host-agent/core/machine.hpp"
#include "host-agent/services/pci.hpp"
#include "host-agent/services/usb.hpp"

namespace basalt::agent {

/// The settings of a machine as files under /etc, and what they say of it, on the calling thread.
/// Each writer answers what was there before, for its undo; nothing: no file.
namespace settings {

/// The reason why a text cannot be a host's name (RFC 1123), or nothing.
std::optional<std::string> why_no_hostname(const std::string& name);
/// Whether a text names a host: a name, or an address.
bool is_server(const std::string& text);
/// Zones of the database in `folder`, sorted; without its copies under posix/ and right/.
std::vector<std::string> timezones(const std::string& folder);

/// Whether a text is a limit of idle states: empty, `C`, or `C,S` with a sub-state.
bool is_cstate(const std::string& text);

/// The lines of chrony that ask these servers, one a line.
std::string ntp_sources(const NtpWant& want);
/// The lines of rsyslog that send everything to `destination`, `HOST` or `HOST:PORT`.
std::string syslog_rule(const std::string& destination);
/// What a login shell reads to end after idle seconds.
std::string console_timeout(std::int64_t seconds);
/// `name -> state` from what `chronyc -c sources` prints.
std::map<std::string, std::string> sources_of(const std::string& chronyc);

}  // namespace settings

/// Records of the kernel's ring buffer (/dev/kmsg), one call's worth.
struct KernelLog {
    std::string text;        // `[ seconds] message` a line
    std::uint64_t next = 0;  // the number of the record after the last
};

/// Records from number `first` on. Throws std::system_error. Blocks shortly.
KernelLog read_kernel_log(std::uint64_t first);

/// A machine by its files under /etc and one program that tells its services (host-control), so
/// that whoever keeps the machine decides what that means: systemd, or the runner of a
/// developer's host. Loop only.
class RealMachine final : public Machine {
  public:
    struct Config {
        std::string etc = "/etc";
        std::string zones = "/usr/share/zoneinfo";
        /// The program's command line, to which words are appended. Exit 3: nobody can do it here.
        std::vector<std::string> control;
        UsbFolders usb = {};
        PciFolders pci = {};
    };

    RealMachine(RealLoop& loop, Config config);

    Task<void> power(PowerAct act) override;
    Task<void> change(HostChange change) override;
    Task<HostClock> clock() override;
    Task<void> debug_keys(std::string keys) override;
    Task<std::vector<std::string>> timezones() override;
    Task<std::string> log(HostLog which, bool clear) override;
    Task<UniqueFd> bundle(std::vector<std::string> entries, std::string format) override;
    Task<std::vector<UsbFacts>> usb_devices() override;
    Task<std::string> usb_node(UsbSpec spec) override;
    Task<std::vector<PciFacts>> pci_devices() override;
    Task<PciHiding> pci_hiding() override;
    Task<PciHiding> pci_hide(std::string address, bool hidden) override;
    Task<std::string> pci_functions(std::string address, bool enabled) override;
    Task<Account> account(std::string who) override;

    /// What was set here before stands against what the installation says: empty for nothing.
    [[nodiscard]] std::string hostname() const;
    [[nodiscard]] std::string iscsi_iqn() const;

  private:
    using Words = std::vector<std::string>;

    Task<Output> ask(Words asked, Duration limit);
    Task<void> tell(Words told);
    /// Replaces the file (empty text: removes it), tells the services by `told`; its undo is
    /// pushed before.
    Task<void> set_file(Undo& undo, std::string file, std::string text, Words told);
    Task<void> set_zone(Undo& undo, std::string zone);
    Task<void> check(const HostChange& change);
    Task<void> carry_out(Undo& undo, const HostChange& change);

    RealLoop& loop_;
    Config config_;
    ObjectQueue queue_;
    std::uint64_t kernel_log_first_ = 0;
};

}  // namespace basalt::agent
