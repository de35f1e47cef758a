#include "xapi/role_file.hpp"

#include <fstream>
#include <stdexcept>

#include "base/durable_file.hpp"

namespace basalt {

namespace {
constexpr std::string_view master = "master";
constexpr std::string_view member_prefix = "slave:";
}  // namespace

Role read_role(const std::string& path) {
    std::ifstream file(path);
    if (!file) return {};
    std::string line;
    std::getline(file, line);
    while (line.ends_with(' ') || line.ends_with('\r'))
        line.pop_back();
    if (line == master) return {};
    if (line.starts_with(member_prefix) && line.size() > member_prefix.size())
        return {.coordinator = false, .address = line.substr(member_prefix.size())};
    throw std::runtime_error(path + ": neither master nor slave:ADDRESS");
}

void write_role(const std::string& path, const Role& role) {
    const std::string text =
        role.coordinator ? std::string(master) : std::string(member_prefix) + role.address;
    write_durably(path, text + "\n");
}

}  // namespace basalt
