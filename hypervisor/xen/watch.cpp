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

// Source: the store's documentation, "special watches".
const char* const domain_ends = "@releaseDomain";

namespace {

struct Close {
    void operator()(xs_handle* store) const { xs_close(store); }
};

[[noreturn]] void fail(const char* what) {
    throw err::internal_error(std::string(what) + ": " + std::strerror(errno));
}

}  // namespace

struct StoreWatch::State {
    explicit State(RealLoop& loop) : store(xs_open(0)), readable(loop.context()) {
        if (!store) fail("the Xen store");
        // A pipe that the library's own thread writes to.
        readable.assign(::fcntl(xs_fileno(store.get()), F_DUPFD_CLOEXEC, 0));
    }

    std::unique_ptr<xs_handle, Close> store;
    asio::posix::stream_descriptor readable;
};

StoreWatch::StoreWatch(RealLoop& loop) : state_(std::make_unique<State>(loop)) {}

StoreWatch::~StoreWatch() = default;

void StoreWatch::add(const std::string& path) {
    if (!xs_watch(state_->store.get(), path.c_str(), path.c_str()) && errno != EEXIST)
        fail(path.c_str());
}

void StoreWatch::remove(const std::string& path) {
    xs_unwatch(state_->store.get(), path.c_str(), path.c_str());
}

Task<std::set<std::string>> StoreWatch::next() {
    {
        const log::Suspension suspended;
        co_await state_->readable.async_wait(asio::posix::stream_descriptor::wait_read,
                                             asio::use_awaitable);
    }
    std::set<std::string> out;
    while (char** const event = xs_check_watch(state_->store.get())) {
        out.emplace(event[XS_WATCH_TOKEN]);
        std::free(event);
    }
    co_return out;
}

}  // namespace basalt::hv::xen
