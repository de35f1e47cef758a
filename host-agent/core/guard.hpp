#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

/// hostd is root and xapi is not: whatever xapi asks for is looked at here first, as if it came
/// from somebody who has taken xapi over. Names become paths, command lines and database rows, so
/// each must be of its kind; a kernel lies where kernels lie. What only a backend can know (is
/// there such a disk?) it checks itself.
namespace basalt::agent {

class Guard {
  public:
    /// Direct-boot kernels and ramdisks are taken from this folder and those below it.
    explicit Guard(std::filesystem::path boot_folder) : boot_folder_(std::move(boot_folder)) {}

    /// Throws what a client of the call would expect: UUID_INVALID, INVALID_VALUE, INVALID_DEVICE,
    /// MAC_INVALID, VLAN_TAG_INVALID, INVALID_IP_ADDRESS_SPECIFIED, XENAPI_MISSING_PLUGIN,
    /// SR_UNKNOWN_DRIVER, BRIDGE_NOT_AVAILABLE, SESSION_AUTHENTICATION_FAILED; INTERNAL_ERROR for
    /// arguments of another shape. Reads the boot folder, nothing else.
    void check(const std::string& verb, const nlohmann::json& args) const;

  private:
    std::filesystem::path boot_folder_;
};

}  // namespace basalt::agent
