#pragma once
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "base/fd.hpp"

/// Files of root's, shown to one unprivileged user in a folder of its own: a bind mount that maps
/// the file's owner to that user. Nothing of the file itself changes, whoever else uses it is not
/// concerned, and nothing is left after a reboot. All calls block; all need root.
namespace basalt {

/// What belongs to `owner` on the disk belongs to `uid` in a mount that has the map. Making one
/// costs a process, so who shows several files keeps them.
class OwnerMaps {
  public:
    /// A user namespace; stays ours. Throws std::system_error.
    int get(uid_t owner, gid_t group, uid_t uid);

  private:
    std::map<std::array<std::uint32_t, 3>, UniqueFd> known_;
};

struct ShownFile {
    std::string path;  // a regular file or block device; links are followed
    std::string at;    // a name that is not there yet, in a folder of root's
    uid_t uid = 0;
    bool read_only = true;
};

/// Throws std::system_error. A file system that cannot map owners (NFS) may show a file for reading
/// if everybody may read it; else this throws "operation not supported".
void show_file(const ShownFile& file, OwnerMaps& maps);
/// Makes the folder for what is shown to one user: others cannot even pass through.
void make_show_folder(const std::string& folder, uid_t uid);
/// Whoever has it open keeps it. Absent is success.
void hide_file(const std::string& at) noexcept;
/// All that is shown in the folder.
void hide_files(const std::string& folder) noexcept;

}  // namespace basalt
