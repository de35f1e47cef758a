#include "xapi/member/local_sessions.hpp"

#include <algorithm>

#include "idl/runtime/ref.hpp"

namespace basalt::member {

std::string LocalSessions::open(std::string user) {
    make_room();
    std::string ref = xenapi::ref_text(loop_.new_uuid());
    sessions_[ref] = {std::move(user), loop_.now()};
    return ref;
}

std::optional<std::string> LocalSessions::user_of(const std::string& ref) {
    const auto found = sessions_.find(ref);
    if (found == sessions_.end()) return std::nullopt;
    if (loop_.now() - found->second.used > idle_max) {
        sessions_.erase(found);
        return std::nullopt;
    }
    found->second.used = loop_.now();
    return found->second.user;
}

void LocalSessions::close(const std::string& ref) {
    sessions_.erase(ref);
}

void LocalSessions::make_room() {
    if (sessions_.size() < sessions_max) return;
    sessions_.erase(std::ranges::min_element(sessions_, {},
                                             [](const auto& entry) { return entry.second.used; }));
}

}  // namespace basalt::member
