#pragma once
#include <algorithm>
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
        if (std::ranges::any_of(marks_, [](const Mark& mark) { return mark.stands(); }))
            call_.db().transact_fact([this](db::Txn& txn) { unmark(txn); });
    }

    /// Marks `object` with the call's task. Check the rules first, in the same transaction.
    template <class R, class Op>
    void mark(db::Txn& txn, xenapi::Ref<R> object, Op op) {
        const std::string task = call_.task(txn).text();
        txn.edit(object).current_operations.insert_or_assign(task, op);
        const auto marked = [task](const R* row) {
            return row != nullptr && row->current_operations.contains(task);
        };
        marks_.push_back({[&db = call_.db(), object, marked] { return marked(db.find(object)); },
                          [object, task, marked](db::Txn& later) {
                              if (marked(later.find(object)))
                                  later.edit(object).current_operations.erase(task);
                          }});
    }

    /// Takes the marks off in the transaction that lands the result. They are remembered: that
    /// transaction may yet be refused.
    void unmark(db::Txn& txn) {
        for (const Mark& mark : marks_)
            mark.take_off(txn);
    }

  private:
    struct Mark {
        std::function<bool()> stands;
        std::function<void(db::Txn&)> take_off;
    };

    Call& call_;
    std::vector<Mark> marks_;
};

}  // namespace basalt::core
