#pragma once
#include <map>
#include <string>

#include "xapi/domain/efi_variables.hpp"

namespace basalt::domain {

/// The lists of signatures by which a firmware decides what it starts, by name: PK (who may change
/// KEK), KEK (who may change the others), db (what may start), dbx (what may not).
using SecureBootKeys = std::map<std::string, EfiVariable>;

/// What keys are worth to a guest.
enum class KeysWorth {
    none,        ///< no PK: whoever starts first may put in keys of his own
    incomplete,  ///< no KEK or no db
    no_dbx,      ///< all, but nothing is revoked
    full,
};

/// Reads what pool.set_custom_uefi_certificates takes: a tar archive in base64 (its files may be
/// compressed as a whole) with PK.auth, KEK.auth, db.auth and maybe dbx.auth, each as
/// SetVariable() of UEFI takes it (EFI_VARIABLE_AUTHENTICATION_2 before the lists). Other files
/// are passed over. The signatures are not checked: who may set them is asked elsewhere. Throws
/// INVALID_VALUE [custom_uefi_certificates, reason]. Works on up to 300 KiB.
SecureBootKeys parse_key_archive(const std::string& base64_text);

/// Those among the variables of a firmware.
SecureBootKeys keys_of(const EfiVariables& variables);

/// Puts them in the place of those that are there; names that `keys` lacks stay as they are.
void enrol(EfiVariables& variables, const SecureBootKeys& keys);

KeysWorth worth_of(const SecureBootKeys& keys);

}  // namespace basalt::domain
