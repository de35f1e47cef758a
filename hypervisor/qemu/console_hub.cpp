#include "hypervisor/qemu/console_hub.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <boost/system/system_error.hpp>
#include <filesystem>
#include <map>

#include "base/log.hpp"
#include "hypervisor/qemu/descriptor.hpp"

namespace basalt::hv::qemu {

namespace {

constexpr std::size_t replay_bytes = std::size_t{32} * 1024;
constexpr std::size_t behind_bytes_max = std::size_t{1024} * 1024;
constexpr std::size_t input_bytes_max = std::size_t{64} * 1024;
constexpr std::size_t log_bytes_max = std::size_t{1024} * 1024;

struct Client {
    Client(Loop& loop, std::unique_ptr<FdStream> connection)
        : stream(std::move(connection)), more(loop) {}

    std::unique_ptr<FdStream> stream;
    std::string unsent;
    bool closed = false;
    Signal more;

    void close() {
        closed = true;
        stream->close();
        more.notify_all();
    }
};

}  // namespace

struct ConsoleHub::State {
    State(RealLoop& owner, std::string socket_path, std::string log_path)
        : loop(owner),
          socket(std::move(socket_path)),
          log(std::move(log_path)),
          typed(owner),
          taken(owner) {}

    RealLoop& loop;
    std::string socket;
    std::string log;
    std::unique_ptr<FdStream> guest;
    std::string replay;
    std::size_t logged = 0;
    std::uint64_t last_id = 0;
    std::map<std::uint64_t, std::shared_ptr<Client>> clients;
    std::string input;
    Signal typed;
    Signal taken;
    bool closed = false;

    void said(std::string_view bytes) {
        replay.append(bytes);
        if (replay.size() > 2 * replay_bytes) replay.erase(0, replay.size() - replay_bytes);
        for (auto& [id, client] : clients) {
            client->unsent.append(bytes);
            if (client->unsent.size() > behind_bytes_max) client->close();
            client->more.notify_all();
        }
        std::erase_if(clients, [](const auto& entry) { return entry.second->closed; });
        logged += bytes.size();
        // QEMU appends, so that cutting the file under it is safe.
        if (!log.empty() && logged > log_bytes_max && ::truncate(log.c_str(), 0) == 0) logged = 0;
    }

    void close() {
        if (closed) return;
        closed = true;
        if (guest) guest->close();
        for (const auto& [id, client] : clients)
            client->close();
        clients.clear();
        typed.notify_all();
        taken.notify_all();
    }
};

namespace {

using Shared = std::shared_ptr<ConsoleHub::State>;

Task<void> read_guest(Shared state) {
    std::array<char, 16384> buffer{};
    while (!state->closed) {
        const std::size_t got = co_await state->guest->read_some(buffer);
        if (got == 0) co_return;
        state->said({buffer.data(), got});
    }
}

Task<void> write_guest(Shared state) {
    while (!state->closed) {
        if (state->input.empty()) {
            co_await state->typed.wait();
            continue;
        }
        const std::string bytes = std::exchange(state->input, {});
        state->taken.notify_all();
        co_await state->guest->write(bytes);
    }
}

Task<void> read_client(Shared state, std::shared_ptr<Client> client) {
    std::array<char, 4096> buffer{};
    while (!client->closed) {
        const std::size_t got = co_await client->stream->read_some(buffer);
        if (got == 0) co_return;
        while (state->input.size() > input_bytes_max && !state->closed)
            co_await state->taken.wait();
        state->input.append(buffer.data(), got);
        state->typed.notify_all();
    }
}

Task<void> write_client(Shared, std::shared_ptr<Client> client) {
    while (!client->closed) {
        if (client->unsent.empty()) {
            co_await client->more.wait();
            continue;
        }
        const std::string bytes = std::exchange(client->unsent, {});
        co_await client->stream->write(bytes);
    }
}

// A terminal's bytes go through as they are, and nothing of the guest's comes back to it.
std::unique_ptr<FdStream> open_terminal(RealLoop& loop, const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios modes{};
    if (!fd || ::tcgetattr(fd.get(), &modes) != 0)
        throw boost::system::system_error(errno, boost::system::system_category(), path);
    ::cfmakeraw(&modes);
    ::tcsetattr(fd.get(), TCSANOW, &modes);
    return adopt_stream(loop, std::move(fd));
}

bool is_terminal(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && S_ISCHR(status.st_mode);
}

// The end of a connection is how these loops end, not a failure.
Task<void> quietly(Task<void> body) {
    try {
        co_await std::move(body);
    } catch (const boost::system::system_error& error) {
        log::debug("console_connection_ended", {{"reason", error.what()}});
    }
}

Task<void> serve_guest(Shared state, Task<void> body) {
    co_await quietly(std::move(body));
    state->close();
}

Task<void> serve_client(Shared state, std::shared_ptr<Client> client, std::uint64_t id,
                        Task<void> body) {
    co_await quietly(std::move(body));
    client->close();
    state->clients.erase(id);
}

}  // namespace

ConsoleHub::ConsoleHub(RealLoop& loop, std::string socket, std::string log)
    : state_(std::make_shared<State>(loop, std::move(socket), std::move(log))) {}

ConsoleHub::~ConsoleHub() {
    state_->close();
}

Task<void> ConsoleHub::connect() {
    const auto state = state_;
    if (is_terminal(state->socket)) {
        state->guest = open_terminal(state->loop, state->socket);
    } else {
        state->guest = co_await connect_unix(state->loop, state->socket);
    }
    std::error_code none;
    const auto size = std::filesystem::file_size(state->log, none);
    state->logged = none ? 0 : size;
    // Before the log is read: a port that nobody reads stands still after 300 characters.
    spawn(state->loop, "console from guest", serve_guest(state, read_guest(state)));
    spawn(state->loop, "console to guest", serve_guest(state, write_guest(state)));
    std::string said = co_await blocking(state->loop, [path = state->log, before = state->logged] {
        return read_file(path).substr(0, before);
    });
    if (said.size() > replay_bytes) said.erase(0, said.size() - replay_bytes);
    state->replay.insert(0, said);
}

UniqueFd ConsoleHub::open() {
    auto [ours, theirs] = socket_pair();
    if (state_->closed) return std::move(theirs);  // an end of stream at once
    const auto client =
        std::make_shared<Client>(state_->loop, adopt_stream(state_->loop, std::move(ours)));
    const std::uint64_t id = ++state_->last_id;
    client->unsent = state_->replay;
    state_->clients.emplace(id, client);
    spawn(state_->loop, "console from client",
          serve_client(state_, client, id, read_client(state_, client)));
    spawn(state_->loop, "console to client",
          serve_client(state_, client, id, write_client(state_, client)));
    return std::move(theirs);
}

void ConsoleHub::close() {
    state_->close();
}

}  // namespace basalt::hv::qemu
