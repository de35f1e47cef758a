#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/async.hpp"
#include "idl/runtime/value.hpp"

namespace basalt::cli {

/// All records of a class as they were at one moment, read member by member: most commands look
/// at few members, and to make all of a thousand VMs takes longer than everything else.
class Records {
  public:
    virtual ~Records() = default;
    /// In the server's order.
    [[nodiscard]] virtual const std::vector<std::string>& refs() const = 0;
    /// Of the record at that place; nothing when records of its class have no such member.
    [[nodiscard]] virtual std::optional<wire::Value> member(std::size_t place,
                                                            std::string_view name) const = 0;
    /// All of its members.
    [[nodiscard]] virtual wire::Value record(std::size_t place) const = 0;
};

/// XenAPI calls within the process, checked as those of any client: commands get no other way in.
class Api {
  public:
    virtual ~Api() = default;
    /// `params` as on the wire, the session first where the message takes one. Throws ApiError.
    virtual Task<wire::Value> call(std::string method, wire::Array params) = 0;
    /// What CLASS.get_all_records answers to that session. Throws ApiError.
    virtual Task<std::unique_ptr<Records>> all_records(std::string class_name, std::string session);
};

/// Parameters of a call, in order.
template <class... T>
[[nodiscard]] wire::Array args(T&&... values) {
    wire::Array out;
    out.reserve(sizeof...(T));
    (out.emplace_back(std::forward<T>(values)), ...);
    return out;
}

/// An Api with somebody logged in.
class Session {
  public:
    Session(Api& api, std::string ref) : api_(api), ref_(std::move(ref)) {}

    [[nodiscard]] const std::string& ref() const { return ref_; }

    /// The same Api, with somebody else logged in.
    [[nodiscard]] Session as(std::string ref) const { return {api_, std::move(ref)}; }

    Task<wire::Value> call(std::string method, wire::Array params = {});
    Task<std::unique_ptr<Records>> all_records(std::string class_name);
    /// The answer as text; empty when it is none.
    Task<std::string> text(std::string method, wire::Array params = {});
    /// The reference of an object. Throws UUID_INVALID.
    Task<std::string> by_uuid(std::string class_name, std::string uuid);
    Task<std::string> uuid_of(std::string class_name, std::string ref);

  private:
    Api& api_;
    std::string ref_;
};

inline constexpr std::string_view null_ref = "OpaqueRef:NULL";

[[nodiscard]] inline bool is_null_ref(std::string_view ref) {
    return ref.empty() || ref == null_ref;
}

/// A member of a record as text, truth or list; empty when it is absent or something else.
[[nodiscard]] std::string text_member(const wire::Value& record, std::string_view name);
[[nodiscard]] bool true_member(const wire::Value& record, std::string_view name);
[[nodiscard]] wire::Array list_member(const wire::Value& record, std::string_view name);
/// A scalar as users read it.
[[nodiscard]] std::string shown(const wire::Value& value);

}  // namespace basalt::cli
