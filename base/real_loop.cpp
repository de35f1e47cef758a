#include "base/real_loop.hpp"

#include <sys/random.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

namespace basalt {

struct RealLoop::State {
    struct Job {
        Work work;
        Work done;
    };

    // Before the context: coroutines that wait when the loop ends are destroyed with it, and what
    // they hold takes its timers back.
    std::map<std::pair<Time, TimerId>, Work> timers;
    std::map<TimerId, Time> timer_times;
    TimerId last_timer = 0;

    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
    asio::steady_timer timer{context};
    std::unique_ptr<asio::signal_set> signals;
    std::function<void(const turn::Report&)> on_turn;

    std::mutex mutex;
    std::condition_variable ready;
    std::deque<Job> jobs;
    bool stopping = false;
    std::vector<std::thread> pool;

    std::array<std::uint64_t, 64> entropy{};
    std::size_t entropy_left = 0;

    void arm() {
        if (timers.empty()) return;
        timer.expires_at(timers.begin()->first.first);
        timer.async_wait([this](boost::system::error_code error) {
            if (!error) run_due();
        });
    }

    void run_due() {
        turn::begun();
        const Time now = std::chrono::steady_clock::now();
        std::vector<Work> due;
        while (!timers.empty() && timers.begin()->first.first <= now) {
            timer_times.erase(timers.begin()->first.second);
            due.push_back(std::move(timers.begin()->second));
            timers.erase(timers.begin());
        }
        arm();
        for (Work& work : due)
            work();
    }

    void post(Work work) {
        asio::post(context, [work = std::move(work)]() mutable {
            turn::begun();
            work();
        });
    }

    void run_watched() {
        turn::watch(true);
        for (;;) {
            turn::reset();
            if (context.run_one() == 0) break;
            if (const auto report = turn::finished()) on_turn(*report);
        }
        turn::watch(false);
    }

    void serve_pool() {
        for (;;) {
            Job job;
            {
                std::unique_lock lock(mutex);
                ready.wait(lock, [this] { return stopping || !jobs.empty(); });
                if (jobs.empty()) return;
                job = std::move(jobs.front());
                jobs.pop_front();
            }
            job.work();
            post(std::move(job.done));
        }
    }
};

RealLoop::RealLoop(unsigned pool_threads) : state_(std::make_unique<State>()) {
    // A pipe whose reader has gone fails that write; it does not end the process. Programs that are
    // started begin with the default again (subprocess.cpp).
    std::signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < pool_threads; ++i)
        state_->pool.emplace_back([state = state_.get()] { state->serve_pool(); });
}

RealLoop::~RealLoop() {
    {
        const std::lock_guard lock(state_->mutex);
        state_->stopping = true;
    }
    state_->ready.notify_all();
    for (std::thread& thread : state_->pool)
        thread.join();
}

Time RealLoop::now() const {
    return std::chrono::steady_clock::now();
}

std::int64_t RealLoop::wall_ns() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

std::uint64_t RealLoop::random() {
    // Session refs are secrets, so the kernel's generator, 512 bytes at a time.
    if (state_->entropy_left == 0) {
        std::size_t have = 0;
        auto* bytes = reinterpret_cast<char*>(state_->entropy.data());
        while (have < sizeof state_->entropy) {
            const ssize_t got = getrandom(bytes + have, sizeof state_->entropy - have, 0);
            if (got > 0) have += static_cast<std::size_t>(got);
        }
        state_->entropy_left = state_->entropy.size();
    }
    return state_->entropy[--state_->entropy_left];
}

asio::any_io_executor RealLoop::executor() {
    return state_->context.get_executor();
}

void RealLoop::post(Work work) {
    state_->post(std::move(work));
}

Loop::TimerId RealLoop::at(Time when, Work work) {
    const TimerId id = ++state_->last_timer;
    const bool first = state_->timers.empty() || when < state_->timers.begin()->first.first;
    state_->timers.emplace(std::pair{when, id}, std::move(work));
    state_->timer_times.emplace(id, when);
    if (first) state_->arm();
    return id;
}

void RealLoop::cancel(TimerId timer) {
    const auto found = state_->timer_times.find(timer);
    if (found == state_->timer_times.end()) return;
    state_->timers.erase({found->second, timer});
    state_->timer_times.erase(found);
}

void RealLoop::offload(Work work, Work done) {
    {
        const std::lock_guard lock(state_->mutex);
        state_->jobs.push_back({std::move(work), std::move(done)});
    }
    state_->ready.notify_one();
}

void RealLoop::run() {
    if (state_->on_turn) {
        state_->run_watched();
    } else {
        state_->context.run();
    }
    state_->context.restart();  // so that it can be run again after a stop
}

void RealLoop::on_turn(std::function<void(const turn::Report&)> handler) {
    state_->on_turn = std::move(handler);
}

void RealLoop::stop() {
    state_->context.stop();
}

void RealLoop::on_terminate(std::move_only_function<void()> handler) {
    state_->signals = std::make_unique<asio::signal_set>(state_->context, SIGTERM, SIGINT);
    auto shared = std::make_shared<std::move_only_function<void()>>(std::move(handler));
    state_->signals->async_wait([shared](boost::system::error_code error, int) {
        if (!error) (*shared)();
    });
}

asio::io_context& RealLoop::context() {
    return state_->context;
}

}  // namespace basalt
