#pragma once
// Internal to xapi/db: what Database, Txn and the commit steps share.
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "base/wait.hpp"
#include "xapi/db/database.hpp"
#include "xapi/db/relations.hpp"
#include "xapi/db/stored_form.hpp"
#include "xapi/db/table.hpp"
#include "xapi/db/tombstones.hpp"

namespace basalt::db {

struct DatabaseState final : StoreListener {
    DatabaseState(Loop& loop_in, Store& store_in, Derive* derive_in);
    ~DatabaseState() override;
    DatabaseState(const DatabaseState&) = delete;
    DatabaseState& operator=(const DatabaseState&) = delete;

    void load();

    [[nodiscard]] Table& table(const ClassInfo& cls) const { return *tables[cls.index]; }

    /// Throws when the commit cannot be published; publishes nothing then.
    void commit(Txn& txn, bool fact);

    void stored(std::uint64_t generation) override;
    void reserved(std::uint64_t generation) override;
    void failed(std::string reason) override;

    Loop& loop;
    Store& store;
    Derive* derive;
    std::vector<std::unique_ptr<Table>> tables;  // by class index
    Relations relations;
    StoredForm form;
    Tombstones tombstones;
    Epoch epoch = 0;
    std::uint64_t store_id = 0;
    Generation started = 0;  // of the load: what is volatile is known from here on
    Generation generation = 0;
    Generation reserved_until = 0;
    Generation reserve_asked = 0;
    std::uint64_t last_serial = 0;
    bool in_transaction = false;
    Signal changed;
    std::map<Generation, Signal> durable_waits;  // only those that need wake are woken
    std::deque<Generation> unstored;             // appended, oldest first
    bool store_failed = false;
    std::string failure;
    std::function<void(std::string)> on_failed;

  private:
    struct Plan;  // what a commit will do, computed before anything is published

    void derive_into(Txn& txn);
    void settle(Txn& txn, Plan& plan);
    void check_uuids(const Txn& txn) const;
    void render(Plan& plan);
    void admit(const Plan& plan, bool fact);
    void wake_durable();
    void publish(Txn& txn, Plan& plan);
    void advance_generation();
    void append(CommitRecord record);
    void queue_later(const std::vector<AnyRef>& rows);
    void run_later();
    void derive_batch(std::vector<Touched> rows);
    void pend_lazy(const ClassInfo& cls, const Uuid& ref);
    void flush_lazy();

    struct RowKey {
        std::uint16_t class_index;
        Uuid ref;
        friend auto operator<=>(const RowKey&, const RowKey&) = default;
    };

    // Ordered, so that simulations repeat.
    std::set<RowKey> lazy_;
    std::set<RowKey> later_;
    Loop::TimerId lazy_timer_ = 0;
    bool lazy_set_ = false;
    bool later_posted_ = false;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

    friend class Database;
};

}  // namespace basalt::db
