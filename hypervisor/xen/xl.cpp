#include "hypervisor/xen/xl.hpp"

#include <unistd.h>

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

std::shared_mutex& forks() {
    static std::shared_mutex mutex;
    return mutex;
}

pid_t fork_alone(void* /*user*/) {
    const std::unique_lock alone(forks());
    return ::fork();
}

// Of a context that destroys a domain. Other children of the library run another program at once.
const libxl_childproc_hooks children_that_ask = {
    .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
    .fork_replacement = &fork_alone,
    .reaped_callback = nullptr,
};

}  // namespace

std::shared_lock<std::shared_mutex> hold_off_forks() {
    return std::shared_lock(forks());
}

void Xl::keep(xentoollog_logger* logger, xentoollog_level level, int /*error*/,
              const char* /*context*/, const char* format, va_list arguments) {
    if (level < XTL_WARN) return;
    std::array<char, 512> text{};
    std::vsnprintf(text.data(), text.size(), format, arguments);
    auto& lines = reinterpret_cast<Log*>(logger)->lines;
    if (lines.size() < lines_max) lines.emplace_back(text.data());
}

Xl::Xl(Use use) : held_(hold_off_forks()) {
    log_.base.vmessage = &Xl::keep;
    const int code = libxl_ctx_alloc(&context_, LIBXL_VERSION, 0, &log_.base);
    check("libxl_ctx_alloc", code);
    libxl_childproc_setmode(context_, use == Use::destroys ? &children_that_ask : &own_children,
                            nullptr);
    if (use != Use::asks) held_.unlock();
}

Xl::~Xl() {
    if (!held_) held_.lock();
    libxl_ctx_free(context_);
}

std::string Xl::complaints() const {
    std::string out;
    for (const std::string& line : log_.lines)
        out += (out.empty() ? "" : "; ") + line;
    return out;
}

void Xl::check(const char* call, int code) const {
    if (code == 0) return;
    const std::string why = std::string(call) + ": " + std::to_string(code) + "; " + complaints();
    log::warn("libxl_failed", {{"error", why}});
    if (code == ERROR_NOMEM) throw err::host_not_enough_free_memory("", "");
    throw err::internal_error(why);
}

void Xl::check_built(const char* call, int code) const {
    if (code == 0 || code == ERROR_NOMEM) return check(call, code);
    log::warn("domain_not_built", {{"call", call}, {"code", code}, {"error", complaints()}});
    throw err::domain_builder_error(call, std::to_string(code), complaints());
}

}  // namespace basalt::hv::xen
