#include "base/error.hpp"
#include "hypervisor/xen/domain.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

Task<void> save_to(StatePtr state, DomainPtr domain, UniqueFd sink, Progress progress, Saving how) {
    // Xen would wait for the guest to stop by itself.
    if (how == Saving::live && !domain->running)
        throw err::operation_not_allowed("a guest that is paused does not move while it runs");
    const auto image = std::make_shared<UniqueFd>(std::move(sink));
    domain->ending = true;
    std::exception_ptr failure;
    try {
        co_await blocking(state->loop, [dom = domain->descriptor.dom, image, how] {
            save_domain(dom, image->get(), how);
        });
        domain->saved = true;
        domain->running = false;
    } catch (const ApiError&) {
        failure = std::current_exception();
    }
    domain->ending = false;
    if (failure) {
        co_await look_after(state, domain);
        std::rethrow_exception(failure);
    }
    if (progress) progress(1);
}

Task<void> run_on(StatePtr state, DomainPtr domain) {
    co_await blocking(state->loop, [dom = domain->descriptor.dom] { resume_domain(dom); });
    domain->saved = false;
    domain->running = true;
}

}  // namespace basalt::hv::xen
