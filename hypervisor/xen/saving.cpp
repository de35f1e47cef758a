#include "base/error.hpp"
#include "hypervisor/xen/domain.hpp"

namespace basalt::hv::xen {

Task<void> save_to(StatePtr state, DomainPtr domain, UniqueFd sink, Progress progress) {
    const auto image = std::make_shared<UniqueFd>(std::move(sink));
    domain->ending = true;
    std::exception_ptr failure;
    try {
        co_await blocking(
            state->loop, [dom = domain->descriptor.dom, image] { save_domain(dom, image->get()); });
        domain->running = false;
    } catch (const ApiError&) {
        failure = std::current_exception();
    }
    if (failure) {
        domain->ending = false;
        std::rethrow_exception(failure);
    }
    if (progress) progress(1);
}

}  // namespace basalt::hv::xen
