#include "base/log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace basalt::log {

namespace {

spdlog::logger& logger() {
    static const auto instance = [] {
        auto made = spdlog::stderr_logger_mt("basalt");
        made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
        made->set_level(spdlog::level::info);
        return made;
    }();
    return *instance;
}

bool needs_quotes(std::string_view value) {
    return value.empty() || value.find_first_of(" \"=\n\t\\") != std::string_view::npos;
}

void append_value(std::string& line, std::string_view value) {
    if (!needs_quotes(value)) {
        line += value;
        return;
    }
    line += '"';
    for (const char c : value) {
        if (c == '\n') {
            line += "\\n";
            continue;
        }
        if (c == '"' || c == '\\') line += '\\';
        line += c;
    }
    line += '"';
}

void write(spdlog::level::level_enum level, std::string_view event, Fields fields) {
    spdlog::logger& out = logger();
    if (!out.should_log(level)) return;
    std::string line(event);
    for (const Field& field : fields) {
        line += ' ';
        line += field.key;
        line += '=';
        append_value(line, field.value);
    }
    out.log(level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

void set_level(Level level) {
    constexpr spdlog::level::level_enum levels[] = {spdlog::level::debug, spdlog::level::info,
                                                    spdlog::level::warn, spdlog::level::err,
                                                    spdlog::level::off};
    logger().set_level(levels[static_cast<int>(level)]);
}

void debug(std::string_view event, Fields fields) {
    write(spdlog::level::debug, event, fields);
}

void info(std::string_view event, Fields fields) {
    write(spdlog::level::info, event, fields);
}

void warn(std::string_view event, Fields fields) {
    write(spdlog::level::warn, event, fields);
}

void error(std::string_view event, Fields fields) {
    write(spdlog::level::err, event, fields);
}

}  // namespace basalt::log
