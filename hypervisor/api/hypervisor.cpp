#include "hypervisor/api/hypervisor.hpp"

#include "base/json.hpp"

namespace basalt::hv {

void to_json(Json& json, const DiskAttachment& value) {
    json = {
        {"spec", value.spec}, {"nbd_socket", value.nbd_socket}, {"nbd_export", value.nbd_export}};
}

void from_json(const Json& json, DiskAttachment& value) {
    json.at("spec").get_to(value.spec);
    json.at("nbd_socket").get_to(value.nbd_socket);
    json.at("nbd_export").get_to(value.nbd_export);
}

void to_json(Json& json, const NicAttachment& value) {
    json = {{"spec", value.spec}, {"tap", value.tap}};
}

void from_json(const Json& json, NicAttachment& value) {
    json.at("spec").get_to(value.spec);
    json.at("tap").get_to(value.tap);
}

void to_json(Json& json, const UsbAttachment& value) {
    json = {{"spec", value.spec}, {"node", value.node}};
}

void from_json(const Json& json, UsbAttachment& value) {
    json.at("spec").get_to(value.spec);
    json.at("node").get_to(value.node);
}

void to_json(Json& json, const DomainConfig& value) {
    json = {
        {"spec", value.spec}, {"disks", value.disks}, {"nics", value.nics}, {"usbs", value.usbs}};
}

void from_json(const Json& json, DomainConfig& value) {
    json.at("spec").get_to(value.spec);
    json.at("disks").get_to(value.disks);
    json.at("nics").get_to(value.nics);
    // Not said before it could be had.
    if (const auto usbs = json.find("usbs"); usbs != json.end()) usbs->get_to(value.usbs);
}

}  // namespace basalt::hv
