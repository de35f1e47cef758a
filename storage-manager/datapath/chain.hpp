#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "storage-manager/api/driver.hpp"

/// How QEMU's programs are told to open a disk: every node of the chain by its format, so that
/// nothing is ever probed and no image can name a file for us to open.
namespace basalt::sm {

/// Whether the image lies on another machine, and is read over the network.
[[nodiscard]] bool is_remote(const Image& image);

/// The two nodes of one image.
struct NodeNames {
    std::string file;
    std::string format;
};

/// The `blockdev-add` arguments of an image's file and format node. `backing` names the format node
/// below, or is empty.
nlohmann::json file_node(const Image& image, const NodeNames& names, bool read_only);
nlohmann::json format_node(const Image& image, const NodeNames& names, const std::string& backing,
                           bool read_only);

/// The arguments of a node that takes the place of a remote image's file node: its bytes come from
/// an NBD server on a unix socket, export "disk".
nlohmann::json relayed_node(const std::string& socket, const NodeNames& names);

/// The whole chain as one `json:{...}` file name, for qemu-img and qemu-nbd.
std::string json_filename(const Attachment& disk, bool read_only);

}  // namespace basalt::sm
