#pragma once
#include <array>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

/// Round-robin archives: figures over time in bounded memory. Time is cut into steps of five
/// seconds, numbered by their ends since 1970: step n is over at n * step_seconds. So the archives
/// of all sources lie on one grid, and where a row is stored follows from its time alone.
namespace basalt::metrics {

inline constexpr std::int64_t step_seconds = 5;
/// What is not known.
inline constexpr double unknown = std::numeric_limits<double>::quiet_NaN();

/// How the steps of a row become one figure.
enum class Fold : std::uint8_t { average, min, max };

/// AVERAGE, MIN, MAX: as clients write them.
[[nodiscard]] std::string_view text(Fold fold);

struct Shape {
    std::int64_t steps;  ///< of one row
    std::int64_t rows;   ///< kept
};

/// Ten minutes of steps, two hours of minutes, a week of hours, a year of days.
inline constexpr std::array shapes = {Shape{1, 120}, Shape{12, 120}, Shape{720, 168},
                                      Shape{17280, 366}};

/// A row is known when at least half of its steps are.
inline constexpr double known_share = 0.5;

/// The newest `capacity` rows. Takes memory only for rows that there have been.
class Ring {
  public:
    explicit Ring(std::int64_t capacity) : capacity_(capacity) {}

    /// Stores a row that is newer than all before it; rows left out are unknown.
    void put(std::int64_t row, double value);
    /// Unknown for rows that are not kept.
    [[nodiscard]] double at(std::int64_t row) const;

    /// The oldest row that may be known, and the newest; the newest is below the oldest when there
    /// is none.
    [[nodiscard]] std::int64_t oldest() const;

    [[nodiscard]] std::int64_t newest() const { return newest_; }

    [[nodiscard]] std::int64_t capacity() const { return capacity_; }

    bool operator==(const Ring& other) const;

  private:
    [[nodiscard]] std::size_t place(std::int64_t row) const;

    std::int64_t capacity_;
    std::int64_t first_ = 0;  // ever stored, since it was last empty
    std::int64_t newest_ = -1;
    std::vector<double> values_;
};

/// One source's rows of one shape, folded in one way.
class Archive {
  public:
    Archive(Fold fold, Shape shape) : fold_(fold), shape_(shape), ring_(shape.rows) {}

    /// The steps after `before` up to and including `last` all had this value (or were unknown).
    /// Takes bounded time, however many they are.
    void add(std::int64_t before, std::int64_t last, double value);

    /// Rows and unfinished steps of an earlier life of the same source fill what is unknown here.
    void fill_from(const Archive& past);

    [[nodiscard]] Fold fold() const { return fold_; }

    [[nodiscard]] Shape shape() const { return shape_; }

    [[nodiscard]] const Ring& ring() const { return ring_; }

    /// The row that is not over yet: what its known steps have come to, and how many they are.
    struct Unfinished {
        std::int64_t row = 0;
        double value = 0;  ///< their sum, least or greatest
        std::int64_t known = 0;
        bool operator==(const Unfinished&) const = default;
    };

    [[nodiscard]] const Unfinished& unfinished() const { return unfinished_; }

    /// For the codec: as it was written.
    void restore(Ring ring, Unfinished unfinished);

    bool operator==(const Archive& other) const;

  private:
    void begin(std::int64_t row);
    void take(double value, std::int64_t steps);
    void finish();

    Fold fold_;
    Shape shape_;
    Ring ring_;
    Unfinished unfinished_;
};

}  // namespace basalt::metrics
