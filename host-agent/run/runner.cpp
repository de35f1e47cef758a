#include "host-agent/run/runner.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <format>
#include <set>

#include "base/context.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

using Json = nlohmann::json;
using plan::Resolve;

namespace {

constexpr Duration undo_act_limit = 60s;

std::string first_word(const std::vector<std::string>& words) {
    return words.empty() ? "none" : words.front();
}

double total_weight(const plan::Plan& plan) {
    double sum = 0;
    for (const plan::Step& step : plan.steps)
        sum += step.weight;
    return sum > 0 ? sum : 1;
}

Task<void> drop_result(Task<Json> body) {
    co_await std::move(body);
}

}  // namespace

std::string_view text(Moment moment) {
    constexpr std::string_view words[] = {"before", "inside", "after"};
    return words[static_cast<int>(moment)];
}

// `done` counts the steps whose effect stands; `entry` is what the journal knows.
struct Runner::Running {
    Request request;
    Planner planner;
    Entry entry;
    bool begun = false;
    bool recovered = false;
    bool cancelled = false;
    std::size_t done = 0;
    double weight_done = 0;
    double weight_total = 1;
    Json last;
    std::exception_ptr failure;
    std::optional<ObjectQueue::Lease> lease;
    std::shared_ptr<Job> cancellable;
    std::shared_ptr<Job> whole;

    void cancel() {
        // A call that was under way when hostd died may have done its work: only its end tells.
        if (recovered && entry.plan.vm.empty()) return;
        cancelled = true;
        if (cancellable) cancellable->cancel();
    }

    [[nodiscard]] const std::vector<plan::Step>& steps() const { return entry.plan.steps; }

    void progress(double part) const {
        if (request.progress) request.progress((weight_done + part) / weight_total);
    }
};

Runner::Runner(Loop& loop, Journal& journal, Acts& acts)
    : loop_(loop), journal_(journal), acts_(acts), queue_(loop) {}

Runner::~Runner() = default;

void Runner::refuse_other_arguments(const Request& request, const Entry& entry) const {
    if (request.verb == entry.verb && request.args == entry.args) return;
    throw err::internal_error("operation " + request.id + " was another " + entry.verb);
}

Task<Json> Runner::run(Request request, Planner planner) {
    if (dead_) throw err::internal_error("the host agent is stopping");
    if (request.id.empty()) throw err::internal_error(request.verb + " without an id");
    if (const auto found = running_.find(request.id); found != running_.end()) {
        refuse_other_arguments(request, found->second->entry);
        if (request.progress) found->second->request.progress = std::move(request.progress);
        return await_result(found->second);
    }
    if (const auto kept = journal_.find(request.id)) {
        refuse_other_arguments(request, *kept);
        const auto op = std::make_shared<Running>();
        op->entry = *kept;
        return await_result(op);
    }
    return await_result(start(std::move(request), std::move(planner), std::nullopt));
}

Runner::Handle Runner::start(Request request, Planner planner, std::optional<Entry> recovered) {
    const auto op = std::make_shared<Running>();
    if (recovered) {
        op->entry = std::move(*recovered);
        op->begun = op->recovered = true;
    } else {
        op->entry.id = request.id;
        op->entry.verb = request.verb;
        op->entry.args = request.args;
        op->entry.term = request.term;
        op->entry.keep = request.keep;
    }
    op->request = std::move(request);
    op->planner = std::move(planner);
    running_[op->entry.id] = op;
    op->whole = spawn(loop_, "operation " + op->entry.verb, operate(op));
    return op;
}

Task<Json> Runner::await_result(Handle op) {
    if (op->whole) {
        std::exception_ptr cancelled;
        try {
            co_await op->whole->wait();
        } catch (const boost::system::system_error&) {
            cancelled = std::current_exception();
        }
        if (cancelled) {
            co_await asio::this_coro::reset_cancellation_state();
            op->cancel();
            co_await shielded(op->whole->wait());
        }
        if (dead_) throw err::internal_error("the host agent is stopping");
    }
    if (!op->entry.error.empty()) throw_words(op->entry.error);
    co_return op->entry.result;
}

// Nothing cancels this coroutine: what may be cancelled runs in a job of its own.
Task<void> Runner::operate(Handle op) {
    const log::Scope scope(op->request.trace);
    if (!op->request.object.empty() && op->recovered)
        op->lease.emplace(co_await queue_.acquire(op->request.object));
    const bool undo_at_once = op->recovered && op->entry.phase == Phase::undoing;
    if (!undo_at_once) {
        op->cancellable = spawn(loop_, "steps", collect(op));
        if (op->cancelled) op->cancellable->cancel();
        co_await op->cancellable->wait();
        if (!dead_ && op->begun && !op->failure) co_await press_on(op);
    }
    if (!dead_ && op->begun && (op->failure || undo_at_once)) co_await undo(op);
    if (!dead_) co_await settle(op);
    op->lease.reset();
    running_.erase(op->entry.id);
    op->request.progress = nullptr;
}

Task<void> Runner::collect(Handle op) {
    const log::Scope scope(op->request.trace);
    try {
        co_await go(op);
    } catch (...) {
        op->failure = std::current_exception();
    }
}

Task<void> Runner::go(Handle op) {
    std::size_t first = 0;
    if (op->recovered) {
        first = op->entry.step;
        op->done = first;
        if (first < op->steps().size() && op->steps()[first].resolve == Resolve::back) {
            op->done = first + 1;  // it may have happened
            throw err::internal_error("the host agent was restarted meanwhile");
        }
    } else {
        if (!op->request.object.empty())
            op->lease.emplace(co_await queue_.acquire(op->request.object));
        co_await retry_leftovers_of(op->request.object);
        op->entry.plan = op->planner();
        refuse_over_leftovers(op->entry.plan);
        op->begun = true;
        co_await journal_.begin(op->entry);
    }
    op->weight_total = total_weight(op->entry.plan);
    for (std::size_t i = first; i < op->steps().size(); ++i) {
        if (op->steps()[i].resolve == Resolve::forward) co_return;
        co_await step_forward(op, i);
    }
}

Task<void> Runner::step_forward(Handle op, std::size_t index) {
    const plan::Step step = op->steps()[index];
    note(op, step.name, Moment::before);
    check_alive();
    if (index != 0 || op->recovered) co_await journal_.reach(op->entry.id, Phase::doing, index);
    op->entry.step = index;
    check_alive();
    note(op, step.name, Moment::inside);
    const double weight = step.weight;
    rpc::Progress progress = [op, weight](double part) { op->progress(part * weight); };
    Json answer = co_await acts_.perform(step.act, std::move(progress));
    // No suspension between the act and this: a cancel that comes now finds it counted.
    op->done = index + 1;
    op->weight_done += step.weight;
    if (!answer.is_null()) op->last = std::move(answer);
    op->progress(0);
    note(op, step.name, Moment::after);
    check_alive();
}

Task<void> Runner::press_on(Handle op) {
    while (op->done < op->steps().size() && !dead_) {
        std::exception_ptr failure;
        const std::size_t index = op->done;
        try {
            co_await step_forward(op, index);
        } catch (...) {
            failure = std::current_exception();
        }
        if (dead_) co_return;
        if (!failure) continue;
        std::vector<plan::Act> rest;
        for (std::size_t i = index; i < op->steps().size(); ++i)
            rest.push_back(op->steps()[i].act);
        op->done = op->steps().size();
        co_await leave(op->entry.id, std::move(rest), as_api_error(failure).what());
    }
}

Task<void> Runner::undo(Handle op) {
    if (op->failure) op->entry.error = error_words(op->failure);
    if (op->entry.phase == Phase::undoing) op->done = op->entry.step;
    op->entry.phase = Phase::undoing;
    op->entry.step = op->done;
    log::info("operation_undo", {{"verb", op->entry.verb},
                                 {"operation", op->entry.id},
                                 {"vm", op->entry.plan.vm},
                                 {"steps", op->done},
                                 {"because", first_word(op->entry.error)}});
    try {
        co_await journal_.reach(op->entry.id, Phase::undoing, op->done, op->entry.error);
    } catch (const ApiError& error) {
        // The journal then still says `doing`: a restart comes to the same undo.
        log::error("journal_failed", {{"operation", op->entry.id}, {"error", error.what()}});
    }
    std::vector<plan::Act> acts;
    for (std::size_t i = op->done; i > 0; --i)
        acts.insert(acts.end(), op->steps()[i - 1].undo.begin(), op->steps()[i - 1].undo.end());
    for (std::size_t i = 0; i < acts.size() && !dead_; ++i) {
        const std::string why = co_await undo_act(op, acts[i]);
        if (why.empty() || dead_) continue;
        // What comes after relies on it: no disk is closed under a domain that could not be ended.
        acts.erase(acts.begin(), acts.begin() + static_cast<std::ptrdiff_t>(i));
        co_return co_await leave(op->entry.id, std::move(acts), why);
    }
}

Task<std::string> Runner::undo_act(Handle op, plan::Act act) {
    const std::string name = "undo: " + plan::describe(act);
    note(op, name, Moment::before);
    if (dead_) co_return "";
    note(op, name, Moment::inside);
    std::exception_ptr failure;
    try {
        co_await within(loop_, undo_act_limit, drop_result(acts_.perform(std::move(act), {})),
                        err::internal_error(name + " took too long"));
    } catch (...) {
        failure = std::current_exception();
    }
    note(op, name, Moment::after);
    co_return failure ? as_api_error(failure).what() : "";
}

Task<void> Runner::leave(std::string operation, std::vector<plan::Act> acts, std::string why) {
    const std::vector<plan::Act> told = acts;
    std::vector<Leftover> leftovers;
    for (plan::Act& act : acts) {
        log::error("leftover", {{"operation", operation},
                                {"vm", act.vm},
                                {"act", plan::describe(act)},
                                {"error", why}});
        // Ids sort as the acts are to be done.
        std::string id = std::format("{}/{:04}", operation, leftovers.size());
        leftovers.push_back({std::move(id), operation, std::move(act), why});
    }
    try {
        co_await journal_.add_leftovers(std::move(leftovers));
    } catch (const ApiError& error) {
        log::error("journal_failed", {{"operation", operation}, {"error", error.what()}});
    }
    for (const plan::Act& act : told)
        tell_left_over(act);
}

void Runner::tell_left_over(const plan::Act& act) const {
    if (act.kind == plan::Kind::destroy && on_left_over && !dead_) on_left_over(act.vm);
}

Task<void> Runner::settle(Handle op) {
    Entry& entry = op->entry;
    if (op->failure || !entry.error.empty()) {
        if (entry.error.empty()) entry.error = error_words(op->failure);
        entry.phase = Phase::failed;
    } else {
        entry.phase = Phase::done;
        entry.step = op->done;
        entry.result = acts_.result(entry.plan, std::move(op->last));
    }
    log::info("operation_end", {{"verb", entry.verb},
                                {"operation", entry.id},
                                {"vm", entry.plan.vm},
                                {"result", entry.error.empty() ? "ok" : first_word(entry.error)}});
    if (!op->begun) co_return;
    try {
        co_await journal_.finish(entry);
    } catch (const ApiError& error) {
        log::error("journal_failed", {{"operation", entry.id}, {"error", error.what()}});
    }
}

Task<void> Runner::recover() {
    std::vector<Handle> guests;
    for (Entry& entry : journal_.under_way()) {
        log::warn("operation_recovered", {{"verb", entry.verb},
                                          {"operation", entry.id},
                                          {"vm", entry.plan.vm},
                                          {"step", entry.step}});
        Request request{.id = entry.id, .verb = entry.verb, .args = entry.args};
        request.object = entry.plan.vm;
        const bool guest = !entry.plan.vm.empty();
        const Handle op = start(std::move(request), nullptr, std::move(entry));
        if (guest) guests.push_back(op);
    }
    for (const Handle& op : guests)
        co_await op->whole->wait();
}

Task<void> Runner::end_older(std::int64_t term) {
    std::vector<Handle> older;
    for (const auto& [id, op] : running_)
        if (op->entry.keep && op->entry.term < term) older.push_back(op);
    for (const Handle& op : older) {
        log::warn("operation_orphaned", {{"verb", op->entry.verb}, {"operation", op->entry.id}});
        op->cancel();
    }
    for (const Handle& op : older)
        co_await op->whole->wait();
}

Task<void> Runner::retry_leftovers() {
    std::set<std::string> objects;
    for (const Leftover& leftover : journal_.leftovers())
        objects.insert(leftover.act.vm);
    for (const std::string& object : objects) {
        const auto lease = co_await queue_.acquire(object);
        co_await retry_leftovers_of(object);
    }
}

Task<void> Runner::retry_leftovers_of(std::string object) {
    for (const Leftover& leftover : journal_.leftovers()) {
        if (leftover.act.vm != object) continue;
        check_alive();
        try {
            co_await within(loop_, undo_act_limit, drop_result(acts_.perform(leftover.act, {})),
                            err::internal_error("took too long"));
        } catch (const ApiError& error) {
            log::warn("leftover_stays", {{"operation", leftover.operation},
                                         {"act", plan::describe(leftover.act)},
                                         {"error", error.what()}});
            co_return;
        }
        check_alive();
        co_await journal_.drop_leftover(leftover.id);
        tell_left_over(leftover.act);
    }
}

void Runner::refuse_over_leftovers(const plan::Plan& plan) const {
    // A leftover retried later would take away what this plan makes: two domains, or a disk closed
    // under a guest.
    if (plan.vm.empty() || !plan::acquires(plan)) return;
    for (const Leftover& leftover : journal_.leftovers())
        if (leftover.act.vm == plan.vm)
            throw err::internal_error_of(
                {"not cleaned up yet: " + plan::describe(leftover.act), leftover.error});
}

void Runner::check_alive() const {
    if (dead_) throw boost::system::system_error(asio::error::operation_aborted);
}

void Runner::stop_now() {
    dead_ = true;
    for (const auto& [id, op] : running_)
        op->cancel();
}

Task<void> Runner::stopped() {
    while (!running_.empty()) {
        const Handle op = running_.begin()->second;
        co_await op->whole->wait();
    }
}

void Runner::note(const Handle& op, const std::string& step, Moment moment) const {
    if (probe) probe(op->entry.verb, step, moment);
}

}  // namespace basalt::agent
