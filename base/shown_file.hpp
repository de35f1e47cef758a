#pragma once
#include <sys/types.h>

#include <string>

/// Files of root's, shown to one unprivileged user in a folder of its own: a bind mount that maps
/// the file's owner to that user. Nothing of the file itself changes, whoever else uses it is not
/// concerned, and nothing is left after a reboot. All calls block; all need root.
namespace basalt {

struct ShownFile {
    std::string path;  // a regular file or block device; links are followed
    std::string at;    // a name that is not there yet, in a folder of root's
    uid_t uid = 0;
    bool read_only = true;
};

/// Throws std::system_error. A file system that cannot map owners (NFS) may show a file for reading
/// if everybody may read it; else this throws "operation not supported".
void show_file(const ShownFile& file);
/// Whoever has it open keeps it. Absent is success.
void hide_file(const std::string& at) noexcept;
/// All that is shown in the folder.
void hide_files(const std::string& folder) noexcept;

}  // namespace basalt
