#include "hypervisor/xen/watch.hpp"

#include <fcntl.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/async.hpp"
#include "base/context.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"

// A C header without the words that C++ needs.
extern "C" {
#include <xenstore.h>
}

namespace basalt::hv::xen {

namespace {

// Source: the store's documentation, "special watches": fires when a domain stops or is gone.
constexpr const char* release = "@releaseDomain";

struct Close {
    void operator()(xs_handle* store) const { xs_close(store); }
};

[[noreturn]] void fail(const char* what) {
    throw err::internal_error(std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

struct DomainWatch::State {
    explicit State(RealLoop& loop) : store(xs_open(0)), readable(loop.context()) {
        if (!store) fail("the Xen store");
        if (!xs_watch(store.get(), release, "ended")) fail(release);
        readable.assign(::fcntl(xs_fileno(store.get()), F_DUPFD_CLOEXEC, 0));
    }

    std::unique_ptr<xs_handle, Close> store;
    asio::posix::stream_descriptor readable;
};

DomainWatch::DomainWatch(RealLoop& loop) : state_(std::make_unique<State>(loop)) {}

DomainWatch::~DomainWatch() = default;

Task<void> DomainWatch::next() {
    {
        const log::Suspension suspended;
        co_await state_->readable.async_wait(asio::posix::stream_descriptor::wait_read,
                                             asio::use_awaitable);
    }
    while (char** const event = xs_check_watch(state_->store.get()))
        std::free(event);
}

}  // namespace basalt::hv::xen
