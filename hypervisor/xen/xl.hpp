#pragma once
// The library's headers are C's alone.
extern "C" {
#include <libxl.h>
#include <libxl_event.h>
#include <libxl_utils.h>
}

#include <cstdint>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

/// libxl, the C library of Xen's toolstack. Every call of it may block for seconds: pool threads
/// only.
namespace basalt::hv::xen {

/// To destroy a domain the library forks, and its child asks Xen itself: whatever lock of Xen's
/// libraries another thread held at that moment the child would wait for, for ever. It forks while
/// nobody holds this.
[[nodiscard]] std::shared_lock<std::shared_mutex> hold_off_forks();

/// What a use of the library is for.
enum class Use : std::uint8_t {
    asks,      ///< an answer of Xen's or the store's, soon
    works,     ///< may take minutes, and does most of it in processes of its own
    destroys,  ///< ends a domain
};

/// One use of the library: a context of its own, so that what it complains about belongs to the
/// call that failed.
class Xl {
  public:
    /// Throws INTERNAL_ERROR where there is no Xen to talk to.
    explicit Xl(Use use = Use::asks);
    ~Xl();
    Xl(const Xl&) = delete;
    Xl& operator=(const Xl&) = delete;

    [[nodiscard]] libxl_ctx* get() const { return context_; }

    /// Throws INTERNAL_ERROR, or HOST_NOT_ENOUGH_FREE_MEMORY, with the library's own words when
    /// `code` is not 0. `call` is the function's name.
    void check(const char* call, int code) const;
    /// As `check` for a call that builds a domain: DOMAIN_BUILDER_ERROR instead of INTERNAL_ERROR.
    void check_built(const char* call, int code) const;

  private:
    [[nodiscard]] std::string complaints() const;

    // The library calls back through the first member, as C does.
    struct Log {
        xentoollog_logger base{};
        std::vector<std::string> lines;
    };

    static void keep(xentoollog_logger* logger, xentoollog_level level, int error,
                     const char* context, const char* format, va_list arguments)
        __attribute__((format(printf, 5, 0)));

    Log log_;
    std::shared_lock<std::shared_mutex> held_;
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
