#include "xapi/domain/perfmon.hpp"

#include <regex.h>

#include <cctype>
#include <charconv>
#include <cmath>
#include <format>
#include <pugixml.hpp>
#include <string_view>

namespace basalt::domain::perfmon {

namespace {

constexpr std::size_t pattern_bytes_max = 128;
constexpr std::size_t variables_max = 32;
constexpr std::int64_t seconds_max = std::int64_t{366} * 24 * 3600;

/// What a name means unless its configuration says otherwise.
struct Meaning {
    std::string pattern;
    bool averaged = false;
    bool above = true;
};

std::string exact_pattern(std::string_view name) {
    std::string out;
    for (const char c : name) {
        if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_') out += '\\';
        out += c;
    }
    return out + "$";
}

Meaning meaning_of(const std::string& name, Owner owner) {
    // Figures of a repository are the host's too; these names say so.
    constexpr std::string_view of_repository = "sr_io_throughput_total_";
    if (name == "cpu_usage") return {.pattern = "cpu[0-9]+$", .averaged = true};
    if (name == "network_usage")
        return {.pattern = owner == Owner::host ? "pif_[a-z0-9]+_[rt]x$" : "vif_[0-9]+_[rt]x$"};
    if (name == "disk_usage") return {.pattern = "vbd_(xvd|hd)[a-z]+_(read|write)$"};
    if (name == "memory_free_kib" || name == "memory_internal_free")
        return {.pattern = exact_pattern(name), .above = false};
    if (owner == Owner::host && name.starts_with(of_repository))
        return {.pattern = exact_pattern(std::string_view(name).substr(3))};
    return {.pattern = exact_pattern(name)};
}

std::string text_of(const pugi::xml_node& variable, const char* key) {
    return variable.child(key).attribute("value").as_string();
}

template <class N>
std::optional<N> number_of(const std::string& text) {
    N value{};
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::int64_t seconds_of(const pugi::xml_node& variable, const char* key, std::int64_t otherwise) {
    const auto number = number_of<double>(text_of(variable, key));
    if (!number || !(*number >= 1 && *number <= static_cast<double>(seconds_max))) return otherwise;
    return static_cast<std::int64_t>(*number);
}

struct Written final : pugi::xml_writer {
    std::string text;

    void write(const void* data, std::size_t size) override {
        text.append(static_cast<const char*>(data), size);
    }
};

std::string written(const pugi::xml_node& node) {
    Written out;
    node.print(out, "  ");
    return std::move(out.text);
}

/// A pattern of POSIX without references to what it matched, which could take for ever.
class Pattern {
  public:
    explicit Pattern(const std::string& text) {
        if (text.size() > pattern_bytes_max || has_reference(text)) return;
        const std::string anchored = "^(" + text + ")";
        valid_ = ::regcomp(&compiled_, anchored.c_str(), REG_EXTENDED | REG_NOSUB) == 0;
    }

    ~Pattern() {
        if (valid_) ::regfree(&compiled_);
    }

    Pattern(const Pattern&) = delete;
    Pattern& operator=(const Pattern&) = delete;

    [[nodiscard]] bool valid() const { return valid_; }

    [[nodiscard]] bool fits(const std::string& name) const {
        return valid_ && ::regexec(&compiled_, name.c_str(), 0, nullptr, 0) == 0;
    }

  private:
    static bool has_reference(const std::string& text) {
        for (std::size_t at = text.find('\\'); at != std::string::npos && at + 1 < text.size();
             at = text.find('\\', at + 2))
            if (text[at + 1] >= '1' && text[at + 1] <= '9') return true;
        return false;
    }

    regex_t compiled_{};
    bool valid_ = false;
};

std::optional<Variable> variable_of(const pugi::xml_node& node, Owner owner) {
    Variable out;
    out.name = text_of(node, "name");
    const auto level = number_of<double>(text_of(node, "alarm_trigger_level"));
    if (out.name.empty() || out.name.size() > pattern_bytes_max || !level || !std::isfinite(*level))
        return std::nullopt;
    const Meaning meaning = meaning_of(out.name, owner);
    out.pattern = text_of(node, "rrd_regex");
    if (out.pattern.empty()) out.pattern = meaning.pattern;
    if (!Pattern(out.pattern).valid()) return std::nullopt;
    const std::string fold = text_of(node, "consolidation_fn");
    out.averaged = fold.empty() ? meaning.averaged : fold == "average";
    out.level = *level;
    const std::string sense = text_of(node, "alarm_trigger_sense");
    out.above = sense.empty() ? meaning.above : sense != "low";
    out.period_seconds = seconds_of(node, "alarm_trigger_period", out.period_seconds);
    out.silence_seconds = seconds_of(node, "alarm_auto_inhibit_period", out.silence_seconds);
    if (const auto priority = number_of<std::int64_t>(text_of(node, "alarm_priority"));
        priority && *priority >= 1 && *priority <= 5)
        out.priority = *priority;
    out.xml = written(node);
    return out;
}

}  // namespace

std::vector<Variable> parse(const std::string& xml, Owner owner) {
    pugi::xml_document document;
    std::vector<Variable> out;
    if (!document.load_buffer(xml.data(), xml.size())) return out;
    for (const pugi::xml_node& node : document.child("config").children("variable")) {
        if (out.size() == variables_max) break;
        if (auto variable = variable_of(node, owner)) out.push_back(*std::move(variable));
    }
    return out;
}

std::optional<double> figure(const Variable& variable, const std::map<std::string, double>& means) {
    const Pattern pattern(variable.pattern);
    double sum = 0;
    std::size_t count = 0;
    for (const auto& [name, mean] : means) {
        if (!pattern.fits(name)) continue;
        sum += mean;
        ++count;
    }
    if (count == 0) return std::nullopt;
    return variable.averaged ? sum / static_cast<double>(count) : sum;
}

bool is_alarm(const Variable& variable, double figure) {
    return variable.above ? figure > variable.level : figure < variable.level;
}

std::string body(const Variable& variable, double figure) {
    return std::format("value: {:.6f}\nconfig:\n{}", figure, variable.xml);
}

std::string variable_in(const std::string& body) {
    constexpr std::string_view before = "config:\n";
    const std::size_t at = body.find(before);
    pugi::xml_document document;
    if (at == std::string::npos || !document.load_string(body.c_str() + at + before.size()))
        return {};
    return text_of(document.child("variable"), "name");
}

}  // namespace basalt::domain::perfmon
