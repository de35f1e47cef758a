#include "xapi/rpc/figures.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/uuid.hpp"
#include "idl/errors.hpp"
#include "xapi/rpc/endpoints.hpp"
#include "xapi/rpc/http_auth.hpp"

namespace basalt::server {

namespace {

constexpr auto actions = std::to_array<FigureAction>({
    {"rrd_updates", FigureKind::updates},
    {"host_rrd", FigureKind::host},
    {"get_host_rrds", FigureKind::host},
    {"vm_rrd", FigureKind::vm},
    {"get_vm_rrds", FigureKind::vm},
    {"sr_rrd", FigureKind::sr},
});

constexpr std::size_t piece_bytes = std::size_t{64} * 1024;
constexpr double seconds_max = 1e11;

// Clients send whole seconds, some with a fraction.
std::optional<std::int64_t> seconds_of(const std::string& text) {
    double value = 0;
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, value);
    if (read.ec != std::errc() || read.ptr != end || !(std::abs(value) < seconds_max))
        return std::nullopt;
    return static_cast<std::int64_t>(value);
}

bool wants_json(const HttpRequest& request) {
    if (parameter(request, "json") != nullptr) return true;
    const std::string* accept = request.header("Accept");
    if (accept == nullptr) return false;
    const std::size_t json = accept->find("application/json");
    return json != std::string::npos && json < accept->find("xml");
}

// All values of a parameter that may be given more than once; false when one is no uuid.
bool take_uuids(const HttpRequest& request, std::string_view name, std::vector<std::string>& out) {
    for (const auto& [key, value] : request.query) {
        if (key != name) continue;
        if (!Uuid::parse(value)) return false;
        out.push_back(value);
    }
    return true;
}

bool parse_updates(const HttpRequest& request, std::int64_t now, FigureRequest& out) {
    const std::string* start = parameter(request, "start");
    const auto from = start == nullptr ? std::nullopt : seconds_of(*start);
    if (!from) return false;
    out.start = *from < 0 ? now + *from : *from;
    if (const std::string* interval = parameter(request, "interval")) {
        const auto seconds = seconds_of(*interval);
        if (!seconds || *seconds < 0) return false;
        out.interval = *seconds;
    }
    if (const std::string* fold = parameter(request, "cf")) {
        out.fold = *fold;
        std::ranges::transform(out.fold, out.fold.begin(), [](unsigned char c) {
            return static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
        });
        static constexpr std::array<std::string_view, 4> known = {"AVERAGE", "MIN", "MAX", "LAST"};
        if (!std::ranges::contains(known, out.fold)) return false;
    }
    const std::string* host = parameter(request, "host");
    out.host = host != nullptr && *host == "true";
    if (!take_uuids(request, "vm_uuid", out.vms) || !take_uuids(request, "uuid", out.vms) ||
        !take_uuids(request, "sr_uuid", out.srs))
        return false;
    out.all_vms = out.vms.empty();
    return true;
}

}  // namespace

std::span<const FigureAction> figure_actions() {
    return actions;
}

std::optional<FigureRequest> parse_figures(const HttpRequest& request, FigureKind kind,
                                           std::int64_t now) {
    FigureRequest out{.kind = kind, .json = wants_json(request)};
    if (kind == FigureKind::host) return out;
    if (kind == FigureKind::updates)
        return parse_updates(request, now, out) ? std::optional(std::move(out)) : std::nullopt;
    const std::string* uuid = parameter(request, "uuid");
    if (uuid == nullptr || !Uuid::parse(*uuid)) return std::nullopt;
    out.uuid = *uuid;
    return out;
}

Task<void> send_figures(Exchange& exchange, UniqueFd file, bool json) {
    struct stat facts{};
    if (::fstat(file.get(), &facts) != 0)
        throw err::internal_error(std::string("figures: ") + std::strerror(errno));
    const auto size = static_cast<std::uint64_t>(facts.st_size);
    co_await exchange.begin(
        ok_head(exchange.request(), json ? "application/json" : "text/xml", size, cors_headers()),
        false);
    std::string piece;
    for (std::uint64_t sent = 0; sent < size; sent += piece.size()) {
        piece.resize(std::min<std::uint64_t>(piece_bytes, size - sent));
        // In memory: this never waits for a disk.
        const ssize_t got =
            ::pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(sent));
        if (got <= 0) throw err::internal_error("figures: they are cut short");
        piece.resize(static_cast<std::size_t>(got));
        co_await exchange.write(piece);
    }
}

}  // namespace basalt::server
