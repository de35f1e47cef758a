#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metrics/rrd.hpp"

/// The two texts in which clients read figures: the newest rows of many owners (`/rrd_updates`) and
/// the whole of one (`/vm_rrd`), each as XML and as JSON. All numbers in JSON are strings, as
/// clients know them.
namespace basalt::metrics {

/// Takes the text piece by piece.
using Sink = std::function<void(std::string_view)>;

/// %.15g; `0.0`, `NaN`, `Infinity`, `-Infinity`.
[[nodiscard]] std::string number_text(double value);

/// A fold's or another word of clients: nullopt for one that no archive has.
[[nodiscard]] std::optional<Fold> fold_of(std::string_view word);

/// What /rrd_updates is asked.
struct Question {
    std::int64_t start = 0;     ///< seconds since 1970: only rows later than this
    std::int64_t interval = 0;  ///< seconds: rows at least so long
    std::vector<Fold> folds;
};

/// The rows that answer it, newest first, of any number of owners.
class Updates {
  public:
    /// `latest`: when the newest samples were read, seconds since 1970. Rows come from the finest
    /// archive that has them long enough and reaches back to the start; the coarsest if none does.
    Updates(Question question, double latest);

    /// `owner` is how the legend names it: `host:UUID`, `vm:UUID`, `sr:UUID`.
    void add(const std::string& owner, const Rrd& rrd);
    void write(bool json, const Sink& sink) const;

    [[nodiscard]] std::size_t columns() const { return columns_.size(); }

    [[nodiscard]] std::int64_t rows() const { return rows_; }

    [[nodiscard]] std::int64_t step() const { return shape_.steps * step_seconds; }

  private:
    struct Column {
        std::string legend;
        std::vector<double> values;
    };

    [[nodiscard]] std::int64_t time_of(std::int64_t row) const { return row * step(); }

    [[nodiscard]] std::int64_t start() const;
    void write_xml(const Sink& sink) const;
    void write_json(const Sink& sink) const;

    Question question_;
    Shape shape_ = shapes.back();
    std::int64_t newest_ = 0;  // row
    std::int64_t rows_ = 0;
    std::vector<Column> columns_;
};

/// Everything that is recorded of one owner, oldest rows first. `at` is written as the time of the
/// last samples when there were none: seconds since 1970.
void write_whole(const Rrd& rrd, double at, bool json, const Sink& sink);

}  // namespace basalt::metrics
