#include "storage-manager/worker/worker_drivers.hpp"

#include <algorithm>
#include <csignal>
#include <map>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "base/rpc.hpp"
#include "base/subprocess.hpp"
#include "idl/errors.hpp"
#include "storage-manager/worker/wire.hpp"

namespace basalt::sm {

namespace {

// One running worker. Never restarted: its successor is another object.
class Worker {
  public:
    Worker(RealLoop& loop, const std::vector<std::string>& program) {
        auto [near, far] = socket_pair();
        Command command;
        command.argv = program;
        command.inherit = {{far.get(), 3}, {2, 2}};
        process_ = std::shared_ptr<Process>(start_process(loop, command));
        peer_ = std::make_shared<rpc::Peer>(
            loop, rpc::socket_channel(loop, adopt_stream(loop, std::move(near))), nullptr);
        spawn(loop, "worker channel", serve(peer_));
        spawn(loop, "worker process", watch(process_));
    }

    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    ~Worker() { stop(); }

    // Whoever waits for an answer gets an error now; the process ends when the kernel lets it.
    void stop() {
        peer_->close();
        process_->kill(SIGKILL);
    }

    [[nodiscard]] bool alive() const { return !peer_->closed(); }

    [[nodiscard]] std::shared_ptr<rpc::Peer> peer() const { return peer_; }

    [[nodiscard]] bool late() const { return late_; }

    void too_late() {
        late_ = true;
        stop();
    }

  private:
    static Task<void> serve(std::shared_ptr<rpc::Peer> peer) { co_await peer->run(); }

    static Task<void> watch(std::shared_ptr<Process> process) { co_await process->wait(); }

    std::shared_ptr<Process> process_;
    std::shared_ptr<rpc::Peer> peer_;
    bool late_ = false;
};

struct Ask {
    std::string verb;
    Json args;
    Duration limit;
};

// A timer that goes with its owner.
class Timer {
  public:
    Timer(Loop& loop, Duration limit, Loop::Work work)
        : loop_(loop), id_(loop.at(loop.now() + limit, std::move(work))) {}

    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    ~Timer() { loop_.cancel(id_); }

  private:
    Loop& loop_;
    Loop::TimerId id_;
};

Task<rpc::Reply> call(RealLoop& loop, std::shared_ptr<Worker> worker, std::string type, Ask ask) {
    const Timer timer(loop, ask.limit, [worker, type, verb = ask.verb] {
        log::error("worker_stuck", {{"type", type}, {"verb", verb}});
        worker->too_late();
    });
    try {
        const auto peer = worker->peer();
        co_return co_await peer->call(ask.verb, std::move(ask.args));
    } catch (const std::exception&) {
        if (!worker->alive()) throw err::sm_plugin_communication_failure(type);
        throw;
    }
}

Json sr_args(const Drivers::Sr& sr) {
    return {{"sr", sr.uuid}, {"type", sr.type}, {"config", sr.config}};
}

bool can(const agent::SmFacts& facts, const std::string& what) {
    return std::ranges::find(facts.capabilities, what) != facts.capabilities.end();
}

class WorkerDriver final : public Driver, public Snapshots, public Resizer {
  public:
    WorkerDriver(RealLoop& loop, std::vector<std::string> program, WorkerLimits limits,
                 Drivers::Sr sr, agent::SmFacts facts)
        : loop_(loop),
          program_(std::move(program)),
          limits_(limits),
          sr_(std::move(sr)),
          facts_(std::move(facts)),
          starting_(loop) {}

    Task<agent::SrInfo> attach() override {
        const rpc::Reply reply = co_await retried({"attach", Json::object(), limits_.attach});
        attached_ = true;
        co_return reply.result.get<agent::SrInfo>();
    }

    Task<void> detach() override {
        co_await retried({"detach", Json::object(), limits_.attach});
        attached_ = false;
        worker_.reset();
    }

    Task<agent::SrContents> scan() override {
        const rpc::Reply reply = co_await retried({"scan", Json::object(), limits_.scan});
        co_return read_large(reply).get<agent::SrContents>();
    }

    Task<agent::VdiInfo> stat(Location vdi) override {
        return vdi_info({"stat", {{"vdi", vdi}}, limits_.verb});
    }

    Task<agent::VdiInfo> create(agent::VdiSpec spec) override {
        return vdi_info({"create", {{"spec", spec}}, limits_.verb});
    }

    Task<void> destroy(Location vdi) override {
        co_await retried({"destroy", {{"vdi", vdi}}, limits_.verb});
    }

    Task<Attachment> open(Location vdi, agent::Access access) override {
        const rpc::Reply reply =
            co_await retried({"open", {{"vdi", vdi}, {"access", access}}, limits_.verb});
        open_[vdi] = access;
        co_return reply.result.get<Attachment>();
    }

    Task<void> close(Location vdi) override {
        open_.erase(vdi);
        co_await retried({"close", {{"vdi", vdi}}, limits_.verb});
    }

    Snapshots* snapshots() override { return can(facts_, "VDI_SNAPSHOT") ? this : nullptr; }

    Resizer* resizer() override { return can(facts_, "VDI_RESIZE") ? this : nullptr; }

    Task<Prepared> snapshot_prepare(Location vdi, agent::VdiSpec spec) override {
        const rpc::Reply reply =
            co_await once({"snapshot_prepare", {{"vdi", vdi}, {"spec", spec}}, limits_.verb});
        co_return Prepared{reply.result.at("snapshot").get<agent::VdiInfo>(),
                           reply.result.at("leaf").get<Image>(),
                           reply.result.at("token").get<std::string>()};
    }

    Task<agent::VdiInfo> snapshot_commit(std::string token) override {
        return vdi_info({"snapshot_commit", {{"token", token}}, limits_.verb});
    }

    Task<void> snapshot_abort(std::string token) override {
        co_await retried({"snapshot_abort", {{"token", token}}, limits_.verb});
    }

    Task<agent::VdiInfo> clone(Location vdi, agent::VdiSpec spec) override {
        return vdi_info({"clone", {{"vdi", vdi}, {"spec", spec}}, limits_.verb});
    }

    Task<agent::VdiInfo> revert(Location vdi, Location snapshot) override {
        return vdi_info({"revert", {{"vdi", vdi}, {"snapshot", snapshot}}, limits_.verb});
    }

    Task<agent::VdiInfo> resize(Location vdi, std::int64_t size_bytes) override {
        return vdi_info({"resize", {{"vdi", vdi}, {"size", size_bytes}}, limits_.verb});
    }

  private:
    Task<agent::VdiInfo> vdi_info(Ask ask) {
        const rpc::Reply reply = co_await retried(std::move(ask));
        co_return reply.result.get<agent::VdiInfo>();
    }

    Task<rpc::Reply> once(Ask ask) {
        const auto worker = co_await running();
        co_return co_await call(loop_, worker, sr_.type, std::move(ask));
    }

    // For verbs that may be done twice: a worker that died gets a successor once. One that was
    // stuck does not: the next would be stuck as well.
    Task<rpc::Reply> retried(Ask ask) {
        const auto worker = co_await running();
        std::exception_ptr failure;
        try {
            co_return co_await call(loop_, worker, sr_.type, ask);
        } catch (const ApiError&) {
            failure = std::current_exception();
        }
        if (worker->alive() || worker->late()) std::rethrow_exception(failure);
        log::warn("worker_died", {{"sr", sr_.uuid}, {"verb", ask.verb}});
        co_return co_await once(std::move(ask));
    }

    Task<std::shared_ptr<Worker>> running() {
        const auto lease = co_await starting_.acquire("worker");
        if (worker_ && worker_->alive()) co_return worker_;
        const auto worker = std::make_shared<Worker>(loop_, program_);
        co_await call(loop_, worker, sr_.type, {"make", sr_args(sr_), limits_.start});
        if (attached_)
            co_await call(loop_, worker, sr_.type, {"attach", Json::object(), limits_.attach});
        const auto open = open_;
        for (const auto& [vdi, access] : open)
            co_await call(loop_, worker, sr_.type,
                          {"open", {{"vdi", vdi}, {"access", access}}, limits_.verb});
        worker_ = worker;
        co_return worker_;
    }

    RealLoop& loop_;
    std::vector<std::string> program_;
    WorkerLimits limits_;
    Drivers::Sr sr_;
    agent::SmFacts facts_;
    ObjectQueue starting_;
    std::shared_ptr<Worker> worker_;
    bool attached_ = false;
    std::map<std::string, agent::Access> open_;
};

}  // namespace

WorkerDrivers::WorkerDrivers(RealLoop& loop, std::string program, WorkerLimits limits)
    : WorkerDrivers(loop, std::vector<std::string>{std::move(program)}, limits) {}

WorkerDrivers::WorkerDrivers(RealLoop& loop, std::vector<std::string> command, WorkerLimits limits)
    : loop_(loop), program_(std::move(command)), limits_(limits) {}

Task<std::vector<agent::SmFacts>> WorkerDrivers::facts() {
    if (!facts_) {
        const auto worker = std::make_shared<Worker>(loop_, program_);
        const rpc::Reply reply =
            co_await call(loop_, worker, "", {"facts", Json::object(), limits_.start});
        facts_ = reply.result.get<std::vector<agent::SmFacts>>();
    }
    co_return *facts_;
}

Task<std::unique_ptr<Driver>> WorkerDrivers::make(Sr sr) {
    const auto known = co_await facts();
    const auto found = std::ranges::find(known, sr.type, &agent::SmFacts::type);
    if (found == known.end()) throw err::sr_unknown_driver(sr.type);
    co_return std::make_unique<WorkerDriver>(loop_, program_, limits_, std::move(sr), *found);
}

Task<void> WorkerDrivers::create(Sr sr) {
    const auto worker = std::make_shared<Worker>(loop_, program_);
    co_await call(loop_, worker, sr.type, {"kind_create", sr_args(sr), limits_.format});
}

Task<void> WorkerDrivers::destroy(Sr sr) {
    const auto worker = std::make_shared<Worker>(loop_, program_);
    co_await call(loop_, worker, sr.type, {"kind_destroy", sr_args(sr), limits_.format});
}

Task<std::string> WorkerDrivers::probe(std::string type, DeviceConfig config) {
    const auto worker = std::make_shared<Worker>(loop_, program_);
    const Json args = sr_args({"", type, std::move(config)});
    const rpc::Reply reply = co_await call(loop_, worker, type, {"kind_probe", args, limits_.verb});
    co_return reply.result.get<std::string>();
}

}  // namespace basalt::sm
