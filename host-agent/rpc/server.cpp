#include "host-agent/rpc/server.hpp"

#include <boost/system/system_error.hpp>

#include "base/context.hpp"
#include "base/log.hpp"

namespace basalt::agent {

using Json = nlohmann::json;

namespace {

struct Answer {
    rpc::Reply reply;
    std::exception_ptr failure;
};

std::string text_of(const Json& args, const char* name) {
    const auto found = args.find(name);
    return found != args.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void log_call(const std::string& verb, const std::string& operation,
              const std::exception_ptr& failure, Duration took) {
    const auto milliseconds = std::chrono::duration_cast<Millis>(took).count();
    const std::string result = !failure                   ? "ok"
                               : is_cancellation(failure) ? "cancelled"
                                                          : as_api_error(failure).what();
    const log::Fields fields = {
        {"verb", verb}, {"operation", operation}, {"ms", milliseconds}, {"result", result}};
    if (failure) {
        log::warn("call", fields);
    } else if (has_effect(verb)) {
        log::info("call", fields);
    } else {
        log::debug("call", fields);
    }
}

Task<void> answer(Loop& loop, Agent& agent, rpc::Request request, std::shared_ptr<Answer> out) {
    const Time begun = loop.now();
    const std::string verb = request.verb;
    const std::string operation = text_of(request.args, "operation");
    const log::Scope scope(text_of(request.args, "trace"));
    try {
        out->reply = co_await agent.handle(std::move(request));
    } catch (...) {
        out->failure = std::current_exception();
    }
    log_call(verb, operation, out->failure, loop.now() - begun);
}

}  // namespace

class Server::Connection final : public rpc::Handler,
                                 public std::enable_shared_from_this<Connection> {
  public:
    Connection(Server& server, std::unique_ptr<rpc::Channel> channel)
        : server_(server), peer_(server.loop_, std::move(channel), this) {}

    [[nodiscard]] rpc::Peer& peer() { return peer_; }

    Task<rpc::Reply> handle(rpc::Request request) override {
        return serve_one(shared_from_this(), std::move(request));
    }

  private:
    // The work is a job of its own: the loss of the connection, which cancels this coroutine, must
    // not cancel an operation.
    static Task<rpc::Reply> serve_one(std::shared_ptr<Connection> self, rpc::Request request) {
        const auto out = std::make_shared<Answer>();
        const bool effect = has_effect(request.verb);
        const auto job =
            spawn(self->server_.loop_, "call " + request.verb,
                  answer(self->server_.loop_, self->server_.agent_, std::move(request), out));
        self->server_.track(job);
        std::exception_ptr cancelled;
        try {
            co_await job->wait();
        } catch (const boost::system::system_error&) {
            cancelled = std::current_exception();
        }
        if (cancelled) {
            co_await asio::this_coro::reset_cancellation_state();
            if (self->peer_.closed() && effect) std::rethrow_exception(cancelled);
            job->cancel();
            co_await shielded(job->wait());
        }
        if (out->failure) std::rethrow_exception(out->failure);
        co_return std::move(out->reply);
    }

    Server& server_;
    rpc::Peer peer_;
};

Server::Server(Loop& loop, Agent& agent) : loop_(loop), agent_(agent) {
    agent_.set_listener(this);
}

Server::~Server() = default;

void Server::serve(std::unique_ptr<rpc::Channel> channel) {
    const auto connection = std::make_shared<Connection>(*this, std::move(channel));
    connections_.push_back(connection);
    agent_.note_connected(true);
    track(spawn(loop_, "agent connection", run(connection)));
}

Task<void> Server::run(std::shared_ptr<Connection> connection) {
    co_await connection->peer().run();
    connections_.remove(connection);
    agent_.note_connected(!connections_.empty());
}

void Server::track(std::shared_ptr<Job> job) {
    std::erase_if(jobs_, [](const auto& old) { return old->finished(); });
    jobs_.push_back(std::move(job));
}

void Server::cut() {
    for (const auto& connection : connections_)
        connection->peer().close();
}

Task<void> Server::stop() {
    cut();
    co_await agent_.stop();
    while (!jobs_.empty()) {
        const auto job = jobs_.front();
        job->cancel();
        co_await job->wait();
        jobs_.remove(job);
    }
}

void Server::on_domain(DomainInfo value) {
    for (const auto& connection : connections_)
        tell_domain(connection->peer(), value);
}

void Server::on_guest(GuestFacts value) {
    for (const auto& connection : connections_)
        tell_guest(connection->peer(), value);
}

void Server::on_memory(MemoryFacts value) {
    for (const auto& connection : connections_)
        tell_memory(connection->peer(), value);
}

void Server::on_state(StateRef value) {
    for (const auto& connection : connections_)
        tell_state(connection->peer(), value);
}

void Server::on_term(std::int64_t value) {
    for (const auto& connection : connections_)
        tell_term(connection->peer(), value);
}

void Server::on_nics(std::vector<NicFacts> value) {
    for (const auto& connection : connections_)
        tell_nics(connection->peer(), value);
}

void Server::on_usage(HostUsage value) {
    for (const auto& connection : connections_)
        tell_usage(connection->peer(), value);
}

}  // namespace basalt::agent
