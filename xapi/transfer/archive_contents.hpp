#pragma once
#include <map>
#include <string>

#include "idl/classes.hpp"
#include "xapi/core/call.hpp"
#include "xapi/transfer/archive_reader.hpp"
#include "xapi/transfer/ova_document.hpp"
#include "xapi/transfer/streams.hpp"

namespace basalt::transfer {

struct FillTarget {
    xenapi::Ref<xenapi::Vdi> disk;
    std::uint64_t size_bytes = 0;  ///< how much of it comes
    bool zeroed = false;           ///< it has just been made: zeros need not be written
};

/// By the folder of their pieces in the archive.
using FillTargets = std::map<std::string, FillTarget>;

struct Fill {
    FillTargets targets;
    ExportVersion version = ExportVersion::beside;
    bool force = false;  ///< wrong checksums are only noted
};

/// Reads the rest of an archive, pieces of disks and their checksums, into the disks. What has been
/// written is durable when it returns. Throws IMPORT_ERROR, IMPORT_ERROR_UNEXPECTED_FILE,
/// IMPORT_ERROR_SOME_CHECKSUMS_FAILED, and IMPORT_ERROR_PREMATURE_EOF when a disk did not come
/// whole.
Task<void> fill_disks(Call& call, const Adopt& adopt, ArchiveReader& reader, Fill fill);

}  // namespace basalt::transfer
