#include "xapi/config.hpp"

#include <stdexcept>
#include <toml++/toml.hpp>

namespace basalt {

namespace {

std::string required(const toml::table& file, const std::string& path, const char* section,
                     const char* key) {
    if (const auto text = file[section][key].value<std::string>()) return *text;
    throw std::runtime_error(path + ": [" + section + "] " + key + " is missing");
}

}  // namespace

Config read_config(const std::string& path) {
    toml::table file;
    try {
        file = toml::parse_file(path);
    } catch (const toml::parse_error& error) {
        throw std::runtime_error(path + ": " + std::string(error.description()));
    }
    return {.host_uuid = required(file, path, "host", "uuid"),
            .hostname = required(file, path, "host", "hostname"),
            .address = required(file, path, "host", "address"),
            .hostd_socket = required(file, path, "hostd", "socket"),
            .store_path = required(file, path, "xapi", "store"),
            .tls_path = required(file, path, "xapi", "tls"),
            .web_directory = file["xapi"]["web"].value_or(std::string()),
            .web_policy = file["xapi"]["web_policy"].value_or(std::string()),
            .traces_directory =
                file["xapi"]["traces"].value_or(std::string("/var/log/dt/zipkinv2/json")),
            .manual_directory = file["xapi"]["manual"].value_or(std::string()),
            .pool = {.role_path = file["pool"]["role"].value_or(std::string()),
                     .identity_path = file["pool"]["identity"].value_or(std::string()),
                     .certificates_path = file["pool"]["certificates"].value_or(std::string()),
                     .secret_path = file["pool"]["secret"].value_or(std::string())}};
}

}  // namespace basalt
