#include "xapi/cli/server.hpp"

#include <optional>
#include <system_error>

#include "base/error.hpp"
#include "base/log.hpp"
#include "xapi/cli/call_command.hpp"
#include "xapi/cli/commands.hpp"
#include "xapi/cli/failure.hpp"
#include "xapi/cli/object_commands.hpp"

namespace basalt::cli {

namespace {

constexpr const char* usage_hint = "For usage run: 'xe help'";

/// How a command ended, when it did not end well. Printed outside the catch blocks, which may not
/// wait.
struct Ending {
    std::int32_t status = 0;
    std::vector<std::string> lines{};
    std::optional<ApiError> error{};
};

Task<void> check_parameters(Invocation& run) {
    for (const std::string_view name : run.command->required) {
        if (name.ends_with(':')) continue;
        static_cast<void>(run.params.need(name));
    }
    co_return;
}

Task<void> run_command(Invocation& run) {
    if (run.command == nullptr) {
        const ObjectCommand command = find_object_command(run.name);
        co_await run_object_command(run, command);
        co_return;
    }
    co_await check_parameters(run);
    if (run.command->is(flag::deprecated)) {
        co_await run.terminal.print_error("This command is deprecated. See: " +
                                          std::string(run.command->instead));
    }
    if (const CommandFunction function = find_function(run.name)) {
        co_await function(run);
    } else {
        co_await run_call_command(run);
    }
}

/// Runs it and says how it ended; lets only failures of the connection through.
Task<Ending> attempt(Invocation& run) {
    Ending out;
    try {
        co_await run_command(run);
        co_await run.printer.finish();
    } catch (const Exit& exit) {
        out.status = exit.status;
    } catch (const MissingParameter& missing) {
        out = {1, {"Required parameter not found: " + std::string(missing.what()), usage_hint}};
    } catch (const CommandError& error) {
        out = {1, {"Error: " + std::string(error.what())}};
    } catch (const ApiError& error) {
        out = {.status = 1, .error = error};
    }
    co_return out;
}

struct Login {
    std::string ref{};
    bool own = false;  ///< made here, so ended here
    std::optional<ApiError> error{};
};

/// `local`: a session that a host which is cut off from its pool can make, too.
Task<Login> log_in(Api& api, const CommandLine& line, bool local) {
    Login out;
    if (line.session) {
        out.ref = *line.session;
        co_return out;
    }
    try {
        const wire::Value ref =
            local ? co_await api.call("session.slave_local_login_with_password",
                                      args(line.user, line.password))
                  : co_await api.call(
                        "session.login_with_password",
                        args(line.user, line.password, std::string("1.2"), std::string("cli")));
        out.ref = shown(ref);
        out.own = true;
    } catch (const ApiError& error) {
        out.error = error;
    }
    co_return out;
}

Task<void> log_out(Api& api, std::string ref, bool local) {
    try {
        co_await api.call(local ? "session.local_logout" : "session.logout", args(std::move(ref)));
    } catch (const ApiError& error) {
        log::info("cli.logout_failed", {{"code", error.code()}});
    }
}

Task<void> refuse_login(Terminal& terminal, const CommandLine& line, ApiError error) {
    if (error.code() != "SESSION_AUTHENTICATION_FAILED") {
        co_await print_failure(terminal, nullptr, std::move(error));
    } else if (line.user.empty()) {
        co_await terminal.print_error("Username/password must be specified");
    } else {
        co_await terminal.print_error("Authentication failed");
    }
    co_await terminal.exit(1);
}

Task<void> logged_in(Terminal& terminal, Api& api, const CommandLine& line,
                     const Command* command) {
    const bool local = command != nullptr && command->is(flag::local_session);
    Login login = co_await log_in(api, line, local);
    if (login.error) {
        co_await refuse_login(terminal, line, *login.error);
        co_return;
    }
    Session session(api, login.ref);
    Facts facts(session);
    Printer printer(terminal, line.params.has("minimal"));
    Invocation run{session, facts, terminal, printer, line.command, line.params, command};
    const Ending ending = co_await attempt(run);
    for (const std::string& text : ending.lines)
        co_await terminal.print_error(text);
    if (ending.error) co_await print_failure(terminal, &facts, *ending.error);
    if (login.own) co_await log_out(api, login.ref, local);
    co_await terminal.exit(ending.status);
}

Task<void> serve_line(Terminal& terminal, Api& api, const CommandLine& line) {
    if (line.command == "help") {
        co_await print_help(terminal, line.params);
        co_await terminal.exit(0);
        co_return;
    }
    const Command* command = find_command(line.command);
    if (command == nullptr && find_object_command(line.command).object == nullptr) {
        co_await terminal.print_error("Unknown command: " + line.command);
        co_await terminal.print_error(usage_hint);
        co_await terminal.exit(1);
        co_return;
    }
    co_await logged_in(terminal, api, line, command);
}

}  // namespace

Task<void> serve_command(Stream& stream, Api& api, std::string body) {
    Terminal terminal(stream);
    co_await terminal.greet();
    CommandLine line;
    std::string syntax;
    try {
        line = parse_command_line(body);
    } catch (const SyntaxError& error) {
        syntax = error.what();
    }
    if (syntax.empty()) {
        co_await serve_line(terminal, api, line);
        co_return;
    }
    co_await terminal.print_error("Syntax error: " + syntax);
    co_await terminal.print_error(usage_hint);
    co_await terminal.exit(1);
}

namespace {

Task<void> serve_here(server::Exchange& exchange, std::unique_ptr<Api> api, std::string body) {
    Stream& stream = exchange.take_over();
    try {
        co_await serve_command(stream, *api, body);
    } catch (const ProtocolError& error) {
        log::info("cli.client_lost", {{"why", error.what()}});
    }
}

Task<void> serve_own(server::Exchange& exchange, std::unique_ptr<Api> api) {
    std::string body = co_await exchange.body();
    co_await serve_here(exchange, std::move(api), std::move(body));
}

Task<void> tell_refusal(server::Exchange& exchange, ApiError error) {
    Terminal terminal(exchange.take_over());
    try {
        co_await terminal.greet();
        co_await terminal.error(error.code(), error.params());
        co_await terminal.exit(1);
    } catch (const ProtocolError& lost) {
        log::info("cli.client_lost", {{"why", lost.what()}});
    }
}

/// Whether a member carries the command out itself, whatever its coordinator does.
bool stays_here(const std::string& body) {
    try {
        const CommandLine line = parse_command_line(body);
        const Command* command = find_command(line.command);
        return line.command == "help" || (command != nullptr && command->is(flag::neverforward));
    } catch (const SyntaxError&) {
        return true;  // said here as well as anywhere
    }
}

Task<void> serve_members(server::Exchange& exchange, MemberDoor door) {
    std::string body = co_await exchange.body();
    if (stays_here(body)) {
        co_return co_await serve_here(exchange, door.open_here(exchange.request().peer),
                                      std::move(body));
    }
    std::optional<ApiError> refusal = door.why_refused(exchange.request().peer);
    try {
        if (!refusal) co_await door.pass_on(exchange, std::move(body));
    } catch (const ApiError& error) {
        refusal = error;
    }
    if (refusal) co_await tell_refusal(exchange, *std::move(refusal));
}

}  // namespace

void add_cli_route(server::Router& router, OpenApi open) {
    router.add("POST", "/cli", [open = std::move(open)](server::Exchange& exchange) {
        return serve_own(exchange, open(exchange.request().peer));
    });
}

void add_member_cli_route(server::Router& router, MemberDoor door) {
    router.add("POST", "/cli", [door = std::move(door)](server::Exchange& exchange) {
        return serve_members(exchange, door);
    });
}

}  // namespace basalt::cli
