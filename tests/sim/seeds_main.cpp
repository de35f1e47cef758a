// Random work and random faults on a simulated pool, a seed at a time. A seed that fails is printed
// with how to run it again, and fails again.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "tests/sim/workload.hpp"

namespace {

using basalt::testing::Workload;

struct Options {
    std::uint64_t seeds = 100;
    std::uint64_t first = 0;
    Workload::Size size;
};

void print_failure(std::uint64_t seed, const Options& options, const std::string& wrong) {
    std::printf(
        "\nseed %llu failed:\n%srun it again with: ./dev test sim --seeds 1 --first %llu "
        "--hosts %d --steps %d\n",
        static_cast<unsigned long long>(seed), wrong.c_str(), static_cast<unsigned long long>(seed),
        options.size.hosts, options.size.steps);
    std::fflush(stdout);
}

std::string run_seed(std::uint64_t seed, const Options& options,
                     std::map<std::string, int>& outcomes) {
    std::string wrong;
    std::unique_ptr<Workload> work;
    try {
        work = std::make_unique<Workload>(seed, options.size);
        wrong = work->run();
    } catch (const std::exception& error) {
        wrong = std::string(error.what()) + "\n";
    }
    if (!work) return wrong;
    for (const auto& [code, times] : work->outcomes())
        outcomes[code] += times;
    return wrong;
}

int run(const Options& options) {
    const auto begun = std::chrono::steady_clock::now();
    std::map<std::string, int> outcomes;
    std::uint64_t failed = 0;
    for (std::uint64_t i = 0; i < options.seeds; ++i) {
        const std::uint64_t seed = options.first + i;
        const std::string wrong = run_seed(seed, options, outcomes);
        if (!wrong.empty()) {
            ++failed;
            print_failure(seed, options, wrong);
        }
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
            std::chrono::steady_clock::now() - begun);
        std::printf(
            "\r%llu of %llu seeds, %llu failed, %lld s", static_cast<unsigned long long>(i + 1),
            static_cast<unsigned long long>(options.seeds), static_cast<unsigned long long>(failed),
            static_cast<long long>(seconds.count()));
        std::fflush(stdout);
    }
    std::printf("\ncalls ended:");
    for (const auto& [code, times] : outcomes)
        std::printf(" %s %d", code.c_str(), times);
    std::printf("\n");
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"random work and random faults on simulated pools"};
    Options options;
    // Other ones each night.
    options.first = static_cast<std::uint64_t>(
        std::chrono::system_clock::now().time_since_epoch().count() / 1'000'000'000);
    app.add_option("--seeds", options.seeds, "how many");
    app.add_option("--first", options.first, "the first of them; random unless given");
    app.add_option("--hosts", options.size.hosts, "of each pool")->check(CLI::Range(1, 64));
    app.add_option("--steps", options.size.steps, "calls and faults a seed");
    CLI11_PARSE(app, argc, argv);
    return run(options);
}
