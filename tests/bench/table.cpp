#include "tests/bench/table.hpp"

#include <openssl/evp.h>
#include <time.h>

#include <array>
#include <cstdio>
#include <format>

namespace basalt::bench {

namespace {

double thread_seconds() {
    timespec time{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

void print(const std::string& line) {
    std::puts(line.c_str());
    std::fflush(stdout);
}

}  // namespace

double calibration_gb_per_second() {
    constexpr double long_enough = 0.5;
    const std::vector<unsigned char> block(16384, 'x');
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    double bytes = 0;
    const double began = thread_seconds();
    double took = 0;
    while ((took = thread_seconds() - began) < long_enough)
        for (int i = 0; i < 256; ++i) {
            EVP_Digest(block.data(), block.size(), digest.data(), &size, EVP_sha256(), nullptr);
            bytes += static_cast<double>(block.size());
        }
    return bytes / took / 1e9;
}

void Table::heading(const std::string& text) {
    print("\n" + text);
}

void Table::call(const std::string& name, const std::string& how, int connections,
                 const Figures& row, double echo_us) {
    last_ = std::format("{} {} x{}", name, how, connections);
    std::string line = std::format(
        "  {:<28} {:<10} {:>3} conn  p50 {:>8.3f} ms  p99 {:>8.3f} ms {:>9.0f}/s  CPU {:>8.1f} us",
        name, how, connections, row.p50_ms, row.p99_ms, row.calls_per_second, row.cpu_us);
    if (echo_us > 0)
        line += std::format("  echo {:>5.1f} us  ratio {:.2f}", echo_us, row.cpu_us / echo_us);
    print(line);
}

void Table::figure(const std::string& name, double value, const std::string& unit) {
    last_ = name;
    print(std::format("  {:<64} {:>10.2f} {}", name, value, unit));
}

void Table::aim(Better better, double wanted, double measured, const std::string& unit,
                bool scaled) {
    // A slower machine makes times longer and rates smaller by the same factor.
    const double value = !scaled                  ? measured
                         : better == Better::less ? measured * scale_
                                                  : measured / scale_;
    const bool met = better == Better::less ? value <= wanted : value >= wanted;
    if (!met) ++missed_;
    const std::string text =
        std::format("{:<7} {:<44} {:>10.2f} {} (aim {} {:g})", met ? "met" : "MISSED", last_, value,
                    unit, better == Better::less ? "at most" : "at least", wanted);
    print("      " + text);
    verdicts_.push_back(text);
}

void Table::verdict() const {
    print("\nAims, scaled to a machine of " + std::format("{:.2f}", reference_gb_per_second) +
          " GB/s:");
    for (const std::string& text : verdicts_)
        print("  " + text);
    print(std::format("{} of {} missed", missed_, verdicts_.size()));
}

}  // namespace basalt::bench
