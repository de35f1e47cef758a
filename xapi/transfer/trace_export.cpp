#include "xapi/transfer/trace_export.hpp"

#include <array>
#include <boost/system/system_error.hpp>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <format>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/observer.hpp"
#include "idl/records/pool.hpp"
#include "xapi/transfer/web_address.hpp"

namespace basalt::transfer {

namespace {

using Json = nlohmann::json;
using core::Span;
using xenapi::Observer;
namespace fs = std::filesystem;

constexpr std::string_view own_disk = "bugtool";
constexpr const char* service = "xapi";
constexpr Duration patience = 5s;
constexpr Duration post_limit = 10s;
constexpr std::size_t head_bytes_max = 4096;
// Files are begun anew at this size, and the oldest go.
constexpr std::uintmax_t file_bytes_max = std::uintmax_t{1} << 20;
constexpr std::size_t files_max = 16;
constexpr std::string_view file_ending = ".ndjson";

/// What every span of this host has, as keys of the tool stacks that collectors know.
std::map<std::string, std::string> resource_of(const core::Core& core, const Observer& observer) {
    std::map<std::string, std::string> out(observer.attributes.begin(), observer.attributes.end());
    out["service.name"] = service;
    out["xs.observer.name"] = observer.name_label;
    out["xs.observer.uuid"] = observer.uuid;
    if (const xenapi::Host* host = core.db.find(core.this_host)) {
        out["xs.host.name"] = host->name_label;
        out["xs.host.uuid"] = host->uuid;
    }
    if (const xenapi::Pool* pool = core.db.find(core.pool)) out["xs.pool.uuid"] = pool->uuid;
    return out;
}

Json zipkin(const Span& span, std::map<std::string, std::string> tags) {
    for (const auto& [name, value] : span.tags)
        tags.insert_or_assign(name, value);
    tags["otel.status_code"] = span.error.empty() ? "OK" : "ERROR";
    if (!span.error.empty()) tags["error"] = span.error;
    Json out = {{"traceId", span.context.trace_id()},
                {"id", span.context.span_id()},
                {"name", span.name},
                {"kind", span.served ? "SERVER" : "CLIENT"},
                {"timestamp", span.begin_us},
                // Zipkin's schema: nothing is shorter than a microsecond.
                {"duration", std::max<std::int64_t>(span.duration_us, 1)},
                {"localEndpoint", {{"serviceName", service}}},
                {"tags", std::move(tags)}};
    if (span.parent != 0) out["parentId"] = core::SpanContext{.span = span.parent}.span_id();
    return out;
}

// -- a collector ----------------------------------------------------------------------------------

std::string request_to(const WebAddress& address, const std::string& body) {
    std::string out =
        "POST " + address.target + " HTTP/1.0\r\nHost: " + address.host_header +
        "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
        "\r\nConnection: close\r\n";
    if (!address.user.empty()) out += "Authorization: Basic " + base64(address.user) + "\r\n";
    return out + "\r\n" + body;
}

Task<void> post(Dial dial, WebAddress address, std::string body) {
    const auto stream = co_await dial(address.host, address.port, address.tls);
    const std::string request = request_to(address, body);
    co_await stream->write(request);
    std::string head;
    std::array<char, 512> buffer{};
    while (!head.contains('\n')) {
        const std::size_t got = co_await stream->read_some(buffer);
        if (got == 0 || head.size() > head_bytes_max)
            throw err::internal_error("the collector does not speak HTTP");
        head.append(buffer.data(), got);
    }
    int status = 0;
    const std::size_t space = std::min(head.find(' '), head.size() - 1);
    std::from_chars(head.data() + space + 1, head.data() + head.size(), status);
    if (!head.starts_with("HTTP/1.") || status < 200 || status > 299)
        throw err::internal_error("the collector answers " +
                                  head.substr(0, head.find_first_of("\r\n")));
}

// -- files ----------------------------------------------------------------------------------------

std::vector<fs::path> files_in(const fs::path& directory) {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(directory))
        if (entry.path().extension() == file_ending) out.push_back(entry.path());
    std::ranges::sort(out);  // their names begin alike and end with when they were begun
    return out;
}

/// Appends a line to the newest file, or begins the next. Blocks. Throws std::system_error.
void append_line(const fs::path& directory, const std::string& host, const std::string& line) {
    fs::create_directories(directory);
    std::vector<fs::path> files = files_in(directory);
    if (files.empty() || fs::file_size(files.back()) >= file_bytes_max) {
        const auto now =
            std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now());
        files.push_back(directory /
                        std::format("{}-{}-{:%Y%m%dT%H%M%S}Z{}", service, host, now, file_ending));
    }
    std::ofstream out(files.back(), std::ios::app);
    out << line << '\n' << std::flush;
    if (!out.good()) throw std::system_error(errno, std::generic_category(), files.back());
    for (std::size_t i = 0; i + files_max < files.size(); ++i)
        fs::remove(files[i]);
}

// -- what goes where ------------------------------------------------------------------------------

class Exporter {
  public:
    Exporter(core::Core& core, TraceSinks sinks, server::Metrics& metrics)
        : core_(core), sinks_(std::move(sinks)), metrics_(metrics) {}

    Task<void> send(std::vector<Span> spans) {
        for (const auto ref : core_.tracing->observers()) {
            const Observer observer = core_.db.get(ref);
            const std::string text =
                co_await blocking(core_.loop, [resource = resource_of(core_, observer), &spans] {
                    return text_of(resource, spans);
                });
            for (const std::string& endpoint : observer.endpoints)
                co_await send_to(endpoint, text);
        }
    }

  private:
    static std::string text_of(const std::map<std::string, std::string>& resource,
                               std::span<const Span> spans) {
        Json out = Json::array();
        for (const Span& span : spans)
            out.push_back(zipkin(span, resource));
        // A client's words need not be UTF-8.
        return out.dump(-1, ' ', false, Json::error_handler_t::replace);
    }

    Task<void> send_to(std::string endpoint, std::string text) {
        std::exception_ptr failed;
        try {
            // Not by ?: in one co_await: docs/TRAPS.md, 71.
            if (endpoint == own_disk) {
                co_await write(std::move(text));
            } else {
                co_await post_to(parse_web_address(endpoint), std::move(text));
            }
        } catch (const std::exception&) {
            failed = std::current_exception();
        }
        if (failed && is_cancellation(failed)) std::rethrow_exception(failed);
        metrics_.count("xapi_trace_exports_total", {{"result", failed ? "lost" : "sent"}});
        if (failed)
            log::warn("traces_lost",
                      {{"endpoint", endpoint}, {"error", as_api_error(failed).what()}});
    }

    Task<void> post_to(WebAddress collector, std::string text) {
        co_await within(core_.loop, post_limit,
                        post(sinks_.dial, std::move(collector), std::move(text)),
                        err::internal_error("no answer in time"));
    }

    Task<void> write(std::string text) {
        const xenapi::Host* host = core_.db.find(core_.this_host);
        co_await blocking(core_.loop, [directory = sinks_.directory, text = std::move(text),
                                       uuid = host == nullptr ? "" : host->uuid] {
            append_line(directory, uuid, text);
        });
    }

    core::Core& core_;
    TraceSinks sinks_;
    server::Metrics& metrics_;
};

}  // namespace

Task<void> export_traces(core::Core& core, TraceSinks sinks, server::Metrics& metrics) {
    Exporter exporter(core, std::move(sinks), metrics);
    for (;;) {
        std::vector<Span> spans = co_await core.tracing->take(patience);
        if (!spans.empty()) co_await exporter.send(std::move(spans));
    }
}

}  // namespace basalt::transfer
