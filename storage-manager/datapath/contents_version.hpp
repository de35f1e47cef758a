#pragma once
#include <string>

#include "storage-manager/api/driver.hpp"

namespace basalt::sm {

/// A text that is another one when the contents of a disk that nobody writes to may have changed
/// since: who has read a part of them may go on only while it stays. Rests on the place, length and
/// time of the last write of each image file, and on this boot: what a machine that crashed had
/// written may be newer than the times that its files tell. Empty when that cannot be known: of
/// devices, of images on other machines, of files that are gone. Blocks.
[[nodiscard]] std::string contents_version(const Attachment& disk);

}  // namespace basalt::sm
