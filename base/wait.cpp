#include "base/wait.hpp"

#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include "base/context.hpp"
#include "base/log.hpp"
#include "base/turn.hpp"

namespace basalt {

namespace {
using Handler = asio::any_completion_handler<void(boost::system::error_code)>;
}

// A waiter is known by its id: a cancellation that comes late finds nobody and does nothing.
struct Signal::State : std::enable_shared_from_this<State> {
    explicit State(Loop& owner) : loop(owner) {}

    Loop& loop;
    std::uint64_t last_id = 0;
    std::map<std::uint64_t, Handler> waiters;

    std::uint64_t add(Handler handler) {
        const std::uint64_t id = ++last_id;
        waiters.emplace(id, std::move(handler));
        return id;
    }

    void complete(std::uint64_t id, boost::system::error_code result) {
        const auto found = waiters.find(id);
        if (found == waiters.end()) return;
        // Posted, never called here: a cancellation handler must not complete inside emit().
        loop.post(
            [handler = std::move(found->second), result]() mutable { std::move(handler)(result); });
        waiters.erase(found);
    }
};

namespace {

template <class Start>
Task<void> suspend(Start start) {
    const log::Suspension suspended;
    const turn::Kept same_job;
    co_await asio::async_initiate<const asio::use_awaitable_t<>, void(boost::system::error_code)>(
        std::move(start), asio::use_awaitable);
}

Task<void> wait_on(std::shared_ptr<Signal::State> state, std::uint64_t* id_out) {
    co_await suspend([state, id_out](auto handler) {
        auto slot = asio::get_associated_cancellation_slot(handler);
        const std::uint64_t id = state->add(std::move(handler));
        if (id_out != nullptr) *id_out = id;
        if (!slot.is_connected()) return;
        slot.assign([weak = std::weak_ptr(state), id](asio::cancellation_type) {
            if (auto alive = weak.lock()) alive->complete(id, asio::error::operation_aborted);
        });
    });
}

}  // namespace

Signal::Signal(Loop& loop) : state_(std::make_shared<State>(loop)) {}

Signal::~Signal() = default;

Task<void> Signal::wait() {
    return wait_on(state_, nullptr);
}

namespace {

Task<bool> wait_until_late(std::shared_ptr<Signal::State> state, Duration limit) {
    struct Race {
        std::uint64_t id = 0;
        bool late = false;
    };

    auto race = std::make_shared<Race>();
    const Loop::TimerId timer = state->loop.at(state->loop.now() + limit, [state, race] {
        race->late = true;
        state->complete(race->id, {});
    });
    std::exception_ptr failure;
    try {
        co_await wait_on(state, &race->id);
    } catch (const boost::system::system_error&) {
        failure = std::current_exception();
    }
    state->loop.cancel(timer);
    if (failure) std::rethrow_exception(failure);
    co_return !race->late;
}

}  // namespace

Task<bool> Signal::wait_for(Duration limit) {
    return wait_until_late(state_, limit);
}

void Signal::notify_all() {
    while (!state_->waiters.empty())
        state_->complete(state_->waiters.begin()->first, {});
}

void Signal::notify_one() {
    if (!state_->waiters.empty()) state_->complete(state_->waiters.begin()->first, {});
}

Task<void> sleep_for(Loop& loop, Duration time) {
    Signal never(loop);
    co_await never.wait_for(time);
}

// A coroutine that is cancelled before its first turn would never run at all, and whoever relies on
// its own handling of a cancel (an answer sent, an undo) would be left without: so a cancel waits
// until the coroutine has begun.
struct Job::Cancellation {
    asio::cancellation_signal signal;
    bool begun = false;
    bool wanted = false;
};

Job::Job(Loop& loop, std::string name)
    : name_(std::move(name)), cancellation_(std::make_shared<Cancellation>()), ended_(loop) {}

void Job::cancel() {
    cancellation_->wanted = true;
    if (!finished_ && cancellation_->begun)
        cancellation_->signal.emit(asio::cancellation_type::terminal);
}

Task<void> Job::begin(Loop& loop, std::shared_ptr<Job> job, Task<void> body) {
    turn::belongs_to(std::make_shared<const std::string>(job->name_));
    job->cancellation_->begun = true;
    // Posted: the body must reach its first wait before.
    if (job->cancellation_->wanted) loop.post([job] { job->cancel(); });
    co_await std::move(body);
}

Task<void> Job::wait() {
    while (!finished_)
        co_await ended_.wait();
}

Task<void> Job::join() {
    observed_ = true;
    co_await wait();
    if (failure_) std::rethrow_exception(failure_);
}

std::shared_ptr<Job> spawn(Loop& loop, std::string name, Task<void> body) {
    auto job = std::make_shared<Job>(loop, std::move(name));
    auto ended = [job](std::exception_ptr failure) {
        job->failure_ = std::move(failure);
        job->finished_ = true;
        job->ended_.notify_all();
        if (job->failure_ && !job->observed_ && !is_cancellation(job->failure_))
            log::error("job_failed",
                       {{"job", job->name()}, {"error", as_api_error(job->failure_).what()}});
    };
    // The real loop begins the job here and now, up to its first wait; then the caller goes on.
    const log::Suspension apart;
    const turn::Kept kept;
    asio::co_spawn(
        loop.executor(), Job::begin(loop, job, std::move(body)),
        asio::bind_cancellation_slot(job->cancellation_->signal.slot(), std::move(ended)));
    return job;
}

namespace {

Task<void> carry(log::ContextPtr context, Task<void> body) {
    const log::Scope scope(std::move(context));
    co_await std::move(body);
}

// A coroutine of its own, which no cancel reaches; the caller's context goes with it.
Task<void> run_apart(asio::any_io_executor executor, Task<void> body) {
    Task<void> carried = carry(log::context(), std::move(body));
    const log::Suspension suspended;
    co_await asio::co_spawn(
        executor, std::move(carried),
        asio::bind_cancellation_slot(asio::cancellation_slot{}, asio::use_awaitable));
}

}  // namespace

Task<void> shielded(Task<void> body) {
    const auto executor = co_await asio::this_coro::executor;
    const bool throwing = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    std::exception_ptr failure;
    const turn::Kept same_job;
    try {
        co_await run_apart(executor, std::move(body));
    } catch (...) {
        failure = std::current_exception();
    }
    co_await asio::this_coro::throw_if_cancelled(throwing);
    if (failure) std::rethrow_exception(failure);
}

namespace {

// A job whose failure is its starter's business: kept, neither logged nor thrown by the job.
struct Part {
    std::shared_ptr<Job> job;
    std::exception_ptr failure;
};

Task<void> keep_failure(std::shared_ptr<Part> part, log::ContextPtr context, Task<void> body) {
    const log::Scope scope(std::move(context));
    try {
        co_await std::move(body);
    } catch (...) {
        part->failure = std::current_exception();
    }
}

std::shared_ptr<Part> start_part(Loop& loop, const char* name, Task<void> body) {
    auto part = std::make_shared<Part>();
    part->job = spawn(loop, name, keep_failure(part, log::context(), std::move(body)));
    return part;
}

// Returns when all have ended, and whether the caller was cancelled meanwhile; then they are too.
// Cancellation is switched off, not reset: it stays noted, and the caller's next wait throws.
Task<bool> await_end(const std::vector<std::shared_ptr<Part>>& parts) {
    const bool throwing = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    bool cancelled = false;
    for (const auto& part : parts) {
        while (!part->job->finished()) {
            try {
                co_await part->job->wait();
            } catch (const boost::system::system_error&) {
                cancelled = true;
            }
            if (!cancelled) continue;
            for (const auto& other : parts)
                other->job->cancel();
        }
    }
    co_await asio::this_coro::throw_if_cancelled(throwing);
    co_return cancelled;
}

}  // namespace

Task<void> within(Loop& loop, Duration limit, Task<void> body, ApiError late) {
    const auto part = start_part(loop, "within", std::move(body));
    const auto timed_out = std::make_shared<bool>(false);
    const Loop::TimerId timer = loop.at(loop.now() + limit, [part, timed_out] {
        *timed_out = true;
        part->job->cancel();
    });
    const std::vector parts{part};
    const bool cancelled = co_await await_end(parts);
    loop.cancel(timer);
    if (!part->failure) co_return;
    if (*timed_out && !cancelled && is_cancellation(part->failure)) throw late;
    std::rethrow_exception(part->failure);
}

namespace {

struct Company {
    std::vector<std::shared_ptr<Part>> parts;
    std::exception_ptr failure;

    void cancel() {
        for (const auto& part : parts)
            part->job->cancel();
    }
};

Task<void> in_company(std::shared_ptr<Company> company, Task<void> body) {
    try {
        co_await std::move(body);
    } catch (...) {
        if (!company->failure) company->failure = std::current_exception();
        company->cancel();
    }
}

}  // namespace

Task<void> all_or_none(Loop& loop, std::vector<Task<void>> bodies) {
    const auto company = std::make_shared<Company>();
    for (Task<void>& body : bodies) {
        company->parts.push_back(
            start_part(loop, "all or none", in_company(company, std::move(body))));
        if (company->failure) company->cancel();  // before this one was known
    }
    const bool cancelled = co_await await_end(company->parts);
    if (company->failure) std::rethrow_exception(company->failure);
    if (cancelled) throw boost::system::system_error(asio::error::operation_aborted);
}

Task<void> all(Loop& loop, std::vector<Task<void>> bodies) {
    std::vector<std::shared_ptr<Part>> parts;
    for (Task<void>& body : bodies)
        parts.push_back(start_part(loop, "all", std::move(body)));
    const bool cancelled = co_await await_end(parts);
    for (const auto& part : parts)
        if (part->failure) std::rethrow_exception(part->failure);
    if (cancelled) throw boost::system::system_error(asio::error::operation_aborted);
}

namespace {

struct Offload {
    Loop::Work work;
    std::exception_ptr failure;
    bool done = false;
};

Task<void> run_offload(Loop& loop, std::shared_ptr<Offload> job) {
    Signal finished(loop);
    loop.offload(
        [job] {
            try {
                job->work();
            } catch (...) {
                job->failure = std::current_exception();
            }
        },
        [job, &finished] {
            job->done = true;
            finished.notify_all();
        });
    while (!job->done)
        co_await finished.wait();
}

}  // namespace

Task<void> offloaded(Loop& loop, Loop::Work work) {
    auto job = std::make_shared<Offload>();
    job->work = std::move(work);
    co_await shielded(run_offload(loop, job));
    if (job->failure) std::rethrow_exception(job->failure);
}

Task<ObjectQueue::Lease> ObjectQueue::acquire(std::string key) {
    Line& line = lines_[key];
    if (!line.moved) line.moved = std::make_unique<Signal>(loop_);
    const std::uint64_t ticket = ++last_ticket_;
    line.tickets.push_back(ticket);
    std::exception_ptr failure;
    try {
        while (line.tickets.front() != ticket)
            co_await line.moved->wait();
    } catch (const boost::system::system_error&) {
        failure = std::current_exception();
    }
    if (failure) {
        leave(key, ticket);
        std::rethrow_exception(failure);
    }
    co_return Lease(*this, std::move(key));
}

void ObjectQueue::release(const std::string& key) {
    leave(key, lines_.at(key).tickets.front());
}

void ObjectQueue::leave(const std::string& key, std::uint64_t ticket) {
    const auto found = lines_.find(key);
    std::erase(found->second.tickets, ticket);
    if (found->second.tickets.empty()) {
        lines_.erase(found);
    } else {
        found->second.moved->notify_all();
    }
}

}  // namespace basalt
