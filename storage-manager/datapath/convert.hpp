#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/real_loop.hpp"
#include "base/subprocess.hpp"
#include "storage-manager/api/storage.hpp"

/// qemu-img, wrapped: its failures become API errors here. All cancellable; the program is then
/// killed.
namespace basalt::sm {

/// What stands in front of a program's arguments: the launcher and what it keeps.
using Prefix = std::vector<std::string>;

struct ConvertPaths {
    std::string from;
    std::string to;  // exists and is at least as large
    std::string to_format;
    bool to_empty = false;  // zeros need not be written
    Prefix prefix;
};

/// Both as QEMU names images (`json:{...}`). Progress from 0 to 1.
Task<void> convert(RealLoop& loop, ConvertPaths paths, rpc::Progress progress);

/// Which ranges of a disk its chain holds: the array that `qemu-img map` prints.
Task<nlohmann::json> map_image(RealLoop& loop, Attachment disk, Prefix prefix);

/// Runs a program that reports as qemu-img does, `(12.34/100%)`, to its end. Failures as of
/// qemu-img. Descriptors 1 and 2 are taken.
Task<void> run_reporting(RealLoop& loop, Command command, rpc::Progress progress);

struct ExportTarget {
    std::string format;
    std::string file;  // exists
    Prefix prefix;
};

/// Writes the disk's content as one file of the format (qcow2, vhd).
Task<void> export_image(RealLoop& loop, Attachment disk, ExportTarget target);

struct ImportTarget {
    Attachment disk;
    std::string vdi;
    std::int64_t size_bytes = 0;
    Prefix prefix;
};

/// Fills a disk from a file that a client sent. The file may name no other file: an image with a
/// backing or data file is refused (VDI_IO_ERROR), one larger than the disk too (VDI_TOO_SMALL).
Task<void> import_image(RealLoop& loop, std::string file, std::string format, ImportTarget target);

/// Makes what was written to a file durable.
Task<void> sync_file(RealLoop& loop, std::string path);

/// VDI_IN_USE, SR_BACKEND_FAILURE_44 or VDI_IO_ERROR, by what a program of QEMU complained about.
[[noreturn]] void throw_qemu_failure(const std::string& text);

}  // namespace basalt::sm
