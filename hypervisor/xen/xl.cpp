#include "hypervisor/xen/xl.hpp"

#include <array>
#include <cstdarg>
#include <cstdio>

#include "base/error.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

constexpr std::size_t lines_max = 20;

// Other children of this process are waited for by their pidfd: the library reaps its own only.
const libxl_childproc_hooks own_children = {
    .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
    .fork_replacement = nullptr,
    .reaped_callback = nullptr,
};

}  // namespace

void Xl::keep(xentoollog_logger* logger, xentoollog_level level, int /*error*/,
              const char* /*context*/, const char* format, va_list arguments) {
    if (level < XTL_WARN) return;
    std::array<char, 512> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    auto& lines = reinterpret_cast<Log*>(logger)->lines;
    if (lines.size() < lines_max) lines.emplace_back(text.data());
}

Xl::Xl() {
    log_.base.vmessage = &Xl::keep;
    const int code = libxl_ctx_alloc(&context_, LIBXL_VERSION, 0, &log_.base);
    check("libxl_ctx_alloc", code);
    libxl_childproc_setmode(context_, &own_children, nullptr);
}

Xl::~Xl() {
    libxl_ctx_free(context_);
}

void Xl::check(const char* call, int code) const {
    if (code == 0) return;
    std::string why = std::string(call) + ": " + std::to_string(code);
    for (const std::string& line : log_.lines)
        why += "; " + line;
    log::warn("libxl_failed", {{"error", why}});
    if (code == ERROR_NOMEM) throw err::host_not_enough_free_memory("", "");
    throw err::internal_error(why);
}

}  // namespace basalt::hv::xen
