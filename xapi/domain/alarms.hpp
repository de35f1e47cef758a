#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "xapi/core/core.hpp"
#include "xapi/domain/perfmon.hpp"

namespace basalt::domain {

/// Looks once a minute at the figures of what has alarms configured (perfmon in other_config) and
/// posts the messages ALARM; one that was told is quiet for its while, over restarts too.
class Alarms {
  public:
    explicit Alarms(core::Core& core) : core_(core) {}

    /// Until it is cancelled.
    Task<void> run_forever();

  private:
    /// Of one host, VM or storage repository.
    struct Watched {
        FigureOwner owner;
        xenapi::Cls cls{};
        std::vector<perfmon::Variable> variables;
    };

    Task<void> find_configured();
    template <class R>
    Task<void> find_configured(std::set<Uuid>& refs, db::Generation since);
    [[nodiscard]] std::vector<Watched> watched() const;
    [[nodiscard]] std::optional<Watched> of_host(const Uuid& ref) const;
    [[nodiscard]] std::optional<Watched> of_vm(const Uuid& ref) const;
    [[nodiscard]] std::optional<Watched> of_sr(const Uuid& ref) const;
    Task<void> look_at(Watched watched);
    void tell(const Watched& watched, const perfmon::Variable& variable, double figure);
    [[nodiscard]] std::int64_t told_at(const std::string& uuid, const std::string& variable);

    core::Core& core_;
    db::Generation looked_ = 0;
    std::set<Uuid> hosts_, vms_, srs_;  // with alarms, as last looked
    std::map<std::pair<std::string, std::string>, std::int64_t> told_;  // uuid, variable -> when
};

}  // namespace basalt::domain
