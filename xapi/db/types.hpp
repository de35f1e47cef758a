#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "base/uuid.hpp"
#include "idl/runtime/model.hpp"

/// The records of the pool: typed tables in memory behind a commit log. Loop only unless said.
namespace basalt::db {

using xenapi::AnyRef;
using xenapi::ClassInfo;
using xenapi::Ref;

/// Counts commits. Never goes back within an epoch, restarts included; 0 is before everything.
using Generation = std::uint64_t;
/// Counts restores and emergency transitions; all tokens of an epoch are above those before it.
using Epoch = std::uint64_t;

/// What one call of a transaction may render, and what one commit may hold.
inline constexpr std::size_t commit_bytes_max = std::size_t{1024} * 1024;
/// Rows that derivation may change within the commit that caused it; wider ones follow apart.
inline constexpr std::size_t derived_rows_max = 64;
/// How late a lazy field may reach the store.
inline constexpr std::chrono::seconds lazy_delay_max{5};

/// One published state of an object. Immutable, so any thread may read what it holds on to.
struct Row {
    const ClassInfo* cls = nullptr;
    Uuid ref;
    std::uint64_t serial = 0;  ///< order of creation among all rows, for ever
    Generation created = 0;
    Generation modified = 0;
    std::shared_ptr<const void> record;
    /// Members that a newer version stored and this one does not know: a JSON object, or null.
    std::shared_ptr<const std::string> unknown_fields;
    /// Lengths of the two rendered forms, 0 until somebody measured them. Loop only.
    mutable std::uint32_t json_bytes = 0;
    mutable std::uint32_t xml_bytes = 0;

    template <class R>
    [[nodiscard]] const R& as() const {
        return *static_cast<const R*>(record.get());
    }
};

using RowPtr = std::shared_ptr<const Row>;

/// What remains of a deleted object until every client had time to hear of it.
struct Tombstone {
    const ClassInfo* cls = nullptr;
    Uuid ref;
    Generation created = 0;      ///< of the object: who asks from later on knew it
    Generation generation = 0;   ///< of the deletion
    std::int64_t deleted_s = 0;  ///< seconds since 1970 UTC
    RowPtr last;                 ///< its last state; null after a restart
};

/// A reference to something callable that outlives the call: no allocation, no ownership.
template <class Signature>
class FunctionRef;

template <class Result, class... Args>
class FunctionRef<Result(Args...)> {
  public:
    template <class F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> &&
                 std::is_invocable_v<F&, Args...>)
    FunctionRef(F&& callable)  // NOLINT(google-explicit-constructor): a parameter type
        : object_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
          call_([](void* object, Args... args) -> Result {
              return (*static_cast<std::remove_reference_t<F>*>(object))(
                  std::forward<Args>(args)...);
          }) {}

    Result operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

  private:
    void* object_;
    Result (*call_)(void*, Args...);
};

}  // namespace basalt::db
