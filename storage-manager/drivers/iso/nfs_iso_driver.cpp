#include "storage-manager/drivers/iso/nfs_iso_driver.hpp"

#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "storage-manager/drivers/iso/iso_files.hpp"

namespace basalt::sm {

namespace {

agent::SrContents contents_of(const NfsShare& share, const std::string& sr_uuid) {
    const NfsListing listing = list_share(share, is_image_name);
    agent::SrContents out;
    out.sr.uuid = sr_uuid;
    out.sr.size_bytes = listing.size_bytes;
    out.sr.used_bytes = listing.used_bytes;
    for (const NfsFile& file : listing.files) {
        agent::VdiInfo info;
        info.location = file.name;
        info.name = file.name;
        info.uuid = iso_uuid(sr_uuid, file.name);
        info.size_bytes = file.size_bytes;
        info.used_bytes = file.used_bytes;
        info.read_only = true;
        out.sr.virtual_bytes += file.size_bytes;
        out.vdis.push_back(std::move(info));
    }
    return out;
}

}  // namespace

NfsIsoDriver::NfsIsoDriver(RealLoop& loop, std::string sr_uuid, NfsShare share)
    : loop_(loop), sr_uuid_(std::move(sr_uuid)), share_(std::move(share)) {}

Task<agent::SrInfo> NfsIsoDriver::attach() {
    const agent::SrContents contents = co_await scan();
    co_return contents.sr;
}

Task<void> NfsIsoDriver::detach() {
    co_return;
}

Task<agent::SrContents> NfsIsoDriver::scan() {
    return blocking(loop_,
                    [share = share_, sr_uuid = sr_uuid_] { return contents_of(share, sr_uuid); });
}

Task<agent::VdiInfo> NfsIsoDriver::stat(Location vdi) {
    const agent::SrContents contents = co_await scan();
    for (const agent::VdiInfo& info : contents.vdis)
        if (info.location == vdi || info.uuid == vdi) co_return info;
    throw backend_failure(Failure::vdi_unavailable, vdi);
}

Task<agent::VdiInfo> NfsIsoDriver::create(agent::VdiSpec /*spec*/) {
    throw err::sr_operation_not_supported(sr_uuid_);
    co_return agent::VdiInfo();
}

Task<void> NfsIsoDriver::destroy(Location vdi) {
    const agent::SrContents contents = co_await scan();
    for (const agent::VdiInfo& info : contents.vdis)
        if (info.location == vdi || info.uuid == vdi)
            throw err::sr_operation_not_supported(sr_uuid_);
}

Task<Attachment> NfsIsoDriver::open(Location vdi, agent::Access /*access*/) {
    const std::string name = (co_await stat(std::move(vdi))).location;
    const std::string address =
        co_await blocking(loop_, [share = share_] { return address_of(share); });
    Attachment out;
    out.chain.push_back({"nfs://" + address + share_.path + "/" + name, "raw"});
    out.read_only = true;
    co_return out;
}

Task<void> NfsIsoDriver::close(Location /*vdi*/) {
    co_return;
}

}  // namespace basalt::sm
