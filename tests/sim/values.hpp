#pragma once
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "idl/runtime/value.hpp"

// What tests give to calls, and what they make of answers.
namespace basalt::testing {

inline wire::Value of(const auto& ref) {
    return wire::Value(ref.text());
}

inline wire::Value text_map(std::initializer_list<std::pair<std::string, std::string>> entries) {
    wire::Object out;
    for (const auto& [key, value] : entries)
        out.push_back({key, wire::Value(value)});
    return wire::Value(std::move(out));
}

/// The error code of a call that ended so; "success" of none.
inline std::string code_of(const std::exception_ptr& failure) {
    if (!failure) return "success";
    if (is_cancellation(failure)) return "cancelled";
    return as_api_error(failure).code();
}

inline std::string code_of(const std::function<void()>& body) {
    try {
        body();
    } catch (...) {
        return code_of(std::current_exception());
    }
    return "success";
}

}  // namespace basalt::testing
