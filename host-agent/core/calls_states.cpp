// The verbs that are about what a VM's machine remembers while it is off.
#include "base/encoding.hpp"
#include "base/packing.hpp"
#include "host-agent/core/calls.hpp"
#include "hypervisor/api/state_keeper.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

// Flash of a firmware, which is mostly empty.
constexpr std::size_t variables_bytes_max = std::size_t{4} << 20;

std::string encoded(StateKind kind, const std::string& bytes) {
    if (bytes.empty()) return {};
    return base64(kind == StateKind::nvram ? zlib_packed(bytes) : bytes);
}

std::string decoded(StateKind kind, const std::string& contents) {
    if (contents.empty()) return {};
    const auto bytes = from_base64(contents);
    if (!bytes) throw err::internal_error("a kept state that is not base64");
    if (kind != StateKind::nvram) return *bytes;
    auto variables = zlib_unpacked(*bytes, variables_bytes_max);
    if (!variables) throw err::internal_error("the firmware's variables are not a zlib stream");
    return *std::move(variables);
}

// Null where machines remember nothing between two starts: then there is nothing to take or tell.
hv::StateKeeper* keeper_of(hv::Hypervisor& hypervisor) {
    return dynamic_cast<hv::StateKeeper*>(&hypervisor);
}

}  // namespace

Task<KeptState> Calls::state_get(StateGetArgs args) {
    hv::StateKeeper* const keeper = keeper_of(backends_.hypervisor);
    if (keeper == nullptr) co_return KeptState{};
    const hv::KeptBytes kept = co_await keeper->read_state(args.vm, args.kind);
    co_return KeptState{.contents = encoded(args.kind, kept.bytes),
                        .digest = sha256_hex(kept.bytes),
                        .tag = kept.tag,
                        .changed = kept.changed};
}

Task<void> Calls::state_put(StatePutArgs args) {
    hv::StateKeeper* const keeper = keeper_of(backends_.hypervisor);
    if (keeper == nullptr) co_return;
    hv::KeptBytes given{.bytes = decoded(args.kind, args.contents), .tag = std::move(args.tag)};
    co_await keeper->write_state(std::move(args.vm), args.kind, std::move(given));
}

Task<void> Calls::state_told(StateToldArgs args) {
    if (hv::StateKeeper* const keeper = keeper_of(backends_.hypervisor); keeper != nullptr)
        co_await keeper->note_told(std::move(args.vm), args.kind, std::move(args.digest),
                                   std::move(args.tag));
}

Task<std::vector<StateRef>> Calls::states_changed(StatesChangedArgs) {
    hv::StateKeeper* const keeper = keeper_of(backends_.hypervisor);
    if (keeper == nullptr) co_return std::vector<StateRef>{};
    co_return co_await keeper->changed_states();
}

}  // namespace basalt::agent
