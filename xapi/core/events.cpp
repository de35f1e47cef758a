#include "xapi/core/events.hpp"

#include <algorithm>
#include <cmath>

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

struct Ordered {
    db::Generation generation;
    WireEvent event;
};

WireEvent row_event(const db::RowPtr& row, bool added) {
    WireEvent event;
    event.id = std::to_string(row->modified);
    event.class_name = row->cls->lower;
    event.operation = added ? "add" : "mod";
    event.ref = row->ref;
    event.snapshot = {row->cls, row->record};
    return event;
}

void append_in_order(std::vector<Ordered>& from, std::vector<WireEvent>& to) {
    std::ranges::stable_sort(from, {}, &Ordered::generation);
    // Messages first: clients show them before the change that they explain.
    std::ranges::stable_partition(
        from, [](const Ordered& one) { return one.event.class_name == "message"; });
    for (Ordered& one : from)
        to.push_back(std::move(one.event));
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

std::vector<WireEvent> Events::collect(const Subscription& subscription,
                                       db::Generation after) const {
    std::vector<Ordered> added;
    std::vector<Ordered> modified;
    std::vector<Ordered> deleted;
    for (const ClassInfo& cls : xenapi::classes()) {
        if (!cls.events) continue;
        core_.db.each_changed(cls, after, [&](const db::RowPtr& row) {
            if (!subscription.wants(cls.index, row->ref)) return;
            const bool is_new = row->created > after;
            (is_new ? added : modified).push_back({row->modified, row_event(row, is_new)});
        });
    }
    core_.db.each_deleted(after, [&](const db::Tombstone& gone) {
        const ClassInfo& cls = *gone.cls;
        if (!cls.events || gone.created > after || !subscription.wants(cls.index, gone.ref)) return;
        WireEvent event;
        event.id = std::to_string(gone.generation);
        event.class_name = cls.lower;
        event.operation = "del";
        event.ref = gone.ref;
        deleted.push_back({gone.generation, std::move(event)});
    });
    std::vector<WireEvent> events;
    events.reserve(added.size() + modified.size() + deleted.size());
    append_in_order(added, events);
    append_in_order(modified, events);
    append_in_order(deleted, events);
    return events;
}

Task<void> Events::wait_for_change(Call& call, db::Generation after, Duration limit) {
    co_await core_.db.changed_since(after, limit);
    if (call.caller().session && core_.db.find(call.caller().session) == nullptr)
        throw err::session_invalid(call.caller().session);
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
        batch.events = collect(subscription, after);
        if (!batch.events.empty() || core_.loop.now() >= deadline) break;
        co_await wait_for_change(call, seen, deadline - core_.loop.now());
    }
    for (const ClassInfo& cls : xenapi::classes())
        batch.valid_ref_counts.push_back(
            {cls.index, static_cast<std::int64_t>(core_.db.count(cls))});
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
        std::vector<WireEvent> events = collect(registration.subscription, registration.seen);
        registration.seen = seen;
        for (WireEvent& event : events) {
            event.id = std::to_string(registration.last_id++);
            event.timestamp = std::to_string(core_.now_seconds()) + ".";
        }
        if (!events.empty()) co_return events;
        co_await wait_for_change(call, seen, timeout_max);
    }
}

std::int64_t Events::current_id() const {
    return static_cast<std::int64_t>(core_.db.published());
}

}  // namespace basalt::core
