// A domain is made by libxl, from a kernel that its own disk names if it is one of those.
#include <filesystem>

#include "base/undo.hpp"
#include "hypervisor/xen/bootloader.hpp"
#include "hypervisor/xen/domain.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::xen {

namespace {

const std::string& disk_to_boot(const DomainConfig& config, const Sources& from) {
    const std::string* found = nullptr;
    for (const DiskAttachment& disk : config.disks) {
        const auto path = from.disks.find(disk.spec.device);
        if (path == from.disks.end()) continue;
        if (disk.spec.bootable) return path->second;
        if (found == nullptr) found = &path->second;
    }
    if (found == nullptr) throw err::bootloader_failed(config.spec.uuid, "the VM has no disk");
    return *found;
}

Task<FoundKernel> find_its_kernel(StatePtr state, DomainConfig config, std::string disk,
                                  std::string folder) {
    if (!state->options.confinement)
        throw err::operation_not_allowed("This host looks for no kernels in guests' disks");
    const Slots::Held users = co_await state->options.confinement->slots.hold(config.spec.uuid);
    KernelSearch search{.boot = config.spec.boot,
                        .vm = config.spec.uuid,
                        .device = std::move(disk),
                        .folder = std::move(folder),
                        .user = users.guest()};
    co_return co_await find_kernel(state->loop, std::move(search));
}

Task<void> drop_folder(StatePtr state, std::string folder) {
    co_await blocking(state->loop, [folder] {
        std::error_code none;
        std::filesystem::remove_all(folder, none);
    });
}

Task<DomId> make_from(StatePtr state, Sources from, Making making) {
    co_return co_await blocking(state->loop,
                                [make = std::move(making.make), from] { return make(from); });
}

// The library reads the files that were found, and nobody after it.
Task<DomId> make_with_kernel(StatePtr state, DomainConfig config, Sources from, Making making) {
    const std::string folder = state->options.boot_dir + "/" + config.spec.uuid;
    const std::string disk = disk_to_boot(config, from);
    DomId dom = 0;
    const auto steps = [&](Undo& undo) -> Task<void> {
        undo.push("drop kernel", [state, folder] { return drop_folder(state, folder); });
        FoundKernel found = co_await find_its_kernel(state, config, disk, folder);
        from.found = std::move(found);
        dom = co_await make_from(state, from, making);
    };
    co_await with_undo(steps);
    co_await drop_folder(state, folder);
    co_return dom;
}

}  // namespace

Task<DomId> make_domain(StatePtr state, DomainConfig config, Sources from, Making making) {
    if (making.boots && brings_kernel(config.spec.boot))
        co_return co_await make_with_kernel(state, std::move(config), std::move(from),
                                            std::move(making));
    co_return co_await make_from(state, std::move(from), std::move(making));
}

Task<void> drop_found_kernels(StatePtr state) {
    if (!state->options.boot_dir.empty()) co_await drop_folder(state, state->options.boot_dir);
}

}  // namespace basalt::hv::xen
