#include <sys/socket.h>

#include <boost/system/system_error.hpp>
#include <csignal>
#include <system_error>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "base/shown_file.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

constexpr int control_fd = 3;
constexpr Duration write_limit = 5s;
// Far more than a TPM 2.0 has room for.
constexpr std::int64_t contents_bytes_max = std::int64_t{4} << 20;
constexpr std::int64_t open_files_max = 64;

void show_contents(const Domain& domain, const StateFiles& states) {
    OwnerMaps maps;
    try {
        show_file({.path = states.path(domain.uuid(), agent::StateKind::tpm),
                   .at = domain.paths.tpm(),
                   .uid = domain.slot->guest(),
                   .read_only = false},
                  maps);
    } catch (const std::system_error& error) {
        throw err::internal_error(error.what());
    }
}

Task<void> end_of(Process& process) {
    co_await process.wait();
}

}  // namespace

TpmReady make_tpm_ready(const Domain& domain, const LaunchWith& with, const Cell& guest,
                        int words) {
    show_contents(domain, with.states);
    TpmReady ready;
    std::tie(ready.qemu_end, ready.control) = socket_pair();
    Cell cell;
    cell.uid = guest.uid;
    cell.groups = guest.groups;
    cell.writable = {domain.paths.tpm()};
    cell.file_bytes_max = contents_bytes_max;
    cell.open_files_max = open_files_max;
    ready.command.argv = confined(with.confinement->launcher, cell,
                                  plan_tpm_command(domain.paths, with.installation, control_fd));
    ready.command.inherit = {{words, 1}, {words, 2}, {ready.control.get(), control_fd}};
    ready.command.detached = true;
    return ready;
}

void start_tpm(Domain& domain, TpmReady& ready) {
    domain.tpm = start_process(domain.loop, ready.command);
    ready.control = {};  // the emulator alone has it now
    domain.descriptor.tpm_pid = domain.tpm->pid();
    domain.descriptor.tpm_process_start = process_start(domain.tpm->pid());
}

Task<void> await_tpm(DomainPtr domain) {
    if (!domain->tpm) co_return;
    bool stuck = false;
    try {
        co_await within(domain->loop, write_limit, end_of(*domain->tpm),
                        err::internal_error("the TPM took too long"));
    } catch (const ApiError&) {
        stuck = true;
    }
    if (!stuck) co_return;
    log::warn("tpm_killed", {{"vm", domain->uuid()}, {"pid", domain->descriptor.tpm_pid}});
    domain->tpm->kill(SIGKILL);
    co_await domain->tpm->wait();
}

}  // namespace basalt::hv::qemu
