#pragma once
#include <nlohmann/json.hpp>
#include <utility>

#include "base/framing.hpp"
#include "base/wait.hpp"

namespace basalt::rpc {

/// The value that `json` holds, by its `from_json`; that of much JSON is read, and the JSON freed,
/// on a pool thread. Throws what `from_json` throws.
template <class T>
Task<T> decoded(Loop& loop, nlohmann::json json) {
    if (is_small(json)) co_return json.template get<T>();
    co_return co_await blocking(loop, [json = std::move(json)] { return json.template get<T>(); });
}

}  // namespace basalt::rpc
