#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "host-agent/local/records.hpp"
#include "host-agent/plan/plan.hpp"

namespace basalt::agent {

enum class Phase : std::uint8_t { doing, undoing, done, failed };

/// One operation: what was asked, how far it came, how it ended.
struct Entry {
    std::string id;
    std::string verb;
    nlohmann::json args;
    std::int64_t term = 0;
    bool keep = true;  // its result is kept until acknowledged
    plan::Plan plan;
    Phase phase = Phase::doing;
    std::size_t step = 0;  // being done, or the highest that is to be undone
    nlohmann::json result;
    std::vector<std::string> error;  // code and parameters; what stopped the plan while undoing
};

/// An act that must still succeed once: an undo or a clean-up that failed, or came after one that
/// did. Those of one operation are done in the order of their ids.
struct Leftover {
    std::string id;
    std::string operation;
    plan::Act act;
    std::string error;
};

/// The durable record of operations: id, arguments and plan before the first act, the step before
/// each act, the result after the last. Kept in `Records`, in rooms of its own.
class Journal {
  public:
    explicit Journal(Records& records) : records_(records) {}

    [[nodiscard]] std::optional<Entry> find(const std::string& id) const;
    [[nodiscard]] std::vector<Entry> under_way() const;
    /// Those that ended and are not acknowledged.
    [[nodiscard]] std::vector<Entry> kept() const;
    [[nodiscard]] std::vector<Leftover> leftovers() const;
    /// The VMs of which a domain is among them.
    [[nodiscard]] std::set<std::string> left_over_domains() const;

    Task<void> begin(Entry entry);
    /// `step` is about to be done, or (undoing) `step` and all before it are about to be undone
    /// because of `error`.
    Task<void> reach(std::string id, Phase phase, std::size_t step,
                     std::vector<std::string> error = {});
    /// Ends an operation; one that is not kept is erased.
    Task<void> finish(Entry entry);
    /// Drops kept results; what is under way or unknown is ignored.
    Task<void> acknowledge(std::vector<std::string> ids);

    Task<void> add_leftovers(std::vector<Leftover> leftovers);
    Task<void> drop_leftover(std::string id);

  private:
    Records& records_;
};

/// An ApiError as the words that are kept, and back; a cancellation is the word "cancelled".
std::vector<std::string> error_words(const std::exception_ptr& failure);
[[noreturn]] void throw_words(const std::vector<std::string>& words);

}  // namespace basalt::agent
