#pragma once
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "idl/runtime/value.hpp"

namespace basalt::cli {

/// A command that cannot be carried out as it was typed; `Error: TEXT` for the user.
class CommandError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// The words make no command.
class SyntaxError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// A parameter that the command needs.
class MissingParameter : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// The parameters of a command, in the order typed; switches are parameters too.
class Params {
  public:
    using Pair = std::pair<std::string, std::string>;

    void add(std::string name, std::string value) {
        pairs_.emplace_back(std::move(name), std::move(value));
    }

    [[nodiscard]] const std::vector<Pair>& all() const { return pairs_; }

    /// Null: not given.
    [[nodiscard]] const std::string* find(std::string_view name) const;

    [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }

    /// Throws MissingParameter.
    [[nodiscard]] const std::string& need(std::string_view name) const;
    [[nodiscard]] std::string get(std::string_view name, std::string_view otherwise = "") const;
    /// Throws CommandError when it is no truth value.
    [[nodiscard]] bool truth(std::string_view name, bool otherwise = false) const;
    /// All `name:key=value`, as an object.
    [[nodiscard]] wire::Object map(std::string_view name) const;

  private:
    std::vector<Pair> pairs_;
};

struct CommandLine {
    std::string command;
    Params params;
    std::optional<std::string> session;  ///< of a member that forwards: who is logged in already
    std::string user;
    std::string password;
};

/// Reads the body of a request. Throws SyntaxError.
[[nodiscard]] CommandLine parse_command_line(std::string_view body);

/// Throws CommandError.
[[nodiscard]] bool parse_truth(std::string_view name, std::string_view text);
/// A number of bytes, with or without KiB, MiB, GiB or TiB. Throws CommandError.
[[nodiscard]] std::int64_t parse_bytes(std::string_view name, std::string_view text);
[[nodiscard]] std::int64_t parse_number(std::string_view name, std::string_view text);
/// At commas; blanks around items go.
[[nodiscard]] std::vector<std::string> split_items(std::string_view text);

}  // namespace basalt::cli
