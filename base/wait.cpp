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

#include "base/log.hpp"

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
                       {{"job", job->name_}, {"error", as_api_error(job->failure_).what()}});
    };
    asio::co_spawn(
        loop.executor(), Job::begin(loop, job, std::move(body)),
        asio::bind_cancellation_slot(job->cancellation_->signal.slot(), std::move(ended)));
    return job;
}

Task<void> shielded(Task<void> body) {
    const auto executor = co_await asio::this_coro::executor;
    const bool throwing = co_await asio::this_coro::throw_if_cancelled();
    co_await asio::this_coro::throw_if_cancelled(false);
    std::exception_ptr failure;
    try {
        co_await asio::co_spawn(
            executor, std::move(body),
            asio::bind_cancellation_slot(asio::cancellation_slot{}, asio::use_awaitable));
    } catch (...) {
        failure = std::current_exception();
    }
    co_await asio::this_coro::throw_if_cancelled(throwing);
    if (failure) std::rethrow_exception(failure);
}

Task<void> within(Loop& loop, Duration limit, Task<void> body, ApiError late) {
    const auto job = spawn(loop, "within", std::move(body));
    bool timed_out = false;
    const Loop::TimerId timer = loop.at(loop.now() + limit, [job, &timed_out] {
        timed_out = true;
        job->cancel();
    });
    std::exception_ptr cancelled;
    try {
        co_await job->wait();
    } catch (const boost::system::system_error&) {
        cancelled = std::current_exception();
    }
    if (cancelled) {
        co_await asio::this_coro::reset_cancellation_state();
        job->cancel();
        co_await shielded(job->wait());
    }
    loop.cancel(timer);
    if (!job->failure()) co_return;
    if (timed_out && is_cancellation(job->failure())) throw late;
    co_await job->join();
}

Task<void> all(Loop& loop, std::vector<Task<void>> bodies) {
    std::vector<std::shared_ptr<Job>> jobs;
    for (Task<void>& body : bodies)
        jobs.push_back(spawn(loop, "all", std::move(body)));
    std::exception_ptr cancelled;
    try {
        for (const auto& job : jobs)
            co_await job->wait();
    } catch (const boost::system::system_error&) {
        cancelled = std::current_exception();
    }
    if (cancelled) {
        co_await asio::this_coro::reset_cancellation_state();
        for (const auto& job : jobs)
            job->cancel();
        for (const auto& job : jobs)
            co_await shielded(job->wait());
    }
    for (const auto& job : jobs)
        co_await job->join();
    if (cancelled) std::rethrow_exception(cancelled);
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
