#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/load.hpp"

namespace basalt::bench {

/// GB/s of SHA-256 over 16 KiB, by the CPU time of this thread: how fast the machine is just now.
double calibration_gb_per_second();

/// What a figure should be, on a machine of the calibration `reference_gb_per_second`.
inline constexpr double reference_gb_per_second = 1.44;

enum class Better { less, more };

/// Collects figures and says which aims were met. Times are scaled to the reference machine before
/// they are compared; memory is not.
class Table {
  public:
    explicit Table(double calibration) : scale_(calibration / reference_gb_per_second) {}

    void heading(const std::string& text);
    /// A row of a call's figures. `echo_us`: of the server that does nothing; 0: none.
    void call(const std::string& name, const std::string& how, int connections, const Figures& row,
              double echo_us = 0);
    /// A single figure.
    void figure(const std::string& name, double value, const std::string& unit);
    /// Judges the figure that was printed last. `scaled`: it is a time or a rate of this machine.
    void aim(Better better, double wanted, double measured, const std::string& unit,
             bool scaled = true);
    /// The aims once more, in short.
    void verdict() const;

  private:
    double scale_;
    std::string last_;
    std::vector<std::string> verdicts_;
    int missed_ = 0;
};

}  // namespace basalt::bench
