#pragma once
#include <string>

/// What all libraries of CDs have in common, wherever the files lie.
namespace basalt::sm {

/// *.iso and *.img, in any case.
[[nodiscard]] bool is_image_name(const std::string& name);
/// A name-based uuid: the same file of the same SR has it at every scan.
[[nodiscard]] std::string iso_uuid(const std::string& sr_uuid, const std::string& name);

}  // namespace basalt::sm
