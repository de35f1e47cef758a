#include "xapi/rpc/dispatch.hpp"

#include <algorithm>
#include <array>
#include <boost/system/system_error.hpp>

#include "base/context.hpp"
#include "base/log.hpp"
#include "idl/errors.hpp"
#include "idl/records/session.hpp"
#include "idl/records/task.hpp"
#include "xapi/core/audit_log.hpp"
#include "xapi/core/tasks.hpp"

namespace basalt::server {

namespace {

using xenapi::MessageInfo;
using xenapi::MessageKind;
using Args = std::span<const wire::Value>;
using KeptArgs = std::vector<wire::Value>;

constexpr std::string_view is_alive = "system.isAlive:";
constexpr std::string_view other_config_header = "x-http-other-config-";
// Rows that an expression is tried on within a turn of the loop; more go to a pool thread.
constexpr std::size_t filtered_on_loop_max = 256;

Answer all_method_names() {
    std::vector<std::string> names;
    names.reserve(xenapi::message_count_expected);
    for (const xenapi::ClassInfo& cls : xenapi::classes())
        for (const MessageInfo& message : cls.messages)
            names.emplace_back(message.wire_name);
    Answer answer;
    answer.reply = xenapi::Reply::of(std::move(names));
    answer.bare = true;
    return answer;
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
    return out;
}

/// Some keys of some maps have roles of their own.
void check_role(const MessageInfo& message, const Caller& caller, Args args) {
    if (caller.root || caller.pool) return;  // as require_role has it
    const std::string permission = lower(message.wire_name);
    const std::string* key = args.size() > 1 ? args[1].get<std::string>() : nullptr;
    if (key != nullptr) {
        for (const xenapi::KeyRole& rule : message.key_roles)
            if (rule.matches(*key))
                return require_role(caller, rule.roles, permission + "/key:" + *key);
    }
    require_role(caller, message.roles, permission);
}

/// What cannot be decoded fails at once even where the work runs as a task; a bad reference does
/// not: the task fails with it.
void check_decodable(const MessageInfo& message, Args args) {
    for (std::size_t i = 0; i < message.params.size() && i < args.size(); ++i) {
        const xenapi::TypeOps* type = message.params[i].type;
        // Records are read with the rules of constructors, by whoever takes them.
        if (type == nullptr || type->kind == xenapi::TypeKind::record) continue;
        try {
            type->read(args[i], type->make().get());
        } catch (const ApiError& error) {
            if (error.code() == "INTERNAL_ERROR") throw;
        }
    }
}

/// What a session that looks at a file may do beside reading: leave, and bring VMs from there here.
bool serves_files(const MessageInfo& message) {
    constexpr std::array names = {
        std::string_view("session.logout"),
        std::string_view("VM.assert_can_be_recovered"),
        std::string_view("VM.get_SRs_required_for_recovery"),
        std::string_view("VM.recover"),
        std::string_view("VM_appliance.assert_can_be_recovered"),
        std::string_view("VM_appliance.get_SRs_required_for_recovery"),
        std::string_view("VM_appliance.recover"),
    };
    return std::ranges::find(names, message.wire_name) != names.end();
}

/// Runs `check`; when it refuses, what cannot be decoded is the answer all the same.
template <class Check>
void decodable_or(const MessageInfo& message, Args args, Check check) {
    try {
        check();
    } catch (const ApiError&) {
        check_decodable(message, args);
        throw;
    }
}

Task<Answer> done(Answer answer) {
    co_return answer;
}

void tell_caller(core::Traced& seen, const Caller& caller) {
    seen.tag("xs.xapi.user", caller.user);
}

/// The work of a task, in a span of its own below that of the call which began it.
Task<xenapi::Reply> observed(core::Tracing& tracing, Call& running, std::string began,
                             std::function<Task<xenapi::Reply>()> work) {
    core::Traced seen = tracing.within(began, std::string(running.message().wire_name), true);
    seen.tag("xs.xapi.task", running.task().text());
    if (seen) running.follow(seen.text());
    std::exception_ptr failure;
    try {
        co_return co_await work();
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    seen.fail(failure);
    std::rethrow_exception(failure);
}

std::vector<std::string> description_of(const ApiError& error) {
    std::vector<std::string> description{error.code()};
    description.insert(description.end(), error.params().begin(), error.params().end());
    return description;
}

}  // namespace

void check_count(const MessageInfo& message, std::size_t given) {
    const bool any_default = message.required < message.params.size();
    const std::int64_t received = static_cast<std::int64_t>(given) - (message.no_session ? 0 : 1);
    const std::int64_t required = message.required;
    const bool good = any_default ? received >= required : received == required;
    if (!good) throw err::message_parameter_count_mismatch(message.wire_name, required, received);
}

Dispatcher::Dispatcher(core::Core& core, const xenapi::Apis& apis, Sessions& sessions,
                       Metrics& metrics)
    : core_(core),
      apis_(apis),
      sessions_(sessions),
      metrics_(metrics),
      took_(metrics.histogram("xapi_call_seconds")),
      writer_(core) {}

/// Whose turns a call takes. A session that does not exist is none: made-up ones would be as many
/// callers as a client likes.
core::Contender Dispatcher::contender(const MethodCall& call, const HttpRequest& request) const {
    core::Contender who{request.peer.address, {}};
    const auto* session = call.params.empty() ? nullptr : call.params.front().get<std::string>();
    if (session == nullptr) return who;
    const xenapi::Ref<xenapi::Session> ref(xenapi::parse_ref(*session).value_or(Uuid{}));
    if (core_.db.find(ref) != nullptr) who.session = *session;
    return who;
}

bool Dispatcher::is_bounded(const Peer& peer) const {
    return callers_ != nullptr && callers_->any() && !peer.trusted && peer.pool_host.empty();
}

Task<void> Dispatcher::answer(Exchange& exchange, MethodCall call) {
    const HttpRequest& request = exchange.request();
    if (!core_.turns.at_once())
        co_await core_.turns.next(contender(call, request), core::FairTurns::Work::small);
    if (is_bounded(request.peer)) {
        const std::string* program = request.header("User-Agent");
        co_await callers_->admit(request.peer.address, program == nullptr ? "" : *program);
    }
    const Time started = core_.loop.now();
    const Target target = resolve(call.method);
    std::optional<Answer> answer;
    std::exception_ptr failure;
    try {
        answer = run_at_once(target, call, request);
        if (!answer) answer = co_await run(call, request);
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) co_return co_await fail(exchange, call, failure, target, started);
    note_outcome(target, started, "");
    const std::optional<std::string> left = writer_.write_now(exchange, call, *answer);
    if (left && left->empty()) co_return;
    if (left) co_return co_await exchange.write(*left);
    core::Contender who = contender(call, request);
    co_await writer_.write(exchange, call, std::move(*answer), std::move(who));
}

Task<void> Dispatcher::fail(Exchange& exchange, const MethodCall& call, std::exception_ptr failure,
                            Target target, Time started) {
    // The server is stopping: the connection ends without an answer, which is the truth.
    if (is_cancellation(failure)) std::rethrow_exception(failure);
    const ApiError error = as_api_error(failure);
    note_outcome(target, started, error.code());
    co_await exchange.respond(
        ok_response(exchange.request(), std::string(content_type(call.protocol)),
                    failure_text(call, description_of(error)), cors_headers()));
}

void Dispatcher::note_outcome(Target target, Time started, const std::string& code) {
    const MessageInfo* message = target.message;
    // Names that clients make up must not become labels.
    const std::string_view name = message == nullptr ? "other" : message->wire_name;
    if (code.empty()) {
        double*& counter = succeeded_[message];
        if (counter == nullptr)
            counter = &metrics_.counter("xapi_calls_total", {{"method", name}, {"error", code}});
        ++*counter;
    } else {
        metrics_.count("xapi_calls_total", {{"method", name}, {"error", code}});
    }
    took_.observe(core_.loop.now() - started);
}

Dispatcher::Target Dispatcher::resolve(std::string_view method) {
    std::string_view name = method;
    Target target;
    for (const std::string_view prefix : {"Async.", "InternalAsync."}) {
        if (!name.starts_with(prefix)) continue;
        name.remove_prefix(prefix.size());
        target.async = true;
        break;
    }
    target.message = xenapi::find_message(name);
    return target;
}

Task<Answer> Dispatcher::run(const MethodCall& call, const HttpRequest& request) {
    if (call.invalid_text) throw err::invalid_value("UTF-8 expected", call.method);
    if (call.method == "system.listMethods") co_return all_method_names();
    if (call.method.starts_with(is_alive)) {
        Answer answer;
        const bool given = !call.params.empty();
        answer.reply = xenapi::Reply::of(given ? text_argument(call.params[0]) : std::string());
        co_return answer;
    }
    const Target target = resolve(call.method);
    if (target.message == nullptr) refuse_unknown(call, request);
    core::Traced seen = traced(call, request);
    try {
        Answer answer = co_await run_message(target, call, request, seen);
        core_.reach(target.message->wire_name, "landed");
        co_await core_.db.durable(answer.rests_on);
        core_.reach(target.message->wire_name, "durable");
        co_return answer;
    } catch (const ApiError& error) {
        seen.fail(std::current_exception());
        core_.undeclared.note(*target.message, error.code());
        throw;
    }
}

core::Traced Dispatcher::traced(const MethodCall& call, const HttpRequest& request) {
    if (core_.tracing == nullptr || !core_.tracing->on()) return {};
    const std::string* parent = request.header("traceparent");
    core::Traced out = core_.tracing->serve(call.method, parent == nullptr ? "" : *parent);
    out.tag("client.address", request.peer.address);
    if (const std::string* agent = request.header("User-Agent"))
        out.tag("user_agent.original", *agent);
    return out;
}

void Dispatcher::refuse_unknown(const MethodCall& call, const HttpRequest& request) {
    if (!call.params.empty()) (void)sessions_.caller(text_argument(call.params[0]), request);
    throw err::message_method_unknown(call.method);
}

Dispatcher::Admitted Dispatcher::admit(Target target, const MethodCall& call,
                                       const HttpRequest& request) {
    const MessageInfo& message = *target.message;
    check_count(message, call.params.size());
    Admitted out{{}, call.params};
    if (message.no_session) {
        out.caller = sessions_.stranger(request);
    } else {
        const std::string& session = text_argument(out.args.front());
        out.args = out.args.subspan(1);
        // The real server decodes before it looks at the session, and at the session before the
        // role; only who is refused finds out.
        decodable_or(message, out.args, [&] { out.caller = sessions_.caller(session, request); });
    }
    if (message.removed()) throw err::message_removed();
    if (message.pool_internal && !out.caller.pool)
        throw err::internal_error("Internal API \"" + std::string(message.wire_name) +
                                  "\" call attempted with non-pool (external) session");
    if (target.async && !message.async)
        throw ApiError(
            "Fault",
            {"No async mode for this operation (rpc: " + std::string(message.wire_name) + ")"});
    // The role of an Async call is looked at by its task, which then fails.
    if (!message.no_session && !target.async)
        decodable_or(message, out.args, [&] { check_role_audited(message, out.caller, out.args); });
    return out;
}

std::optional<Answer> Dispatcher::run_at_once(Target target, const MethodCall& call,
                                              const HttpRequest& request) {
    const MessageInfo* message = target.message;
    if (message == nullptr || target.async || call.invalid_text || goes_to_domain(*message) ||
        is_filter(*message))
        return std::nullopt;
    // Writes wait for the disk, and the tests' fault points stand on their way.
    if (message->kind == MessageKind::set || message->kind == MessageKind::add ||
        message->kind == MessageKind::remove || message->kind == MessageKind::create ||
        message->kind == MessageKind::destroy)
        return std::nullopt;
    core::Traced seen = traced(call, request);
    try {
        const Admitted admitted = admit(target, call, request);
        tell_caller(seen, admitted.caller);
        if (admitted.caller.file)
            return run_on_file(*message, admitted.caller, admitted.args, false);
        Answer answer = run_implicit(core_.db, *message, admitted.args);
        // Rare: what was read is on its way to the disk. It is read again, and waited for.
        if (core_.db.is_durable(answer.rests_on)) return answer;
        seen.forget();
        return std::nullopt;
    } catch (const ApiError& error) {
        seen.fail(std::current_exception());
        core_.undeclared.note(*message, error.code());
        throw;
    }
}

void Dispatcher::check_role_audited(const MessageInfo& message, const Caller& caller, Args args) {
    try {
        check_role(message, caller, args);
    } catch (const ApiError& error) {
        if (core_.audit != nullptr) core_.audit->note(message, caller, error.code());
        throw;
    }
}

Task<Answer> Dispatcher::run_message(Target target, const MethodCall& call,
                                     const HttpRequest& request, core::Traced& seen) {
    Admitted admitted = admit(target, call, request);
    tell_caller(seen, admitted.caller);
    const MessageInfo& message = *target.message;
    if (admitted.caller.file && !serves_files(message))
        return done(run_on_file(message, admitted.caller, admitted.args, target.async));
    if (target.async)
        return done(run_async(message, std::move(admitted.caller),
                              KeptArgs(admitted.args.begin(), admitted.args.end()), request,
                              seen.text()));
    return run_now(message, std::move(admitted.caller), admitted.args, seen.text());
}

/// A session that looks at a file reads its rows; what would do something would do it here, which
/// such a session never means.
Answer Dispatcher::run_on_file(const MessageInfo& message, const Caller& caller, Args args,
                               bool async) {
    if (async || !is_implicit(message))
        throw err::rbac_permission_denied(message.wire_name,
                                          "The session is of a database in a file");
    Answer answer = run_implicit(*caller.file, message, args);
    answer.rests_on = 0;
    return answer;
}

bool Dispatcher::goes_to_domain(const MessageInfo& message) const {
    return message.thunk >= 0 && (apis_.implements(message) || !is_implicit(message));
}

/// `args` outlive it.
Task<Answer> Dispatcher::run_now(const MessageInfo& message, Caller caller, Args args,
                                 std::string trace) {
    if (!goes_to_domain(message)) {
        if (is_filter(message))
            co_return co_await run_filter(message, std::move(caller), std::move(args));
        Answer answer = run_implicit(core_.db, message, args);
        if (core_.audit != nullptr) core_.audit->note(message, caller, "");
        co_return answer;
    }
    Call call(core_, message, std::move(caller));
    if (!trace.empty()) call.follow(std::move(trace));
    const log::Scope scope(call.context());
    const Time begun = core_.loop.now();
    Answer answer;
    std::exception_ptr failure;
    try {
        const auto thunk = xenapi::thunks()[static_cast<std::size_t>(message.thunk)];
        answer.reply = co_await thunk(apis_, call, args);
    } catch (...) {
        failure = std::current_exception();
    }
    core_.tasks->note_end(call, begun, failure);
    core_.tasks->end_synchronous(call);
    if (failure) std::rethrow_exception(failure);
    answer.rests_on = core_.db.published();
    co_return answer;
}

Task<Answer> Dispatcher::run_filter(const MessageInfo& message, Caller caller, Args args) {
    const std::size_t rows = core_.db.count(xenapi::classes()[message.class_index]);
    if (rows <= filtered_on_loop_max) co_return run_implicit(core_.db, message, args);
    const auto place = co_await core_.preparing.enter({caller.address, caller.session.text()});
    co_return co_await blocking(core_.loop, prepared_filter(core_.db, message, args));
}

/// What the task of an Async call does.
Task<xenapi::Reply> Dispatcher::run_body(const MessageInfo& message, Call& running,
                                         std::shared_ptr<const KeptArgs> args) {
    if (!message.no_session) check_role(message, running.caller(), *args);
    if (goes_to_domain(message))
        co_return co_await xenapi::thunks()[static_cast<std::size_t>(message.thunk)](apis_, running,
                                                                                     *args);
    co_return run_implicit(core_.db, message, *args).reply;
}

Answer Dispatcher::run_async(const MessageInfo& message, Caller caller, KeptArgs args,
                             const HttpRequest& request, std::string trace) {
    check_decodable(message, args);
    xenapi::Ref<xenapi::Task> parent;
    if (const std::string* text = request.header("subtask-of"))
        parent = xenapi::Ref<xenapi::Task>(xenapi::parse_ref(*text).value_or(Uuid{}));
    if (core_.db.find(parent) == nullptr) parent = {};
    auto call = std::make_shared<Call>(core_, message, std::move(caller));
    const auto held = std::make_shared<const KeptArgs>(std::move(args));
    core::Tasks::Body body = [this, &message, held, trace](Call& running) -> Task<xenapi::Reply> {
        if (!trace.empty())
            return observed(*core_.tracing, running, trace, [this, &message, held, &running] {
                return run_body(message, running, held);
            });
        return run_body(message, running, held);
    };
    const auto task = core_.tasks->start(std::move(call), std::move(body), parent);
    xenapi::Map<std::string, std::string> notes;
    for (const auto& [name, value] : request.headers) {
        const std::string key = lower(name);
        if (key.starts_with(other_config_header))
            notes.insert_or_assign(key.substr(other_config_header.size()), value);
    }
    if (!notes.empty())
        core_.db.transact([&](db::Txn& txn) { txn.edit(task).other_config = std::move(notes); });
    Answer answer;
    answer.reply = xenapi::Reply::of(task);
    answer.rests_on = core_.db.published();
    return answer;
}

}  // namespace basalt::server
