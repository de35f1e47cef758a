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
struct MapPart {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;  ///< 0: to the end
    Prefix prefix{};
};

Task<nlohmann::json> map_image(RealLoop& loop, Attachment disk, MapPart part);

/// Runs a program that reports as qemu-img does, `(12.34/100%)`, to its end. Failures as of
/// qemu-img. Descriptors 1 and 2 are taken.
Task<void> run_reporting(RealLoop& loop, Command command, rpc::Progress progress);

struct ExportTarget {
    std::string format;
    std::string file;  // exists
    Prefix prefix;
};

/// Writes the disk's content as one file of the format (qcow2).
Task<void> export_image(RealLoop& loop, Attachment disk, ExportTarget target);

struct ImageFacts {
    std::int64_t size_bytes = 0;
    bool differs = false;  ///< it names another image below it
};

/// What an image that a client sent says of itself; nothing that it names is opened. VDI_IO_ERROR
/// when it cannot be read, or keeps its data in another file.
Task<ImageFacts> look_at_image(RealLoop& loop, std::string file, std::string format, Prefix prefix);

struct ImportTarget {
    Attachment disk;
    Prefix prefix;
};

/// Fills a disk, at least as large, from a whole image (ImageFacts) that a client sent.
Task<void> import_image(RealLoop& loop, std::string file, std::string format, ImportTarget target);

struct NewDifference {
    std::string file;  ///< exists
    std::string base;  ///< what the image calls the one below it
    std::int64_t size_bytes = 0;
    Prefix prefix;
};

/// Makes an empty qcow2 image that lies over another, which it only names.
Task<void> create_difference(RealLoop& loop, NewDifference what);

/// Makes what was written to a file durable.
Task<void> sync_file(RealLoop& loop, std::string path);

/// VDI_IN_USE, SR_BACKEND_FAILURE_44 or VDI_IO_ERROR, by what a program of QEMU complained about.
[[noreturn]] void throw_qemu_failure(const std::string& text);

}  // namespace basalt::sm
