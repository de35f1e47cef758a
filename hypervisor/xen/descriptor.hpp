#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/api/hypervisor.hpp"

/// What is kept of each domain beside it, so that a later hostd takes it over. All of this blocks:
/// call it off the loop.
namespace basalt::hv::xen {

struct Descriptor {
    DomId dom = 0;
    /// False while `create` is under way: who finds it so undoes it.
    bool complete = false;
    std::string boot_id;
    std::int64_t started_at = 0;  // seconds since 1970
    DomainConfig config;
    bool operator==(const Descriptor&) const = default;
};

/// The descriptors of one host: a file a VM, named by its uuid.
class Descriptors {
  public:
    explicit Descriptors(std::string folder);
    void write(const Descriptor& descriptor) const;
    void remove(const std::string& uuid) const;

    struct Found {
        std::vector<Descriptor> all;
        std::vector<std::string> broken;  // uuids
    };

    [[nodiscard]] Found read() const;

  private:
    std::string folder_;
};

}  // namespace basalt::hv::xen
