#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "xapi/rpc/connection.hpp"

/// Requests for figures over time (RRDs), as far as they are HTTP: what is asked, and how a file
/// with the answer goes out. Who has the figures is for the caller to know.
namespace basalt::server {

/// Which handler: one of `figure_actions`.
enum class FigureKind : std::uint8_t { updates, host, vm, sr };

struct FigureAction {
    std::string_view name;  ///< of the HttpAction
    FigureKind kind;
};

[[nodiscard]] std::span<const FigureAction> figure_actions();

struct FigureRequest {
    FigureKind kind = FigureKind::updates;
    std::string uuid;  ///< of the VM or SR
    bool json = false;
    // Of updates:
    std::int64_t start = 0;  ///< seconds since 1970
    std::int64_t interval = 0;
    std::string fold;
    bool host = false;
    bool all_vms = true;
    std::vector<std::string> vms;
    std::vector<std::string> srs;
};

/// `now` in seconds since 1970: a negative start counts back from it. Nullopt: the request lacks
/// what it needs, or has no number where one belongs (400).
[[nodiscard]] std::optional<FigureRequest> parse_figures(const HttpRequest& request,
                                                         FigureKind kind, std::int64_t now);

/// The whole of `file` as the answer's body.
Task<void> send_figures(Exchange& exchange, UniqueFd file, bool json);

}  // namespace basalt::server
