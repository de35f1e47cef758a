#include "hypervisor/contract/bench.hpp"

#include <sys/socket.h>

#include <array>

#include "base/error.hpp"

namespace basalt::hv::contract {

void Recorder::ended(DomId /*dom*/, std::string /*uuid*/, agent::HaltReason reason) {
    told.push_back("ended " + std::string(agent::text(reason)));
    moved.notify_all();
}

void Recorder::rebooted(DomId /*dom*/, std::string /*uuid*/) {
    told.emplace_back("rebooted");
    moved.notify_all();
}

void Recorder::preserved(DomId /*dom*/, std::string /*uuid*/, agent::HaltReason reason) {
    told.push_back("preserved " + std::string(agent::text(reason)));
    moved.notify_all();
}

void Recorder::guest_changed(agent::GuestFacts now) {
    facts[now.uuid] = std::move(now);
    moved.notify_all();
}

void Recorder::memory_moved(std::string uuid, std::int64_t actual_bytes) {
    memory_bytes[uuid] = actual_bytes;
    moved.notify_all();
}

void Recorder::state_changed(agent::StateRef state) {
    states.push_back(std::move(state));
    moved.notify_all();
}

Task<std::string> read_until(Loop& loop, int fd, std::string text, Duration limit) {
    const Time deadline = loop.now() + limit;
    std::string all;
    std::array<char, 4096> buffer{};
    while (loop.now() < deadline) {
        const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (got == 0) break;
        if (got > 0) all.append(buffer.data(), static_cast<std::size_t>(got));
        if (all.contains(text)) co_return all;
        if (got < 0) co_await sleep_for(loop, 20ms);
    }
    throw ApiError("INTERNAL_ERROR", {"console: no '" + text + "' in: " + all});
}

}  // namespace basalt::hv::contract
