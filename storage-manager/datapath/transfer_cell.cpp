#include "storage-manager/datapath/transfer_cell.hpp"

#include <unistd.h>

#include <system_error>

#include "idl/errors.hpp"
#include "storage-manager/datapath/chain.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

constexpr CgroupLimits program_limits = {
    .memory_bytes_max = std::int64_t{4} << 30, .pids_max = 256, .cpu_weight = 50};

void make_folder(const fs::path& folder, uid_t uid) {
    try {
        make_show_folder(folder.string(), uid);
    } catch (const std::system_error& error) {
        throw err::internal_error(error.what());
    }
}

}  // namespace

Task<std::shared_ptr<TransferCell>> TransferCell::open(RealLoop& loop, fs::path folder,
                                                       std::shared_ptr<Confinement> confinement) {
    Slots::Held slot = co_await confinement->slots.hold("transfer " + folder.filename().string());
    co_await blocking(loop, [folder, uid = slot.storage()] { make_folder(folder, uid); });
    co_return std::shared_ptr<TransferCell>(
        new TransferCell(std::move(folder), std::move(confinement), std::move(slot)));
}

TransferCell::TransferCell(fs::path folder, std::shared_ptr<Confinement> confinement,
                           Slots::Held slot)
    : folder_(std::move(folder)), confinement_(std::move(confinement)), slot_(std::move(slot)) {}

TransferCell::~TransferCell() {
    hide_files(folder_.string());
    ::rmdir(folder_.c_str());
    confinement_->groups.remove(group());
}

Attachment TransferCell::show(const Attachment& disk, bool read_only) {
    Attachment out;
    out.read_only = disk.read_only || read_only;
    for (const Image& image : disk.chain) {
        if (is_remote(image)) {
            network_ = true;
            out.chain.push_back(image);
            continue;
        }
        out.chain.push_back({show(image.path, out.read_only || !out.chain.empty()), image.format});
    }
    return out;
}

std::string TransferCell::show(const std::string& path, bool read_only) {
    const std::string at = folder_ / std::to_string(++last_);
    try {
        show_file({.path = path, .at = at, .uid = slot_.storage(), .read_only = read_only}, maps_);
    } catch (const std::system_error& error) {
        throw backend_failure(Failure::vdi_unavailable, error.what());
    }
    return at;
}

std::vector<std::string> TransferCell::prefix() {
    Cell cell;
    cell.uid = slot_.storage();
    cell.groups = confinement_->groups.make(group(), program_limits);
    cell.writable = {folder_.string()};
    cell.network = network_;
    return confined(confinement_->launcher, cell, {});
}

}  // namespace basalt::sm
