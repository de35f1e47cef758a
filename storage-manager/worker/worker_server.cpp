#include "storage-manager/worker/worker_server.hpp"

#include "base/json.hpp"
#include "idl/errors.hpp"
#include "storage-manager/worker/wire.hpp"

namespace basalt::sm {

namespace {

using rpc::Reply;

Drivers::Sr sr_of(const Json& args) {
    return {args.value("sr", std::string()), args.at("type").get<std::string>(),
            args.at("config").get<DeviceConfig>()};
}

std::string location(const Json& args) {
    return args.at("vdi").get<std::string>();
}

agent::VdiSpec spec(const Json& args) {
    return args.at("spec").get<agent::VdiSpec>();
}

Task<Reply> empty(Task<void> verb) {
    co_await std::move(verb);
    co_return Reply{};
}

template <class T>
Task<Reply> value(Task<T> verb) {
    const T result = co_await std::move(verb);
    co_return large_reply(Json(result));
}

Task<Reply> prepared(Task<Snapshots::Prepared> verb) {
    const Snapshots::Prepared result = co_await std::move(verb);
    co_return Reply{{{"snapshot", result.snapshot}, {"leaf", result.leaf}, {"token", result.token}},
                    {}};
}

Task<Reply> keep(Task<std::unique_ptr<Driver>> verb, std::unique_ptr<Driver>& out) {
    out = co_await std::move(verb);
    co_return Reply{};
}

}  // namespace

WorkerServer::WorkerServer(Drivers& drivers) : drivers_(drivers) {
    add_kind_verbs();
    add_driver_verbs();
    add_ability_verbs();
}

Task<Reply> WorkerServer::handle(rpc::Request request) {
    const auto verb = verbs_.find(request.verb);
    if (verb == verbs_.end()) throw err::internal_error("unknown worker verb " + request.verb);
    co_return co_await verb->second(std::move(request.args));
}

// None of these lambdas is a coroutine: each hands its arguments to one as values.
void WorkerServer::add_kind_verbs() {
    verbs_["facts"] = [this](const Json&) { return value(drivers_.facts()); };
    verbs_["make"] = [this](const Json& args) { return keep(drivers_.make(sr_of(args)), driver_); };
    verbs_["kind_create"] = [this](const Json& args) {
        return empty(drivers_.create(sr_of(args)));
    };
    verbs_["kind_destroy"] = [this](const Json& args) {
        return empty(drivers_.destroy(sr_of(args)));
    };
    verbs_["kind_probe"] = [this](const Json& args) {
        const Drivers::Sr sr = sr_of(args);
        return value(drivers_.probe(sr.type, sr.config));
    };
}

void WorkerServer::add_driver_verbs() {
    verbs_["attach"] = [this](const Json&) { return value(driver().attach()); };
    verbs_["detach"] = [this](const Json&) { return empty(driver().detach()); };
    verbs_["scan"] = [this](const Json&) { return value(driver().scan()); };
    verbs_["stat"] = [this](const Json& args) { return value(driver().stat(location(args))); };
    verbs_["create"] = [this](const Json& args) { return value(driver().create(spec(args))); };
    verbs_["destroy"] = [this](const Json& args) {
        return empty(driver().destroy(location(args)));
    };
    verbs_["open"] = [this](const Json& args) {
        return value(driver().open(location(args), args.at("access").get<agent::Access>()));
    };
    verbs_["close"] = [this](const Json& args) { return empty(driver().close(location(args))); };
}

void WorkerServer::add_ability_verbs() {
    verbs_["snapshot_prepare"] = [this](const Json& args) {
        return prepared(snapshots().snapshot_prepare(location(args), spec(args)));
    };
    verbs_["snapshot_commit"] = [this](const Json& args) {
        return value(snapshots().snapshot_commit(args.at("token").get<std::string>()));
    };
    verbs_["snapshot_abort"] = [this](const Json& args) {
        return empty(snapshots().snapshot_abort(args.at("token").get<std::string>()));
    };
    verbs_["clone"] = [this](const Json& args) {
        return value(snapshots().clone(location(args), spec(args)));
    };
    verbs_["revert"] = [this](const Json& args) {
        return value(snapshots().revert(location(args), args.at("snapshot").get<std::string>()));
    };
    verbs_["resize"] = [this](const Json& args) {
        return value(resizer().resize(location(args), args.at("size").get<std::int64_t>()));
    };
}

Driver& WorkerServer::driver() {
    if (!driver_) throw err::internal_error("the worker has no driver yet");
    return *driver_;
}

Snapshots& WorkerServer::snapshots() {
    if (driver().snapshots() == nullptr) throw err::sr_operation_not_supported("");
    return *driver().snapshots();
}

Resizer& WorkerServer::resizer() {
    if (driver().resizer() == nullptr) throw err::sr_operation_not_supported("");
    return *driver().resizer();
}

}  // namespace basalt::sm
