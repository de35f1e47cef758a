#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace basalt::domain {

/// 16 bytes as they lie in memory: the first three groups of digits in little-endian order.
using EfiGuid = std::string;

/// Whose the variables PK and KEK are, and those of booting.
extern const EfiGuid efi_global_guid;
/// Whose db and dbx are.
extern const EfiGuid efi_image_security_guid;

/// A variable of a UEFI firmware (UEFI 2.10, 8.2).
struct EfiVariable {
    std::string name;  ///< UTF-16 in little-endian order, without the zero at its end
    EfiGuid vendor;
    std::uint32_t attributes = 0;
    std::string timestamp = std::string(16, '\0');  ///< an EFI_TIME: when it was signed
    std::string data{};
    std::uint64_t monotonic_count = 0;
    std::uint32_t key_index = 0;
};

/// The name of a variable as the firmware has it, of ASCII.
std::string efi_name(std::string_view ascii);

/// The variables in the flash of a UEFI firmware, as EDK2 lays them out: a firmware volume, in it a
/// store of authenticated variables (MdeModulePkg/Include/Guid/VariableFormat.h). Pure.
class EfiVariables {
  public:
    /// Throws std::invalid_argument for what is no such flash.
    explicit EfiVariables(std::string flash);

    /// Null when there is none. Good until the next change.
    [[nodiscard]] const EfiVariable* find(std::string_view ascii, const EfiGuid& vendor) const;
    /// Adds it, or replaces the one of that name and vendor.
    void set(EfiVariable variable);
    /// Absent is success.
    void remove(std::string_view ascii, const EfiGuid& vendor);

    [[nodiscard]] const std::vector<EfiVariable>& all() const { return variables_; }

    /// The flash with these variables; what lies outside of their store is as it was. Throws
    /// std::length_error when they do not fit.
    [[nodiscard]] std::string flash() const;

  private:
    std::string flash_;
    std::size_t begin_ = 0;  // of the store's variables in the flash
    std::size_t end_ = 0;
    std::vector<EfiVariable> variables_;
};

}  // namespace basalt::domain
