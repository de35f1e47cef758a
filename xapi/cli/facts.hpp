#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "idl/cli/tables.hpp"
#include "idl/runtime/model.hpp"
#include "xapi/cli/api.hpp"

namespace basalt::cli {

/// What stands for values that cannot be had.
inline constexpr std::string_view not_in_database = "<not in database>";
inline constexpr std::string_view expensive_field = "<expensive field>";

/// A field's value as users see it.
struct Shown {
    std::string text;  ///< the whole, items joined
    bool is_set = false;
    bool is_map = false;
    std::vector<std::string> items{};                            ///< of a set
    std::vector<std::pair<std::string, std::string>> entries{};  ///< of a map

    static Shown of(std::string text) { return {.text = std::move(text)}; }

    static Shown of_set(std::vector<std::string> items);
    static Shown of_map(std::vector<std::pair<std::string, std::string>> entries);
};

/// Records read by one command, each at most once.
class Facts {
  public:
    explicit Facts(Session& session) : session_(session) {}

    [[nodiscard]] Session& session() const { return session_; }

    /// All objects of a class in the server's order; one call reads them all.
    Task<std::vector<std::string>> all(std::string class_name);
    /// The record of an object; null: it is gone. Stays good until `forget`.
    Task<const wire::Value*> record(std::string class_name, std::string ref);

    void forget() { classes_.clear(); }

    Task<Shown> show(const Object& object, const Field& field, std::string ref);
    /// The uuid behind a reference, and its name when it has one: for messages to users.
    Task<std::string> uuid_and_name(std::string class_name, std::string ref);

    // For computed fields.
    Task<Shown> follow(std::string class_name, std::string ref, std::string path);

  private:
    struct Class {
        std::map<std::string, wire::Value> records;  // those that were read whole
        std::unique_ptr<Records> all;
        std::map<std::string, std::size_t, std::less<>> places;  // in `all`, by reference
    };

    /// Of an object's record; nothing: it is gone, or has no such member.
    Task<std::optional<wire::Value>> member(std::string class_name, std::string ref,
                                            std::string name);

    Task<Shown> call_source(std::string ref, std::string source);
    Task<Shown> descend(wire::Value value, std::string class_name, std::string path);

    Session& session_;
    std::map<std::string, Class> classes_;
};

/// The fields whose source starts with `@`; computed.cpp.
Task<Shown> computed(Facts& facts, const Object& object, std::string name, std::string ref);

/// `name ( RO)` and so on.
[[nodiscard]] std::string label_of(const Field& field);
/// The record's member that a source starts with, without what computes or renders it.
[[nodiscard]] std::string field_name_of(const Field& field);
/// The class that a member of a class refers to, by itself or by its items; null: none.
[[nodiscard]] const xenapi::ClassInfo* class_behind(const xenapi::TypeOps* type);

}  // namespace basalt::cli
