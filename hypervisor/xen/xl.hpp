#pragma once
// The library's headers are C's alone.
extern "C" {
#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
}

#include <functional>
#include <string>
#include <vector>

/// libxl, the C library of Xen's toolstack. Every call of it may block for seconds: pool threads
/// only.
namespace basalt::hv::xen {

/// One use of the library: a context of its own, so that what it complains about belongs to the
/// call that failed.
class Xl {
  public:
    /// Throws INTERNAL_ERROR where there is no Xen to talk to.
    Xl();
    ~Xl();
    Xl(const Xl&) = delete;
    Xl& operator=(const Xl&) = delete;

    [[nodiscard]] libxl_ctx* get() const { return context_; }

    /// Throws INTERNAL_ERROR, or HOST_NOT_ENOUGH_FREE_MEMORY, with the library's own words when
    /// `code` is not 0. `call` is the function's name.
    void check(const char* call, int code) const;

  private:
    // The library calls back through the first member, as C does.
    struct Log {
        xentoollog_logger base{};
        std::vector<std::string> lines;
    };

    static void keep(xentoollog_logger* logger, xentoollog_level level, int error,
                     const char* context, const char* format, va_list arguments)
        __attribute__((format(printf, 5, 0)));

    Log log_;
    libxl_ctx* context_ = nullptr;
};

/// Owns a value of libxl's: made by its init function, given up by its dispose function.
template <class T, void (*Init)(T*), void (*Dispose)(T*)>
class Owned {
  public:
    Owned() { Init(&value_); }

    ~Owned() { Dispose(&value_); }

    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;

    T* operator->() { return &value_; }

    T* get() { return &value_; }

  private:
    T value_{};
};

using OwnedConfig =
    Owned<libxl_domain_config, libxl_domain_config_init, libxl_domain_config_dispose>;
using OwnedInfo = Owned<libxl_dominfo, libxl_dominfo_init, libxl_dominfo_dispose>;
using OwnedPhysics = Owned<libxl_physinfo, libxl_physinfo_init, libxl_physinfo_dispose>;
using OwnedRestore = Owned<libxl_domain_restore_params, libxl_domain_restore_params_init,
                           libxl_domain_restore_params_dispose>;

}  // namespace basalt::hv::xen
