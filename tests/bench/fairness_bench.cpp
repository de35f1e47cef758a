// Two figures of docs/limits.md: by how much 64 greedy connections slow a polite client, and how
// long the turns of the loop are while large answers are made.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/wait.hpp"
#include "tests/bench/bench_house.hpp"

namespace {

using namespace basalt;
using bench::Client;
using bench::House;

constexpr int vms = 5000;
constexpr int greedy_connections = 64;
constexpr int samples = 2000;
constexpr std::uint64_t served_bytes = std::uint64_t{greedy_connections} * 14'000'000;
// What is promised: the polite client's 99th percentile grows to at most this, or by that factor.
constexpr double promised_ms = 10;
constexpr double promised_factor = 20;

struct Figures {
    double p50_ms = 0;
    double p99_ms = 0;
};

Figures figures_of(std::vector<double> took_ms) {
    std::ranges::sort(took_ms);
    return {took_ms[took_ms.size() / 2], took_ms[took_ms.size() * 99 / 100]};
}

double ms_since(Time began) {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began)
        .count();
}

Task<void> be_polite(RealLoop& loop, House& house, std::vector<double>& took_ms) {
    Client client(loop, house.port());
    co_await client.connect();
    const std::string body = bench::request("VM.get_name_label", {house.session(0), house.vm()});
    for (int i = 0; i < samples; ++i) {
        const Time began = std::chrono::steady_clock::now();
        co_await client.ask(body);
        took_ms.push_back(ms_since(began));
    }
    loop.stop();
}

Figures polite(House& house) {
    RealLoop loop(1);
    std::vector<double> took_ms;
    const auto job = spawn(loop, "polite", be_polite(loop, house, took_ms));
    loop.run();
    if (took_ms.size() < samples) std::exit(EXIT_FAILURE);
    return figures_of(std::move(took_ms));
}

Task<void> be_greedy(RealLoop& loop, House& house, std::atomic<std::uint64_t>& bytes) {
    Client client(loop, house.port());
    co_await client.connect();
    const std::string body = bench::request("VM.get_all_records", {house.session(1)});
    for (;;) {
        bytes += co_await client.ask(body);
        bytes.notify_all();
    }
}

/// 64 connections on a thread of their own, for as long as it lives.
class Greedy {
  public:
    explicit Greedy(House& house)
        : thread_([this, &house] {
              for (int i = 0; i < greedy_connections; ++i)
                  jobs_.push_back(spawn(loop_, "greedy", be_greedy(loop_, house, bytes_)));
              loop_.run();
          }) {}

    ~Greedy() {
        loop_.post([this] {
            for (const auto& job : jobs_)
                job->cancel();
            loop_.post([this] { loop_.stop(); });
        });
        thread_.join();
    }

    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

    /// Until every connection had an answer, or as good as.
    void wait_until_served() const {
        for (std::uint64_t seen = 0; seen < served_bytes; seen = bytes_)
            bytes_.wait(seen);
    }

  private:
    RealLoop loop_{1};
    std::atomic<std::uint64_t> bytes_ = 0;
    std::vector<std::shared_ptr<Job>> jobs_;
    std::thread thread_;
};

Task<void> one_call(RealLoop& loop, House& house, std::string body, std::size_t& bytes) {
    Client client(loop, house.port());
    co_await client.connect();
    bytes = co_await client.ask(std::move(body));
    loop.stop();
}

bool measure_turns(House& house) {
    const std::string& session = house.session(0);
    bool good = true;
    const std::pair<const char*, std::string> calls[] = {
        {"VM.get_all_records, first", bench::request("VM.get_all_records", {session})},
        {"VM.get_all_records, again", bench::request("VM.get_all_records", {session})},
        {"VM.get_all", bench::request("VM.get_all", {session})},
        {"VM.get_all_records_where",
         bench::request("VM.get_all_records_where",
                        {session, "field 'name__label' = 'virtual machine 7'"})},
        {"event.from of everything",
         bench::request("event.from", {session, R"(["*"])", "", "0.0"})},
        {"VM.add_tags", bench::request("VM.add_tags", {session, house.vm(), "x"})},
    };
    for (const auto& [name, body] : calls) {
        RealLoop loop(1);
        std::size_t bytes = 0;
        house.turns().forget();
        const Time began = std::chrono::steady_clock::now();
        const auto job = spawn(loop, "call", one_call(loop, house, body, bytes));
        loop.run();
        std::printf(
            "%-28s %10zu bytes in %7.1f ms, %6llu turns, longest %5lld us, over 1 ms: %llu\n", name,
            bytes, ms_since(began), static_cast<unsigned long long>(house.turns().all.load()),
            static_cast<long long>(house.turns().longest_us.load()),
            static_cast<unsigned long long>(house.turns().over_1ms.load()));
        good = good && house.turns().over_1ms == 0;
    }
    return good;
}

bool measure_fairness(House& house) {
    const Figures alone = polite(house);
    const Greedy greedy(house);
    greedy.wait_until_served();
    house.turns().forget();
    const std::uint64_t bytes_before = greedy.bytes();
    const Time began = std::chrono::steady_clock::now();
    const Figures beside = polite(house);
    const double seconds = ms_since(began) / 1000;
    const double factor = beside.p99_ms / alone.p99_ms;
    std::printf("polite client alone:     p50 %.3f ms, p99 %.3f ms\n", alone.p50_ms, alone.p99_ms);
    std::printf("beside %d greedy ones:   p50 %.3f ms, p99 %.3f ms (factor %.1f)\n",
                greedy_connections, beside.p50_ms, beside.p99_ms, factor);
    std::printf(
        "meanwhile: %.0f MB/s to the greedy ones, %llu turns, longest %lld us, over 1 ms: "
        "%llu\n",
        static_cast<double>(greedy.bytes() - bytes_before) / 1e6 / seconds,
        static_cast<unsigned long long>(house.turns().all.load()),
        static_cast<long long>(house.turns().longest_us.load()),
        static_cast<unsigned long long>(house.turns().over_1ms.load()));
    return beside.p99_ms <= promised_ms || factor <= promised_factor;
}

}  // namespace

int main() {
    House house(vms);
    const bool short_turns = measure_turns(house);
    const bool fair = measure_fairness(house);
    if (!short_turns) std::puts("NOT HELD: no turn over 1 ms");
    if (!fair) std::puts("NOT HELD: the promised factor");
    return short_turns && fair ? EXIT_SUCCESS : EXIT_FAILURE;
}
