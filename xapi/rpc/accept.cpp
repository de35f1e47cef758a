#include "xapi/rpc/accept.hpp"

#include <boost/system/system_error.hpp>
#include <string>

#include "base/log.hpp"
#include "base/wait.hpp"

namespace basalt::server {

namespace {

constexpr Duration retry_time = 100ms;

}  // namespace

Task<std::unique_ptr<FdStream>> accept_next(Loop& loop, Listener& listener,
                                            std::function<bool()> stopping) {
    while (!stopping()) {
        std::unique_ptr<FdStream> stream;
        std::string failure;
        try {
            stream = co_await listener.accept();
        } catch (const boost::system::system_error& error) {
            failure = error.what();
        }
        if (stopping()) break;
        if (stream) co_return stream;
        log::error("accept_failed", {{"error", failure}});
        co_await sleep_for(loop, retry_time);
    }
    co_return nullptr;
}

}  // namespace basalt::server
