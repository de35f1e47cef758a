#pragma once
#include <string>

namespace basalt {

/// What xapi is told by its configuration file (TOML). Made by ./dev or the appliance's packages.
struct Config {
    std::string host_uuid;
    std::string hostname;
    std::string address;  // of the management interface, CIDR
    std::string hostd_socket;
    std::string store_path;        // SQLite file
    std::string tls_path;          // PEM file, made at first start
    std::string web_directory;     // static files for GET /, or empty
    std::string web_policy;        // their Content-Security-Policy; empty: the strict one
    std::string traces_directory;  // what observers of this host have put on its disk
    std::string manual_directory;  // pages for GET /docs, or empty

    /// How this host proves itself to the hosts of its pool; all empty: it has no peers.
    struct Pool {
        std::string role_path;          // what it is in its pool
        std::string identity_path;      // PEM: key, certificate with its uuid as common name
        std::string certificates_path;  // PEM: of all hosts of the pool
        std::string secret_path;
    };

    Pool pool;
};

/// Throws std::runtime_error that names the file and the key.
Config read_config(const std::string& path);

}  // namespace basalt
