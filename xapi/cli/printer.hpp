#pragma once
#include <string>
#include <utility>
#include <vector>

#include "xapi/cli/terminal.hpp"

namespace basalt::cli {

/// A record as it is shown: labels with values.
using Lines = std::vector<std::pair<std::string, std::string>>;

/// A record's text: labels in a column, the first to the left, the others to the right.
[[nodiscard]] std::string record_text(const Lines& lines);
/// Items joined by commas, for scripts; commas and backslashes within them are escaped.
[[nodiscard]] std::string minimal_text(const std::vector<std::string>& items);

/// What a command prints, in the normal form or the minimal one.
class Printer {
  public:
    Printer(Terminal& terminal, bool minimal) : terminal_(terminal), minimal_(minimal) {}

    Task<void> records(std::vector<Lines> all);
    Task<void> items(std::vector<std::string> all);
    Task<void> item(std::string one);
    /// The minimal form is printed at the end, once.
    Task<void> finish();

  private:
    Task<void> print_all(std::vector<std::string> texts);

    Terminal& terminal_;
    bool minimal_;
    std::vector<std::vector<std::string>> batches_;
};

}  // namespace basalt::cli
