#include <CLI/CLI.hpp>

#include <cstdio>
#include <fstream>

#include "xapi/daemon.hpp"
#include "xapi/role_file.hpp"
#include "xapi/rpc/certificate.hpp"
#include "xapi/store_tool.hpp"

namespace basalt {

std::optional<server::PoolIdentity> pool_identity(const Config& config) {
    const Config::Pool& pool = config.pool;
    if (pool.identity_path.empty() && pool.certificates_path.empty()) return std::nullopt;
    if (pool.identity_path.empty() || pool.certificates_path.empty())
        throw std::runtime_error("[pool] needs both identity and certificates");
    return server::PoolIdentity{pool.identity_path, pool.certificates_path};
}

std::string pool_secret(const Config& config) {
    if (config.pool.secret_path.empty()) return {};
    std::ifstream file(config.pool.secret_path);
    std::string secret;
    std::getline(file, secret);
    if (secret.empty()) throw std::runtime_error(config.pool.secret_path + ": no secret");
    return secret;
}

void ensure_client_certificate(const Config& config) {
    server::ensure_certificate(
        config.tls_path,
        {.common_name = config.hostname,
         .addresses = {config.address.substr(0, config.address.find('/')), "127.0.0.1"}});
}

}  // namespace basalt

int main(int argc, char** argv) {
    CLI::App app{"Basalt's XenAPI server"};
    std::string path;
    app.add_option("--config", path, "configuration file (TOML)")->required();
    std::string fault_points;
    app.add_option(
           "--fault-points", fault_points,
           "a folder: notes the moments of calls in `seen`, dies at the one that `die` names")
        ->check(CLI::ExistingDirectory);
    const auto store_command = basalt::add_store_commands(app, path);
    CLI11_PARSE(app, argc, argv);
    try {
        if (app.got_subcommand("store")) return store_command();
        const basalt::Config config = basalt::read_config(path);
        const basalt::Role role = basalt::read_role(config.pool.role_path);
        return role.coordinator ? basalt::run_coordinator(config, fault_points)
                                : basalt::run_member(config, role.address);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "xapi: %s\n", error.what());
        return EXIT_FAILURE;
    }
}
