#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "xapi/transfer/ova_document.hpp"

/// The description of a VM in the Open Virtualization Format (DMTF DSP0243), the first file of an
/// OVA archive: what of it a VM here can be.
namespace basalt::transfer {

struct OvfDocument {
    /// The records that the VM becomes, as those of an archive of ours.
    std::vector<domain::ArchivedObject> objects;

    struct DiskFile {
        std::string disk;    ///< id among the objects
        std::string format;  ///< vmdk, vhd, qcow2, raw
    };

    /// By name in the archive.
    std::map<std::string, DiskFile> files;
};

/// Throws IMPORT_ERROR. It works: on a pool thread.
[[nodiscard]] OvfDocument parse_ovf(std::string_view text);

}  // namespace basalt::transfer
