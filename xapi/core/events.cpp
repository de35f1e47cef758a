#include "xapi/core/events.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "idl/errors.hpp"
#include "idl/records/session.hpp"
#include "xapi/core/core.hpp"

namespace basalt::core {

namespace {

using xenapi::ClassInfo;
using xenapi::WireEvent;

constexpr auto timeout_max = std::chrono::hours(24);

Duration timeout_of(double seconds) {
    constexpr double most = std::chrono::duration<double>(timeout_max).count();
    if (std::isnan(seconds) || seconds > most)
        return timeout_max;  // an unusable number means a day
    return std::chrono::duration_cast<Duration>(
        std::chrono::duration<double>(std::max(seconds, 0.0)));
}

/// What happened to one object. Rows are immutable, so that any thread may read this.
struct RowChange {
    const ClassInfo* cls;
    Uuid ref;
    db::Generation generation;
    bool added;
    db::RowPtr row;  // null: deleted
};

// About a quarter of a millisecond; more are made into events on a pool thread.
constexpr std::size_t told_on_loop_max = 256;

/// Added, modified, deleted; each in order of generation, but messages first: clients show them
/// before the change that they explain.
auto place_in_order(const RowChange& change) {
    const int kind = change.row == nullptr ? 2 : change.added ? 0 : 1;
    return std::tuple(kind, change.cls->lower != "message", change.generation);
}

WireEvent event_of(const RowChange& change) {
    WireEvent event;
    event.id = std::to_string(change.generation);
    event.class_name = change.cls->lower;
    event.ref = change.ref;
    event.operation = change.row == nullptr ? "del" : change.added ? "add" : "mod";
    if (change.row) event.snapshot = {change.cls, change.row->record};
    return event;
}

/// What is to be told: some objects, and all rows of some classes.
struct Found {
    std::vector<RowChange> some;
    std::vector<db::Rows> all;

    [[nodiscard]] std::size_t size() const {
        std::size_t size = some.size();
        for (const auto& rows : all)
            size += rows.size();
        return size;
    }
};

std::vector<WireEvent> told(Found found) {
    std::vector<RowChange> list = std::move(found.some);
    for (const db::Rows& rows : found.all)
        rows.each([&list](const db::RowPtr& row) {
            list.push_back({row->cls, row->ref, row->modified, true, row});
        });
    std::ranges::stable_sort(list, {}, place_in_order);
    std::vector<WireEvent> events;
    events.reserve(list.size());
    for (const RowChange& change : list)
        events.push_back(event_of(change));
    return events;
}

}  // namespace

bool Events::Subscription::wants(std::uint16_t cls, const Uuid& ref) const {
    return classes[cls] || std::ranges::find(objects, std::pair{cls, ref}) != objects.end();
}

Events::Subscription Events::parse(const std::vector<std::string>& classes) {
    Subscription out;
    out.classes.resize(xenapi::classes().size());
    for (const std::string& entry : classes) {
        if (entry == "*") {
            out.classes.assign(out.classes.size(), true);
            continue;
        }
        const std::size_t slash = entry.find('/');
        if (slash != std::string::npos && entry.find('/', slash + 1) != std::string::npos)
            throw err::event_subscription_parse_failure(entry);
        const ClassInfo* cls = xenapi::find_class_any_case(entry.substr(0, slash));
        if (cls == nullptr) continue;  // the real server takes unknown names and never reports any
        if (slash == std::string::npos) {
            out.classes[cls->index] = true;
        } else if (const auto ref = xenapi::parse_ref(entry.substr(slash + 1));
                   ref && !ref->none()) {
            out.objects.emplace_back(cls->index, *ref);
        }
    }
    return out;
}

struct Events::Changes {
    Found found;
};

/// All in this turn, so that it is one state of the database. Who has seen nothing gets whole
/// classes, of which only the rows are taken here.
Events::Changes Events::changes(const Subscription& subscription, db::Generation after) const {
    Found found;
    for (const ClassInfo& cls : xenapi::classes()) {
        if (!cls.events) continue;
        if (after == 0 && subscription.classes[cls.index]) {
            found.all.push_back(core_.db.snapshot(cls));
            continue;
        }
        core_.db.each_changed(cls, after, [&](const db::RowPtr& row) {
            if (subscription.wants(cls.index, row->ref))
                found.some.push_back({&cls, row->ref, row->modified, row->created > after, row});
        });
    }
    core_.db.each_deleted(after, [&](const db::Tombstone& gone) {
        const ClassInfo& cls = *gone.cls;
        if (!cls.events || gone.created > after || !subscription.wants(cls.index, gone.ref)) return;
        found.some.push_back({&cls, gone.ref, gone.generation, false, nullptr});
    });
    return {std::move(found)};
}

Task<std::vector<WireEvent>> Events::collect(Call& call, const Subscription& subscription,
                                             db::Generation after) const {
    Found found = changes(subscription, after).found;
    if (found.size() <= told_on_loop_max) co_return told(std::move(found));
    const FairGate::Place place =
        co_await core_.preparing.enter({call.caller().address, call.caller().session.text()});
    co_return co_await blocking(
        core_.loop, [found = std::move(found)]() mutable { return told(std::move(found)); });
}

Task<void> Events::wait_for_change(Call& call, db::Generation after, Duration limit) {
    co_await core_.db.changed_since(after, limit);
    if (call.caller().session && core_.db.find(call.caller().session) == nullptr)
        throw err::session_invalid(call.caller().session);
}

std::vector<xenapi::EventBatch::Count> Events::row_counts() const {
    std::vector<xenapi::EventBatch::Count> counts;
    for (const ClassInfo& cls : xenapi::classes())
        counts.push_back({cls.index, static_cast<std::int64_t>(core_.db.count(cls))});
    return counts;
}

Task<xenapi::EventBatch> Events::from(Call& call, std::vector<std::string> classes,
                                      std::string token, double timeout) {
    const Subscription subscription = parse(classes);
    db::Generation after = 0;
    if (!token.empty()) {
        const auto parsed = core_.db.parse_token(token);
        if (!parsed && parsed.error() == db::TokenProblem::malformed)
            throw err::event_from_token_parse_failure(token);
        if (!parsed || *parsed < core_.db.oldest_covered()) throw err::events_lost();
        after = *parsed;
    }
    const Time deadline = core_.loop.now() + timeout_of(timeout);
    xenapi::EventBatch batch;
    db::Generation seen = after;
    for (;;) {
        seen = core_.db.published();
        batch.valid_ref_counts = row_counts();
        batch.events = co_await collect(call, subscription, after);
        if (!batch.events.empty() || core_.loop.now() >= deadline) break;
        co_await wait_for_change(call, seen, deadline - core_.loop.now());
    }
    batch.token = core_.db.token(seen);
    co_return batch;
}

std::string Events::inject(const std::string& cls_name, const std::string& ref) {
    const ClassInfo* cls = xenapi::find_class_any_case(cls_name);
    const auto uuid = xenapi::parse_ref(ref);
    if (cls == nullptr || !uuid || core_.db.find(*cls, *uuid) == nullptr)
        throw err::handle_invalid(cls_name, ref);
    const db::Generation before = core_.db.published();
    core_.db.transact([&](db::Txn& txn) { txn.touch(*cls, *uuid); });
    return core_.db.token(before);
}

void Events::subscribe(xenapi::Ref<xenapi::Session> session,
                       const std::vector<std::string>& classes) {
    const Subscription wanted = parse(classes);
    auto [found, fresh] = registrations_.try_emplace(session);
    Registration& registration = found->second;
    if (fresh) {
        registration.subscription = wanted;
        registration.seen = core_.db.published();
        return;
    }
    for (std::size_t i = 0; i < wanted.classes.size(); ++i)
        if (wanted.classes[i]) registration.subscription.classes[i] = true;
    for (const auto& object : wanted.objects)
        registration.subscription.objects.push_back(object);
}

void Events::unsubscribe(xenapi::Ref<xenapi::Session> session,
                         const std::vector<std::string>& classes) {
    const auto found = registrations_.find(session);
    if (found == registrations_.end()) return;
    Subscription& subscription = found->second.subscription;
    const Subscription unwanted = parse(classes);
    for (std::size_t i = 0; i < unwanted.classes.size(); ++i)
        if (unwanted.classes[i]) subscription.classes[i] = false;
    if (std::ranges::find(subscription.classes, true) == subscription.classes.end() &&
        subscription.objects.empty())
        registrations_.erase(found);
}

/// Gives events of event.next their ids, as long as the session is registered.
void Events::number(xenapi::Ref<xenapi::Session> session, std::vector<WireEvent>& events) {
    const auto found = registrations_.find(session);
    if (found == registrations_.end()) throw err::session_not_registered(session);
    for (WireEvent& event : events) {
        event.id = std::to_string(found->second.last_id++);
        event.timestamp = std::to_string(core_.now_seconds()) + ".";
    }
}

Task<std::vector<WireEvent>> Events::next(Call& call) {
    const xenapi::Ref<xenapi::Session> session = call.caller().session;
    const auto not_registered = [&] { return err::session_not_registered(session); };
    std::erase_if(registrations_,
                  [&](const auto& entry) { return core_.db.find(entry.first) == nullptr; });
    for (;;) {
        const auto found = registrations_.find(session);
        if (found == registrations_.end()) throw not_registered();
        Registration& registration = found->second;
        if (registration.seen < core_.db.oldest_covered()) {
            registration.seen = core_.db.published();
            throw err::events_lost();
        }
        const db::Generation seen = core_.db.published();
        const db::Generation after = std::exchange(registration.seen, seen);
        const Subscription subscription = registration.subscription;
        std::vector<WireEvent> events = co_await collect(call, subscription, after);
        number(session, events);
        if (!events.empty()) co_return events;
        co_await wait_for_change(call, seen, timeout_max);
    }
}

std::int64_t Events::current_id() const {
    return static_cast<std::int64_t>(core_.db.published());
}

}  // namespace basalt::core
