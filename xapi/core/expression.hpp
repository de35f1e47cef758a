#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "idl/runtime/model.hpp"

namespace basalt::core {

/// A condition of get_all_where and get_all_records_where:
///   E := true | false | not E | E and E | E or E | ( E ) | V = V      V := "text" | field "name"
/// `and` and `or` bind alike, from the left. Field names are those of the database, and values are
/// compared as its texts.
class Expression {
  public:
    /// Throws INVALID_VALUE [text, reason].
    explicit Expression(std::string_view text);
    ~Expression();

    /// Throws INTERNAL_ERROR [missing field, name, ""] when it comes to a field that the class
    /// lacks.
    [[nodiscard]] bool holds(const xenapi::ClassInfo& cls, const Uuid& ref,
                             const void* record) const;

    struct Node;

  private:
    std::unique_ptr<const Node> root_;
};

}  // namespace basalt::core
