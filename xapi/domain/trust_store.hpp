#pragma once
#include <string>
#include <vector>

#include "xapi/core/core.hpp"

namespace basalt::domain {

/// By which certificates clients come in without a password: of this name, signed by one of these.
struct ClientTrust {
    std::string name;
    std::vector<std::string> certificates;  ///< PEM texts
    std::vector<std::string> revocations;   ///< PEM texts
};

/// Certificates and revocation lists that the pool trusts, as files beside the store. What there
/// is of certificates, the records say (class Certificate); lists have no records. Loop only.
class TrustStore {
  public:
    enum class Kind : std::uint8_t { certificate, crl };

    explicit TrustStore(core::Core& core) : core_(core) {}

    /// In one step; replaces one of the same name. `name` names a file.
    Task<void> write(Kind kind, std::string name, std::string pem);
    /// Answers whether there was one.
    Task<bool> remove(Kind kind, std::string name);
    Task<bool> has(Kind kind, std::string name);
    /// Sorted.
    Task<std::vector<std::string>> names(Kind kind);
    /// What those of these names say; one that is not there is left out.
    Task<std::vector<std::string>> texts(Kind kind, std::vector<std::string> names);

  private:
    [[nodiscard]] std::string folder(Kind kind) const;

    core::Core& core_;
};

}  // namespace basalt::domain
