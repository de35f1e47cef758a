#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/api/state_keeper.hpp"

namespace basalt::hv::qemu {

/// The files in which QEMU and the TPM emulator keep what machines remember: `VM.fd`, `VM.tpm`, and
/// beside each, in `.told`, what the records have of it. Root's; guests' users get them one by one.
/// All calls block. Throws INTERNAL_ERROR.
class StateFiles {
  public:
    /// `fresh_variables`: what the firmware's variables are at first.
    StateFiles(std::string folder, std::string fresh_variables)
        : folder_(std::move(folder)), fresh_variables_(std::move(fresh_variables)) {}

    [[nodiscard]] std::string path(const std::string& vm, agent::StateKind kind) const;
    /// The file is there afterwards, for a machine that starts.
    void prepare(const std::string& vm, agent::StateKind kind) const;

    [[nodiscard]] KeptBytes read(const std::string& vm, agent::StateKind kind) const;
    void write(const std::string& vm, agent::StateKind kind, const KeptBytes& state) const;
    void note_told(const std::string& vm, agent::StateKind kind, const std::string& digest,
                   const std::string& tag) const;
    [[nodiscard]] std::vector<agent::StateRef> changed() const;
    void remove(const std::string& vm) const;

    /// Another one after each write, for who looks whether there was one; 0: no file.
    [[nodiscard]] std::int64_t version(const std::string& vm, agent::StateKind kind) const;

  private:
    struct Told {
        std::string digest;
        std::string tag;
    };

    [[nodiscard]] Told told(const std::string& path) const;

    std::string folder_;
    std::string fresh_variables_;
};

}  // namespace basalt::hv::qemu
