// Class host: what a host keeps to itself, and tells its guests.
#include <filesystem>
#include <fstream>

#include "base/durable_file.hpp"
#include "base/encoding.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/guest_agents.hpp"
#include "xapi/domain/host.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t key_bytes_max = 1024;
constexpr std::size_t text_bytes_max = std::size_t{64} * 1024;

/// A key may be any text; the name of its file is not.
fs::path file_of(const core::Core& core, const std::string& key) {
    if (core.files.empty()) throw err::internal_error("this pool keeps no files");
    return fs::path(core.files) / "local" / sha256_hex(key);
}

}  // namespace

// The key stands in the file too, in its first line, for who looks at the folder.
Task<void> HostDomain::set_localdb_key(Call& call, HostSetLocaldbKey params) {
    (void)call.db().get(params.host);
    if (params.host != core_.this_host)
        throw err::not_implemented(std::string(call.message().wire_name) + " of a member");
    const bool one_line = params.key.find('\n') == std::string::npos;
    if (params.key.empty() || params.key.size() > key_bytes_max || !one_line)
        throw err::invalid_value("key", params.key.substr(0, key_bytes_max));
    if (params.value.size() > text_bytes_max)
        throw err::invalid_value("value", params.value.substr(0, key_bytes_max));
    co_await blocking(core_.loop,
                      [path = file_of(core_, params.key), text = params.key + "\n" + params.value] {
                          fs::create_directories(path.parent_path());
                          write_durably(path, text);
                      });
}

Task<std::optional<std::string>> local_text(core::Core& core, std::string key) {
    co_return co_await blocking(core.loop,
                                [path = file_of(core, key), key]() -> std::optional<std::string> {
                                    std::ifstream file(path, std::ios::binary);
                                    std::string first;
                                    if (!std::getline(file, first) || first != key)
                                        return std::nullopt;
                                    using Bytes = std::istreambuf_iterator<char>;
                                    return std::string(Bytes(file), Bytes());
                                });
}

Task<void> HostDomain::apply_guest_agent_config(Call& call, HostApplyGuestAgentConfig params) {
    (void)call.db().get(params.host);
    const auto config = call.db().get(core_.pool).guest_agent_config;
    co_await tell_guest_features(core_.hosts->agent(params.host), config);
}

}  // namespace basalt::domain
