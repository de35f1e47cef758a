#include "base/log.hpp"

#include <algorithm>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "base/context.hpp"

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

ContextPtr& current() {
    // Of each thread: the loop's is the coroutine's, those of the pool stay empty.
    thread_local ContextPtr context;
    return context;
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

bool names(Fields fields, std::string_view key) {
    return std::ranges::any_of(fields, [&](const Field& field) { return field.key == key; });
}

void append_context(std::string& line, Fields fields) {
    const ContextPtr& context = current();
    if (!context) return;
    for (const auto& [key, value] :
         {std::pair<std::string_view, const std::string&>{"trace", context->trace},
          {"task", context->task}}) {
        if (value.empty() || names(fields, key)) continue;
        line += ' ';
        line += key;
        line += '=';
        append_value(line, value);
    }
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
    append_context(line, fields);
    out.log(level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace

const ContextPtr& context() {
    return current();
}

std::string current_trace() {
    return current() ? current()->trace : std::string();
}

Scope::Scope(ContextPtr context) : before_(std::exchange(current(), std::move(context))) {}

Scope::Scope(const std::string& trace)
    : Scope(trace.empty() ? nullptr : std::make_shared<const Context>(Context{trace, {}})) {}

Scope::~Scope() {
    current() = std::move(before_);
}

Suspension::Suspension() : mine_(std::exchange(current(), nullptr)) {}

Suspension::~Suspension() {
    current() = std::move(mine_);
}

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
