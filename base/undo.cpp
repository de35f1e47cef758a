#include "base/undo.hpp"

#include "base/log.hpp"

namespace basalt {

namespace {

Task<bool> run_step(Undo::Step& step, const std::string& name) {
    std::exception_ptr failure;
    try {
        co_await step();
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure)
        log::error("undo_failed", {{"step", name}, {"error", as_api_error(failure).what()}});
    co_return !failure;
}

Task<void> run_all(Undo& undo) {
    co_await undo.run();
}

}  // namespace

Task<std::vector<std::string>> Undo::run() {
    std::vector<std::string> failed;
    while (!steps_.empty()) {
        Entry entry = std::move(steps_.back());
        steps_.pop_back();
        const bool ok = co_await run_step(entry.step, entry.name);
        if (!ok) failed.push_back(entry.name);
    }
    co_return failed;
}

Task<void> with_undo(std::function<Task<void>(Undo&)> body) {
    Undo undo;
    std::exception_ptr failure;
    try {
        co_await body(undo);
    } catch (...) {
        failure = std::current_exception();
    }
    if (!failure) co_return;
    // A cancel stays noted: whoever takes the failure and goes on is stopped at its next wait.
    co_await asio::this_coro::throw_if_cancelled(false);
    co_await shielded(run_all(undo));
    co_await asio::this_coro::throw_if_cancelled(true);
    std::rethrow_exception(failure);
}

}  // namespace basalt
