#include "metrics/codec.hpp"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "base/json.hpp"

namespace basalt::metrics {

namespace {

static_assert(std::endian::native == std::endian::little, "rows are written as they lie in memory");

constexpr std::int64_t version = 1;
constexpr std::size_t text_bytes_max = 500;
constexpr std::size_t checksum_bytes = 4;
constexpr std::size_t archives_max = 16;
/// Farther than any clock: a row so late would make the arithmetic of rows overflow.
constexpr double time_max = 1e11;

// JSON has no word for what is not a number, nor for infinity: absent.
void put(Json& out, const char* key, double value) {
    if (std::isfinite(value)) out[key] = value;
}

double get(const Json& in, const char* key, double otherwise) {
    const auto found = in.find(key);
    return found != in.end() && found->is_number() ? found->get<double>() : otherwise;
}

std::int64_t whole(const Json& in, const char* key) {
    const auto found = in.find(key);
    if (found == in.end() || !found->is_number_integer())
        throw std::runtime_error(std::string("no number ") + key);
    return found->get<std::int64_t>();
}

Json head_of(const Archive& archive) {
    const Ring& ring = archive.ring();
    Json out = {{"fold", static_cast<int>(archive.fold())},
                {"steps", archive.shape().steps},
                {"first", ring.oldest()},
                {"count", ring.newest() - ring.oldest() + 1},
                {"row", archive.unfinished().row},
                {"known", archive.unfinished().known}};
    put(out, "value", archive.unfinished().value);
    return out;
}

Json head_of(const Source& source) {
    Json out = {{"name", source.info.name},         {"description", source.info.description},
                {"units", source.info.units},       {"kind", static_cast<int>(source.info.kind)},
                {"standard", source.info.standard}, {"archives", Json::array()}};
    put(out, "min", source.info.min);
    put(out, "max", source.info.max);
    put(out, "sampled", source.sampled);
    put(out, "at", source.sampled_at);
    put(out, "sum", source.step_sum);
    put(out, "seconds", source.step_known);
    for (const Archive& archive : source.archives)
        out["archives"].push_back(head_of(archive));
    return out;
}

void append_rows(std::string& out, const Ring& ring) {
    for (std::int64_t row = ring.oldest(); row <= ring.newest(); ++row) {
        const double value = ring.at(row);
        out.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
}

std::uint32_t checksum(std::string_view bytes) {
    return static_cast<std::uint32_t>(
        ::crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

std::size_t bytes_of(const Source& source) {
    std::size_t rows = 0;
    for (const Archive& archive : source.archives)
        rows += static_cast<std::size_t>(archive.ring().newest() - archive.ring().oldest() + 1);
    return rows * sizeof(double) + head_of(source).dump().size();
}

std::string encode_range(const Rrd& rrd, std::size_t first, std::size_t end) {
    Json head = {{"version", version},
                 {"extremes", rrd.extremes()},
                 {"life", rrd.life()},
                 {"updated", rrd.updated()},
                 {"sources", Json::array()}};
    std::string rows;
    for (std::size_t i = first; i < end; ++i) {
        const Source& source = rrd.sources()[i];
        head["sources"].push_back(head_of(source));
        for (const Archive& archive : source.archives)
            append_rows(rows, archive.ring());
    }
    std::string out = head.dump() + "\n" + rows;
    const std::uint32_t sum = checksum(out);
    out.append(reinterpret_cast<const char*>(&sum), sizeof sum);
    return out;
}

/// Takes doubles off the front.
class Rows {
  public:
    explicit Rows(std::string_view bytes) : bytes_(bytes) {}

    double next() {
        double value = 0;
        if (bytes_.size() < sizeof value) throw std::runtime_error("rows are missing");
        std::memcpy(&value, bytes_.data(), sizeof value);
        bytes_.remove_prefix(sizeof value);
        return value;
    }

    [[nodiscard]] bool empty() const { return bytes_.empty(); }

  private:
    std::string_view bytes_;
};

Shape shape_of(std::int64_t steps) {
    const auto found = std::ranges::find(shapes, steps, &Shape::steps);
    if (found == shapes.end()) throw std::runtime_error("no archive has rows of such length");
    return *found;
}

std::int64_t checked(std::int64_t value, std::int64_t least, std::int64_t most, const char* what) {
    if (value < least || value > most) throw std::runtime_error(std::string("impossible ") + what);
    return value;
}

Archive archive_from(const Json& head, Rows& rows) {
    const auto last_step = static_cast<std::int64_t>(time_max) / step_seconds;
    const Shape shape = shape_of(whole(head, "steps"));
    Archive out(static_cast<Fold>(checked(whole(head, "fold"), 0, 2, "fold")), shape);
    Ring ring(shape.rows);
    const std::int64_t first = checked(whole(head, "first"), 0, last_step, "first row");
    const std::int64_t count = checked(whole(head, "count"), 0, shape.rows, "number of rows");
    for (std::int64_t row = first; row < first + count; ++row)
        ring.put(row, rows.next());
    out.restore(std::move(ring), {.row = checked(whole(head, "row"), 0, last_step, "row"),
                                  .value = get(head, "value", 0),
                                  .known = checked(whole(head, "known"), 0, shape.steps, "steps")});
    return out;
}

std::string text_from(const Json& head, const char* key) {
    std::string text = text_member(head, key);
    if (text.size() > text_bytes_max) throw std::runtime_error(std::string("too long: ") + key);
    return text;
}

bool flag(const Json& head, const char* key) {
    const auto found = head.find(key);
    return found != head.end() && found->is_boolean() && found->get<bool>();
}

Source source_from(const Json& head, Rows& rows) {
    Source out;
    out.info = {.name = text_from(head, "name"),
                .description = text_from(head, "description"),
                .units = text_from(head, "units"),
                .kind = static_cast<Kind>(checked(whole(head, "kind"), 0, 2, "kind")),
                .min = get(head, "min", out.info.min),
                .max = get(head, "max", out.info.max),
                .standard = flag(head, "standard")};
    const bool plain =
        std::ranges::all_of(out.info.name, [](unsigned char c) { return std::isgraph(c) != 0; });
    if (out.info.name.empty() || !plain) throw std::runtime_error("a source without a name");
    out.sampled = get(head, "sampled", unknown);
    out.sampled_at = std::clamp(get(head, "at", 0), 0.0, time_max);
    out.step_sum = get(head, "sum", 0);
    out.step_known = std::clamp(get(head, "seconds", 0), 0.0, static_cast<double>(step_seconds));
    const auto archives = head.find("archives");
    if (archives == head.end() || !archives->is_array() || archives->size() > archives_max)
        throw std::runtime_error("a source without a list of archives");
    for (const Json& one : *archives)
        out.archives.push_back(archive_from(one, rows));
    return out;
}

}  // namespace

std::string encode(const Rrd& rrd) {
    return encode_range(rrd, 0, rrd.sources().size());
}

std::string encode_some(const Rrd& rrd, std::size_t first, std::size_t bytes_max,
                        std::size_t& next) {
    const std::size_t count = rrd.sources().size();
    std::size_t end = std::min(first, count);
    const std::size_t begin = end;
    for (std::size_t bytes = 0; end < count; ++end) {
        bytes += bytes_of(rrd.sources()[end]);
        if (bytes > bytes_max && end > begin) break;
    }
    next = end < count ? end : 0;
    return encode_range(rrd, begin, end);
}

Rrd decode(std::string_view bytes) {
    if (bytes.size() < checksum_bytes) throw std::runtime_error("too short");
    const std::string_view body = bytes.substr(0, bytes.size() - checksum_bytes);
    std::uint32_t sum = 0;
    std::memcpy(&sum, bytes.data() + body.size(), sizeof sum);
    if (sum != checksum(body)) throw std::runtime_error("damaged: the checksum is another");
    const std::size_t line = body.find('\n');
    if (line == std::string_view::npos) throw std::runtime_error("no head");
    const Json head = parse_foreign_json(body.substr(0, line));
    if (!head.is_object() || whole(head, "version") != version)
        throw std::runtime_error("not of this version");
    const auto list = head.find("sources");
    if (list == head.end() || !list->is_array() || list->size() > sources_max)
        throw std::runtime_error("no list of sources");
    Rows rows(body.substr(line + 1));
    std::vector<Source> sources;
    for (const Json& one : *list)
        sources.push_back(source_from(one, rows));
    if (!rows.empty()) throw std::runtime_error("more rows than announced");
    Rrd out(flag(head, "extremes"));
    out.restore(std::clamp(get(head, "updated", 0), 0.0, time_max), text_from(head, "life"),
                std::move(sources));
    return out;
}

}  // namespace basalt::metrics
