#include "metrics/text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace basalt::metrics {

namespace {

constexpr std::size_t piece_bytes = std::size_t{64} * 1024;

/// Collects what is written into pieces.
class Out {
  public:
    explicit Out(const Sink& sink) : sink_(sink) {}

    ~Out() = default;
    Out(const Out&) = delete;
    Out& operator=(const Out&) = delete;

    Out& operator<<(std::string_view text) {
        pending_ += text;
        if (pending_.size() >= piece_bytes) flush();
        return *this;
    }

    Out& operator<<(std::int64_t number) { return *this << std::to_string(number); }

    Out& operator<<(double number) { return *this << number_text(number); }

    void flush() {
        sink_(pending_);
        pending_.clear();
    }

  private:
    const Sink& sink_;
    std::string pending_;
};

// Names are plain words already (codec, sources); a comma between all but the first.
template <class Items, class Write>
void separated(Out& out, const Items& items, Write write) {
    bool first = true;
    for (const auto& item : items) {
        if (!first) out << ",";
        first = false;
        write(item);
    }
}

std::vector<const Source*> recorded(const Rrd& rrd) {
    std::vector<const Source*> out;
    for (const Source& source : rrd.sources())
        if (source.recorded()) out.push_back(&source);
    return out;
}

// Of that source, folded and shaped like `like`; null when it was recorded without.
const Archive* archive_like(const Source& source, const Archive& like) {
    const auto at = std::ranges::find_if(source.archives, [&like](const Archive& one) {
        return one.fold() == like.fold() && one.shape().steps == like.shape().steps;
    });
    return at == source.archives.end() ? nullptr : &*at;
}

double step_unknown(const Source& source, double updated) {
    const double in_step = updated - std::floor(updated / step_seconds) * step_seconds;
    return std::max(0.0, in_step - source.step_known);
}

std::int64_t newest_row(const Archive& archive, double updated) {
    const auto steps = static_cast<std::int64_t>(updated) / step_seconds;
    return steps / archive.shape().steps;
}

// What the steps of the row that is not over have come to, and how many of them are unknown.
struct Preparation {
    double value = 0;
    std::int64_t unknown_steps = 0;
};

Preparation preparation_of(const Archive* archive, const Archive& like, double updated) {
    const std::int64_t steps = static_cast<std::int64_t>(updated) / step_seconds;
    const std::int64_t over = steps % like.shape().steps;
    if (archive == nullptr || archive->unfinished().row != steps / like.shape().steps + 1)
        return {0, over};
    return {archive->unfinished().value,
            std::max<std::int64_t>(0, over - archive->unfinished().known)};
}

void write_whole_xml(const Rrd& rrd, double at, Out& out) {
    const auto sources = recorded(rrd);
    out << "<rrd><version>0003</version><step>" << step_seconds << "</step><lastupdate>"
        << static_cast<std::int64_t>(at) << "</lastupdate>";
    for (const Source* source : sources) {
        out << "<ds><name>" << source->info.name << "</name><type>" << text(source->info.kind)
            << "</type><minimal_heartbeat>" << heartbeat_seconds << "</minimal_heartbeat><min>"
            << source->info.min << "</min><max>" << source->info.max << "</max><last_ds>"
            << source->sampled << "</last_ds><value>" << source->step_sum << "</value><unknown_sec>"
            << static_cast<std::int64_t>(step_unknown(*source, at)) << "</unknown_sec></ds>";
    }
    for (const Archive& like : rrd.fresh_archives()) {
        out << "<rra><cf>" << text(like.fold()) << "</cf><pdp_per_row>" << like.shape().steps
            << "</pdp_per_row><params><xff>" << known_share << "</xff></params><cdp_prep>";
        for (const Source* source : sources) {
            const auto prepared = preparation_of(archive_like(*source, like), like, at);
            out << "<ds><primary_value>0.0</primary_value><secondary_value>0.0</secondary_value>"
                << "<value>" << prepared.value << "</value><unknown_datapoints>"
                << prepared.unknown_steps << "</unknown_datapoints></ds>";
        }
        out << "</cdp_prep><database>";
        const std::int64_t newest = newest_row(like, at);
        for (std::int64_t row = newest - like.shape().rows + 1; row <= newest; ++row) {
            out << "<row>";
            for (const Source* source : sources) {
                const Archive* archive = archive_like(*source, like);
                out << "<v>" << (archive == nullptr ? unknown : archive->ring().at(row)) << "</v>";
            }
            out << "</row>";
        }
        out << "</database></rra>";
    }
    out << "</rrd>";
}

void write_whole_json(const Rrd& rrd, double at, Out& out) {
    const auto sources = recorded(rrd);
    out << R"({"version":"0003","step":")" << step_seconds << R"(","lastupdate":")"
        << static_cast<std::int64_t>(at) << R"(","ds":[)";
    separated(out, sources, [&](const Source* source) {
        out << R"({"name":")" << source->info.name << R"(","type":")" << text(source->info.kind)
            << R"(","minimal_heartbeat":")" << heartbeat_seconds << R"(","min":")"
            << source->info.min << R"(","max":")" << source->info.max << R"(","last_ds":")"
            << source->sampled << R"(","value":")" << source->step_sum << R"(","unknown_sec":")"
            << static_cast<std::int64_t>(step_unknown(*source, at)) << R"("})";
    });
    out << R"(],"rra":[)";
    separated(out, rrd.fresh_archives(), [&](const Archive& like) {
        out << R"({"cf":")" << text(like.fold()) << R"(","pdp_per_row":")" << like.shape().steps
            << R"(","params":{"xff":")" << known_share << R"("},"cdp_prep":{"ds":[)";
        separated(out, sources, [&](const Source* source) {
            const auto prepared = preparation_of(archive_like(*source, like), like, at);
            out << R"({"primary_value":"0.0","secondary_value":"0.0","value":")" << prepared.value
                << R"(","unknown_datapoints":")" << prepared.unknown_steps << R"("})";
        });
        out << R"(]},"database":[)";
        const std::int64_t newest = newest_row(like, at);
        std::vector<std::int64_t> rows;
        for (std::int64_t row = newest - like.shape().rows + 1; row <= newest; ++row)
            rows.push_back(row);
        separated(out, rows, [&](std::int64_t row) {
            out << "[";
            separated(out, sources, [&](const Source* source) {
                const Archive* archive = archive_like(*source, like);
                out << "\"" << (archive == nullptr ? unknown : archive->ring().at(row)) << "\"";
            });
            out << "]";
        });
        out << "]}";
    });
    out << "]}";
}

}  // namespace

std::string number_text(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
    if (value == 0) return "0.0";
    std::array<char, 32> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                   std::chars_format::general, 15);
    return {buffer.data(), end.ptr};
}

std::optional<Fold> fold_of(std::string_view word) {
    for (const Fold fold : {Fold::average, Fold::min, Fold::max})
        if (text(fold) == word) return fold;
    return std::nullopt;
}

Updates::Updates(Question question, double latest) : question_(std::move(question)) {
    const auto steps = static_cast<std::int64_t>(std::floor(latest / step_seconds));
    const auto fits = [&](const Shape& shape) {
        const std::int64_t seconds = shape.steps * step_seconds;
        const std::int64_t oldest = (steps / shape.steps - shape.rows) * seconds;
        return seconds >= question_.interval && question_.start >= oldest;
    };
    const auto found = std::ranges::find_if(shapes, fits);
    if (found != shapes.end()) shape_ = *found;
    newest_ = steps / shape_.steps;
    for (std::int64_t row = newest_; rows_ < shape_.rows && time_of(row) > question_.start; --row)
        ++rows_;
}

void Updates::add(const std::string& owner, const Rrd& rrd) {
    for (const Fold fold : question_.folds) {
        for (const Source& source : rrd.sources()) {
            for (const Archive& archive : source.archives) {
                if (archive.fold() != fold || archive.shape().steps != shape_.steps) continue;
                Column column{std::string(text(fold)) + ":" + owner + ":" + source.info.name, {}};
                column.values.reserve(static_cast<std::size_t>(rows_));
                for (std::int64_t row = newest_; row > newest_ - rows_; --row)
                    column.values.push_back(archive.ring().at(row));
                columns_.push_back(std::move(column));
            }
        }
    }
}

std::int64_t Updates::start() const {
    return time_of(rows_ == 0 ? newest_ : newest_ - rows_ + 1);
}

void Updates::write(bool json, const Sink& sink) const {
    return json ? write_json(sink) : write_xml(sink);
}

void Updates::write_xml(const Sink& sink) const {
    Out out(sink);
    out << "<xport><meta><start>" << start() << "</start><step>" << step() << "</step><end>"
        << time_of(newest_) << "</end><rows>" << rows_ << "</rows><columns>"
        << static_cast<std::int64_t>(columns_.size()) << "</columns><legend>";
    for (const Column& column : columns_)
        out << "<entry>" << column.legend << "</entry>";
    out << "</legend></meta><data>";
    for (std::int64_t i = 0; i < rows_; ++i) {
        out << "<row><t>" << time_of(newest_ - i) << "</t>";
        for (const Column& column : columns_)
            out << "<v>" << column.values[static_cast<std::size_t>(i)] << "</v>";
        out << "</row>";
    }
    out << "</data></xport>";
    out.flush();
}

void Updates::write_json(const Sink& sink) const {
    Out out(sink);
    out << R"({"meta":{"start":")" << start() << R"(","step":")" << step() << R"(","end":")"
        << time_of(newest_) << R"(","rows":")" << rows_ << R"(","columns":")"
        << static_cast<std::int64_t>(columns_.size()) << R"(","legend":[)";
    separated(out, columns_, [&](const Column& column) { out << "\"" << column.legend << "\""; });
    out << R"(]},"data":[)";
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < rows_; ++i)
        rows.push_back(i);
    separated(out, rows, [&](std::int64_t i) {
        out << R"({"t":")" << time_of(newest_ - i) << R"(","values":[)";
        separated(out, columns_, [&](const Column& column) {
            out << "\"" << column.values[static_cast<std::size_t>(i)] << "\"";
        });
        out << "]}";
    });
    out << "]}";
    out.flush();
}

void write_whole(const Rrd& rrd, double at, bool json, const Sink& sink) {
    Out out(sink);
    if (rrd.updated() > 0) at = rrd.updated();
    json ? write_whole_json(rrd, at, out) : write_whole_xml(rrd, at, out);
    out.flush();
}

}  // namespace basalt::metrics
