#pragma once
#include <string>

#include "idl/api/vtpm_api.hpp"
#include "idl/records/vm.hpp"
#include "idl/records/vtpm.hpp"
#include "xapi/core/core.hpp"
#include "xapi/domain/kept_states.hpp"

namespace basalt::domain {

/// Whether it can be the contents of a TPM: base64 of what the emulator keeps, empty for one that
/// was never used.
[[nodiscard]] bool is_vtpm_contents(const std::string& text);

[[nodiscard]] std::string vtpm_contents(const db::Database& db, xenapi::Ref<xenapi::Vtpm> vtpm);
[[nodiscard]] std::string vtpm_contents(const db::Txn& txn, xenapi::Ref<xenapi::Vtpm> vtpm);
void set_vtpm_contents(db::Txn& txn, xenapi::Ref<xenapi::Vtpm> vtpm, std::string contents);

/// `settings` names the VM and says what kind of module it is.
xenapi::Ref<xenapi::Vtpm> add_vtpm(db::Txn& txn, xenapi::Vtpm settings, std::string contents);
/// The modules' likes in `target`; a unique one's contents stay the source's alone.
void copy_vtpms(db::Txn& txn, const xenapi::Vm& source, xenapi::Ref<xenapi::Vm> target);
/// Instead of the VM's modules, the likes of those of its snapshot.
void revert_vtpms(db::Txn& txn, const xenapi::Vm& snapshot, xenapi::Ref<xenapi::Vm> vm);
/// With their contents.
void erase_vtpms(db::Txn& txn, const xenapi::Vm& vm);

class VtpmDomain final : public xenapi::VtpmApi {
  public:
    VtpmDomain(core::Core& core, KeptStates& states) : core_(core), states_(states) {}

    Task<xenapi::Ref<xenapi::Vtpm>> create(Call& call, xenapi::VtpmCreate params) override;
    Task<void> destroy(Call& call, xenapi::VtpmDestroy params) override;
    Task<std::string> get_contents(Call& call, xenapi::VtpmGetContents params) override;
    /// A guest that runs keeps its own until it starts again.
    Task<void> set_contents(Call& call, xenapi::VtpmSetContents params) override;

  private:
    core::Core& core_;
    KeptStates& states_;
};

}  // namespace basalt::domain
