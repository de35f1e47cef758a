#include "xapi/domain/lvhd.hpp"

#include "base/json.hpp"
#include "idl/records/host.hpp"
#include "idl/records/sr.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

Task<std::string> LvhdDomain::enable_thin_provisioning(Call& call,
                                                       LvhdEnableThinProvisioning params) {
    (void)call.db().get(params.host);
    (void)call.db().get(params.SR);
    const std::string method(call.message().wire_name);
    const Json request = {
        {"method", method},
        {"params", Json::array({params.host.text(), params.SR.text(), params.initial_allocation,
                                params.allocation_quantum})}};
    co_return co_await core_.hosts->agent(params.host).extension_call({method, request.dump()});
}

}  // namespace basalt::domain
