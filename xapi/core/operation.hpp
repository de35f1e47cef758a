#pragma once
#include <functional>
#include <vector>

#include "xapi/core/call.hpp"

namespace basalt::core {

/// The current_operations of one call on the objects it works on. What is still marked when this
/// object goes is unmarked in a transaction of its own, so a failed call leaves no operation
/// behind.
class Operation {
  public:
    explicit Operation(Call& call) : call_(call) {}

    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

    ~Operation() {
        if (!unmarks_.empty()) call_.db().transact_fact([this](db::Txn& txn) { unmark(txn); });
    }

    /// Marks `object` with the call's task. Check the rules first, in the same transaction.
    template <class R, class Op>
    void mark(db::Txn& txn, xenapi::Ref<R> object, Op op) {
        const std::string task = call_.task(txn).text();
        txn.edit(object).current_operations.insert_or_assign(task, op);
        unmarks_.push_back([object, task](db::Txn& later) {
            const R* row = later.find(object);
            if (row != nullptr && row->current_operations.contains(task))
                later.edit(object).current_operations.erase(task);
        });
    }

    /// Takes the marks off in the transaction that lands the result.
    void unmark(db::Txn& txn) {
        for (const auto& step : unmarks_)
            step(txn);
        unmarks_.clear();
    }

  private:
    Call& call_;
    std::vector<std::function<void(db::Txn&)>> unmarks_;
};

}  // namespace basalt::core
