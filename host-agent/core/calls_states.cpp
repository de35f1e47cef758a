// The verbs that are about what a VM's machine remembers while it is off.
#include <zlib.h>

#include "base/encoding.hpp"
#include "host-agent/core/calls.hpp"
#include "hypervisor/api/state_keeper.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

// Flash of a firmware, which is mostly empty.
constexpr std::size_t variables_bytes_max = std::size_t{4} << 20;

std::string packed(const std::string& bytes) {
    uLongf size = ::compressBound(bytes.size());
    std::string out(size, '\0');
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    if (::compress(reinterpret_cast<Bytef*>(out.data()), &size,
                   reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()) != Z_OK)
        throw err::internal_error("the firmware's variables cannot be packed");
    out.resize(size);
    return out;
}

std::string unpacked(const std::string& stream) {
    uLongf size = variables_bytes_max;
    std::string out(size, '\0');
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    if (::uncompress(reinterpret_cast<Bytef*>(out.data()), &size,
                     reinterpret_cast<const Bytef*>(stream.data()), stream.size()) != Z_OK)
        throw err::internal_error("the firmware's variables are not a zlib stream");
    out.resize(size);
    return out;
}

std::string encoded(StateKind kind, const std::string& bytes) {
    if (bytes.empty()) return {};
    return base64(kind == StateKind::nvram ? packed(bytes) : bytes);
}

std::string decoded(StateKind kind, const std::string& contents) {
    if (contents.empty()) return {};
    const auto bytes = from_base64(contents);
    if (!bytes) throw err::internal_error("a kept state that is not base64");
    return kind == StateKind::nvram ? unpacked(*bytes) : *bytes;
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
