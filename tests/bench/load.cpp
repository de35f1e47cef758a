#include "tests/bench/load.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "tests/bench/daemons.hpp"

namespace basalt::bench {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t read_size = std::size_t{256} * 1024;
constexpr double warm_up_share = 0.1;

double ms_between(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

struct Caller {
    explicit Caller(const Target& target) : connection(target) {}

    Connection connection;
    AnswerReader reader;
    Clock::time_point sent;
};

class Loop {
  public:
    explicit Loop(const Load& load) : load_(load), poll_(::epoll_create1(EPOLL_CLOEXEC)) {
        for (int i = 0; i < load.connections; ++i) {
            auto& caller = callers_.emplace_back(std::make_unique<Caller>(load.target));
            caller->connection.never_block();
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.ptr = caller.get();
            ::epoll_ctl(poll_.get(), EPOLL_CTL_ADD, caller->connection.fd(), &event);
        }
    }

    Figures run() {
        for (const auto& caller : callers_)
            ask(*caller);
        turn_until(load_.seconds * warm_up_share);
        took_ms_.clear();
        const double cpu_before = cpu_seconds(load_.server);
        const double seconds = turn_until(load_.seconds);
        const double cpu = cpu_seconds(load_.server) - cpu_before;
        Figures figures = summary(std::move(took_ms_), seconds, cpu);
        figures.answer_bytes = callers_.front()->reader.body_bytes();
        return figures;
    }

  private:
    void ask(Caller& caller) {
        const std::string& request = load_.request(asked_++);
        caller.sent = Clock::now();
        caller.connection.send(request);
    }

    double turn_until(double seconds) {
        const auto began = Clock::now();
        const auto end = began + std::chrono::duration<double>(seconds);
        // At least one call each, however long it takes.
        while (Clock::now() < end || took_ms_.size() < callers_.size())
            turn();
        return ms_between(began, Clock::now()) / 1000;
    }

    void turn() {
        std::array<epoll_event, 64> ready{};
        const int count = ::epoll_wait(poll_.get(), ready.data(), ready.size(), -1);
        for (int i = 0; i < count; ++i)
            read(*static_cast<Caller*>(ready[static_cast<std::size_t>(i)].data.ptr));
    }

    void read(Caller& caller) {
        do {
            const std::size_t got = caller.connection.receive(buffer_.data(), buffer_.size());
            if (got == 0) return;
            if (!caller.reader.take({buffer_.data(), got})) continue;
            took_ms_.push_back(ms_between(caller.sent, Clock::now()));
            ask(caller);
        } while (caller.connection.pending());
    }

    const Load& load_;
    UniqueFd poll_;
    std::vector<std::unique_ptr<Caller>> callers_;
    std::vector<double> took_ms_;
    std::vector<char> buffer_ = std::vector<char>(read_size);
    std::size_t asked_ = 0;
};

}  // namespace

Figures summary(std::vector<double> took_ms, double seconds, double cpu_seconds) {
    if (took_ms.empty()) throw std::runtime_error("nothing was measured");
    std::ranges::sort(took_ms);
    const auto calls = static_cast<double>(took_ms.size());
    return {.calls_per_second = calls / seconds,
            .p50_ms = took_ms[took_ms.size() / 2],
            .p99_ms = took_ms[took_ms.size() * 99 / 100],
            .cpu_us = cpu_seconds / calls * 1e6};
}

Figures run(const Load& load) {
    return Loop(load).run();
}

Figures run_connecting(const Load& load) {
    const auto end = Clock::now() + std::chrono::duration<double>(load.seconds);
    const double cpu_before = cpu_seconds(load.server);
    const auto began = Clock::now();
    std::vector<std::vector<double>> took(static_cast<std::size_t>(load.connections));
    {
        std::vector<std::jthread> threads;
        for (auto& mine : took)
            threads.emplace_back([&load, &mine, end] {
                const std::string request = load.request(0);
                while (Clock::now() < end) {
                    const auto started = Clock::now();
                    Client(load.target).post(request);
                    mine.push_back(ms_between(started, Clock::now()));
                }
            });
    }
    const double seconds = ms_between(began, Clock::now()) / 1000;
    const double cpu = cpu_seconds(load.server) - cpu_before;
    std::vector<double> all;
    for (const auto& mine : took)
        all.insert(all.end(), mine.begin(), mine.end());
    return summary(std::move(all), seconds, cpu);
}

}  // namespace basalt::bench
