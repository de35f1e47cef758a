#pragma once
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/async.hpp"
#include "base/loop.hpp"
#include "xapi/db/rows.hpp"
#include "xapi/db/store/store.hpp"
#include "xapi/db/txn.hpp"
#include "xapi/db/types.hpp"

namespace basalt::db {

/// A row that a commit changes. `before` is null for an inserted row, `after` for an erased one;
/// both are null when the row is derived anew apart from a change.
struct Touched {
    const ClassInfo* cls = nullptr;
    Uuid ref;
    const void* before = nullptr;
    const void* after = nullptr;
};

/// Computes derived fields (allowed_operations) inside the commit that changed what they rest on.
class Derive {
  public:
    virtual ~Derive() = default;
    /// Edits what depends on `touched` through `txn`. When `txn.room()` is 0 it names the further
    /// rows by `txn.later()`: they come back here in commits of their own within a second.
    /// Must not throw: an exception fails the whole transaction.
    virtual void derive(Txn& txn, std::span<const Touched> touched) = 0;
};

enum class TokenProblem : std::uint8_t {
    malformed,  ///< EVENT_FROM_TOKEN_PARSE_FAILURE
    foreign,    ///< of another epoch or store, or of the future: EVENTS_LOST
};

class Database {
  public:
    /// Loads everything from the store, which must outlive it. May take seconds: start-up only.
    /// `derive` may be null.
    Database(Loop& loop, Store& store, Derive* derive);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    /// Runs `fn(Txn&)` and publishes its changes as one commit; returns what `fn` returned. What is
    /// thrown inside changes nothing. Synchronous; never nested. The commit, in this order:
    /// - keeps relations on both sides. A reference of a relation to an object that is not there:
    ///   HANDLE_INVALID. Erasing a row nulls the references of relations to it; where such a
    ///   reference is what its row is about (StaticRO without default: `VBD.VM`), erase that row
    ///   first, or the commit is refused with INTERNAL_ERROR;
    /// - derives; refuses a second row with the same uuid (DB_UNIQUENESS_CONSTRAINT_VIOLATION);
    /// - drops rows that ended as they began, gives the others the next generation, publishes,
    ///   queues what is durable to the store, wakes waiters.
    /// Nothing that rests on it may leave the process before `durable(published())`.
    /// Throws OUT_OF_SPACE while the store is read-only and the commit has something to store,
    /// INTERNAL_ERROR after the store failed or above 1 MB.
    template <class F>
    auto transact(F fn) {
        return run(std::move(fn), Urgency::request);
    }

    /// As `transact` for what has already happened (a guest stopped): goes on in read-only mode.
    template <class F>
    auto transact_fact(F fn) {
        return run(std::move(fn), Urgency::fact);
    }

    /// Throws OUT_OF_SPACE while the store is read-only: before anything is begun whose outcome
    /// will have to be stored.
    void require_space() const;

    /// Throws HANDLE_INVALID. Good until the next suspension or transaction.
    template <class R>
    [[nodiscard]] const R& get(Ref<R> ref) const {
        return *static_cast<const R*>(get(xenapi::class_of<R>(), ref.uuid())->record.get());
    }

    template <class R>
    [[nodiscard]] const R* find(Ref<R> ref) const {
        const Row* row = peek(xenapi::class_of<R>(), ref.uuid());
        return row == nullptr ? nullptr : &row->as<R>();
    }

    /// f(Ref<R>, const R&) in order of creation; no transaction inside.
    template <class R, class F>
    void each(F f) const {
        each(xenapi::class_of<R>(), [&f](const RowPtr& row) { f(Ref<R>{row->ref}, row->as<R>()); });
    }

    template <class R>
    [[nodiscard]] std::optional<Ref<R>> by_uuid(std::string_view uuid) const {
        const RowPtr row = by_uuid(xenapi::class_of<R>(), uuid);
        return row ? std::optional{Ref<R>{row->ref}} : std::nullopt;
    }

    /// In order of creation.
    template <class R>
    [[nodiscard]] std::vector<Ref<R>> by_name_label(std::string_view label) const {
        std::vector<Ref<R>> refs;
        for (const RowPtr& row : by_name_label(xenapi::class_of<R>(), label))
            refs.emplace_back(row->ref);
        return refs;
    }

    /// Null: no such object.
    [[nodiscard]] RowPtr find(const ClassInfo& cls, const Uuid& ref) const;
    /// Throws HANDLE_INVALID.
    [[nodiscard]] RowPtr get(const ClassInfo& cls, const Uuid& ref) const;
    [[nodiscard]] RowPtr by_uuid(const ClassInfo& cls, std::string_view uuid) const;
    [[nodiscard]] std::vector<RowPtr> by_name_label(const ClassInfo& cls,
                                                    std::string_view label) const;
    void each(const ClassInfo& cls, FunctionRef<void(const RowPtr&)> f) const;
    /// All rows in order of creation.
    [[nodiscard]] Rows snapshot(const ClassInfo& cls) const;
    [[nodiscard]] std::size_t count(const ClassInfo& cls) const;

    /// Rows changed after `after`, oldest change first; costs as much as there are changes.
    void each_changed(const ClassInfo& cls, Generation after,
                      FunctionRef<void(const RowPtr&)> f) const;
    /// The same rows for who works on them in slices; all that there are (in order of creation)
    /// when `after` is 0, which costs hardly anything.
    [[nodiscard]] Rows changed(const ClassInfo& cls, Generation after) const;
    /// Deletions after `after` of all classes, in order.
    void each_deleted(Generation after, FunctionRef<void(const Tombstone&)> f) const;
    /// Whether the two above know everything that happened to the class since: else EVENTS_LOST.
    [[nodiscard]] bool covers(const ClassInfo& cls, Generation after) const;
    /// The oldest generation that is covered for every class.
    [[nodiscard]] Generation oldest_covered() const;
    /// Of the class's newest change, deletions included.
    [[nodiscard]] Generation class_generation(const ClassInfo& cls) const;

    /// Of the newest commit.
    [[nodiscard]] Generation published() const;
    /// Returns when every commit up to it is on disk. Throws INTERNAL_ERROR when the store failed
    /// before: the outcome is unknown. Cancellable.
    Task<void> durable(Generation generation);
    /// Whether that would return at once.
    [[nodiscard]] bool is_durable(Generation generation) const;
    /// Returns true as soon as there is a commit after `after`, false when `limit` passes first.
    Task<bool> changed_since(Generation after, Duration limit);

    /// The text that clients of event.from hold: "%020d,%020d".
    [[nodiscard]] std::string token(Generation generation) const;
    /// "" is 0. Whether its changes are still known is for `covers`.
    [[nodiscard]] std::expected<Generation, TokenProblem> parse_token(std::string_view text) const;

    [[nodiscard]] Epoch epoch() const;
    /// Derives every row anew, 64 a commit, before it returns. Start-up only.
    void derive_all();
    /// Called once on the loop when the store failed: the process should end and start again.
    void on_failed(std::function<void(std::string reason)> handler);

  private:
    enum class Urgency : std::uint8_t { request, fact };

    template <class F>
    auto run(F fn, Urgency urgency) {
        const std::unique_ptr<Txn> txn = begin();
        if constexpr (std::is_void_v<std::invoke_result_t<F&, Txn&>>) {
            fn(*txn);
            commit(*txn, urgency);
        } else {
            auto result = fn(*txn);
            commit(*txn, urgency);
            return result;
        }
    }

    [[nodiscard]] std::unique_ptr<Txn> begin();
    void commit(Txn& txn, Urgency urgency);
    [[nodiscard]] const Row* peek(const ClassInfo& cls, const Uuid& ref) const;

    std::unique_ptr<DatabaseState> state_;
};

}  // namespace basalt::db
