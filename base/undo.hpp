#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/wait.hpp"

namespace basalt {

/// What would take back the steps done so far, newest first. A destructor cannot suspend, so this
/// is a named object: `with_undo` runs it when the body throws.
class Undo {
  public:
    using Step = std::function<Task<void>()>;

    void push(std::string name, Step step) { steps_.push_back({std::move(name), std::move(step)}); }

    /// Runs all steps; one that fails is logged and reported in the answer, the rest still run.
    Task<std::vector<std::string>> run();

    void clear() { steps_.clear(); }

  private:
    struct Entry {
        std::string name;
        Step step;
    };

    std::vector<Entry> steps_;
};

/// Runs `body(undo)`; if it throws, undoes in a coroutine of its own that no cancel reaches, then
/// rethrows.
Task<void> with_undo(std::function<Task<void>(Undo&)> body);

}  // namespace basalt
