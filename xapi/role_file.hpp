#pragma once
#include <string>

namespace basalt {

/// What this host is in its pool, as the role file says: `master`, or `slave:ADDRESS`. The form is
/// the one that scripts on hosts of this kind read.
struct Role {
    bool coordinator = true;
    std::string address;  // of the coordinator, numeric; empty when that is us
};

/// No file means coordinator: a host is a pool of its own until it joins another. Throws
/// std::runtime_error for a file that says neither. Blocks shortly.
Role read_role(const std::string& path);

/// Replaces the file in one step. Throws std::system_error. Blocks shortly.
void write_role(const std::string& path, const Role& role);

}  // namespace basalt
