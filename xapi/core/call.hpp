#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent_verbs.hpp"
#include "base/context.hpp"
#include "idl/classes.hpp"
#include "idl/runtime/model.hpp"
#include "idl/runtime/reply.hpp"
#include "xapi/db/database.hpp"

namespace basalt {

namespace core {
class Core;
}

/// Who calls. Made by the dispatcher from a session row; values only.
struct Caller {
    xenapi::Ref<xenapi::Session> session;
    bool root = false;     // local superuser: every role, and messages that have none
    bool pool = false;     // another host of the pool
    bool trusted = false;  // came by the unix socket
    xenapi::RoleMask roles = 0;
    std::string user;
    std::string address;  // of the peer, empty for the unix socket
    std::string user_agent;
    std::string through{};  // uuid of the member by whose socket it came; empty: our own
    std::shared_ptr<db::Database> file{};  // what the session looks at instead of our database
};

/// One call under way: what the domain gets beside the parameters. Lives until the answer is
/// rendered; an Async call's lives as long as its task. Loop only.
class Call {
  public:
    Call(core::Core& core, const xenapi::MessageInfo& message, Caller caller);
    /// What hosts keep of its verbs is dropped once all published so far is durable.
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    [[nodiscard]] core::Core& core() const { return core_; }

    [[nodiscard]] db::Database& db() const;

    [[nodiscard]] const xenapi::MessageInfo& message() const { return message_; }

    [[nodiscard]] const Caller& caller() const { return caller_; }

    /// In every log line that this call causes, in both daemons.
    [[nodiscard]] const std::string& trace() const { return context_->trace; }

    /// Before the call begins to work: it is part of a trace that somebody collects.
    void follow(std::string trace) { context_->trace = std::move(trace); }

    /// The scope of work for this call, once its task is known.
    [[nodiscard]] log::ContextPtr context() const { return context_; }

    /// The task that stands for this call; a synchronous one gets its row now, within `txn`.
    xenapi::Ref<xenapi::Task> task(db::Txn& txn);

    /// Null before `task(txn)` in a synchronous call.
    [[nodiscard]] xenapi::Ref<xenapi::Task> task() const { return task_; }

    /// For the task runner: this call is the body of that row.
    void adopt_task(xenapi::Ref<xenapi::Task> task);

    /// 0 to 1; only moves forward.
    void progress(double fraction);

    /// Ends the call's task with success inside `txn`, so that the task and the rows it changed are
    /// one commit.
    void succeed(db::Txn& txn, const xenapi::Reply& reply = {});

    [[nodiscard]] bool ended() const { return ended_; }

    void mark_ended() { ended_ = true; }

    /// Waits until everything published so far is durable; before any verb to a host.
    Task<void> committed();
    /// A new operation id for a verb with effects; its progress moves this call's from `from` to
    /// `to`.
    agent::Operation operation(double from = 0, double to = 1);

  private:
    core::Core& core_;
    const xenapi::MessageInfo& message_;
    Caller caller_;
    std::shared_ptr<log::Context> context_;
    xenapi::Ref<xenapi::Task> task_;
    bool ended_ = false;
    double progress_ = 0;
    std::vector<std::string> operations_;  // ids of the verbs it asked for
    Time progress_written_{};
};

}  // namespace basalt
