#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "idl/apis.hpp"
#include "xapi/core/callers.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/tracing.hpp"
#include "xapi/rpc/answer_writer.hpp"
#include "xapi/rpc/endpoints.hpp"
#include "xapi/rpc/metrics.hpp"
#include "xapi/rpc/sessions.hpp"

namespace basalt::server {

/// `given` parameters, the session among them. Throws MESSAGE_PARAMETER_COUNT_MISMATCH. Surplus
/// ones are allowed where any has a default.
void check_count(const xenapi::MessageInfo& message, std::size_t given);

/// From a decoded call to its answer: name, number of parameters, session, role, then the domain or
/// the tables; Async calls become tasks. Answers leave when what they rest on is durable. Loop
/// only.
class Dispatcher final : public Answerer {
  public:
    /// All outlive it.
    Dispatcher(core::Core& core, const xenapi::Apis& apis, Sessions& sessions, Metrics& metrics);

    /// Callers over the network are let in by these from now on.
    void bound_by(core::Callers& callers) { callers_ = &callers; }

    Task<void> answer(Exchange& exchange, MethodCall call) override;

    /// Runs a call for an entry of another kind (the command line, tests). `request` says who
    /// calls; both must outlive the call. Throws what ends the call; the answer is durable.
    Task<Answer> run(const MethodCall& call, const HttpRequest& request);

  private:
    struct Target {
        const xenapi::MessageInfo* message = nullptr;
        bool async = false;
    };

    using Args = std::span<const wire::Value>;

    /// Who calls, and what with, once that is allowed.
    struct Admitted {
        Caller caller;
        Args args;  ///< of the call, without the session
    };

    [[nodiscard]] static Target resolve(std::string_view method);
    /// Throws what refuses it.
    Admitted admit(Target target, const MethodCall& call, const HttpRequest& request);
    /// Throws RBAC_PERMISSION_DENIED, and leaves a line of it.
    void check_role_audited(const xenapi::MessageInfo& message, const Caller& caller, Args args);
    /// Calls that the tables answer: no waiting, no coroutine. nullopt: it is not one of those.
    std::optional<Answer> run_at_once(Target target, const MethodCall& call,
                                      const HttpRequest& request);
    Task<Answer> run_message(Target target, const MethodCall& call, const HttpRequest& request,
                             core::Traced& traced);
    Task<Answer> run_now(const xenapi::MessageInfo& message, Caller caller, Args args,
                         std::string trace);
    static Answer run_on_file(const xenapi::MessageInfo& message, const Caller& caller, Args args,
                              bool async);
    Task<Answer> run_filter(const xenapi::MessageInfo& message, Caller caller, Args args);
    [[nodiscard]] Answer run_async(const xenapi::MessageInfo& message, Caller caller,
                                   std::vector<wire::Value> args, const HttpRequest& request,
                                   std::string trace);
    Task<xenapi::Reply> run_body(const xenapi::MessageInfo& message, Call& running,
                                 std::shared_ptr<const std::vector<wire::Value>> args);
    /// What observers see of a call. Empty, and made of nothing, while there are none.
    [[nodiscard]] core::Traced traced(const MethodCall& call, const HttpRequest& request);
    [[nodiscard]] core::Contender contender(const MethodCall& call,
                                            const HttpRequest& request) const;
    /// Whether the caller may have to wait before it is served: root on the host's own socket and
    /// hosts of the pool never do.
    [[nodiscard]] bool is_bounded(const Peer& peer) const;
    [[nodiscard]] bool goes_to_domain(const xenapi::MessageInfo& message) const;
    void refuse_unknown(const MethodCall& call, const HttpRequest& request);
    void note_outcome(Target target, Time started, const std::string& code);
    Task<void> fail(Exchange& exchange, const MethodCall& call, std::exception_ptr failure,
                    Target target, Time started);

    core::Core& core_;
    const xenapi::Apis& apis_;
    Sessions& sessions_;
    core::Callers* callers_ = nullptr;
    Metrics& metrics_;
    Metrics::Histogram& took_;
    std::unordered_map<const xenapi::MessageInfo*, double*> succeeded_;  // looked up only
    AnswerWriter writer_;
};

}  // namespace basalt::server
