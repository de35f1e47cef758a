#include "xapi/domain/password_cache.hpp"

#include <algorithm>

#include "base/encoding.hpp"
#include "xapi/core/secret.hpp"

namespace basalt::domain {

namespace {

std::string digest_of(const std::string& salt, std::string_view password) {
    std::string salted = salt + std::string(password);
    std::string digest = sha256_hex(salted);
    std::ranges::fill(salted, '\0');
    return digest;
}

}  // namespace

bool PasswordCache::knows(const std::string& user, std::string_view password, Bounds bounds) const {
    const auto found = entries_.find(user);
    if (found == entries_.end()) return false;
    const Entry& entry = found->second;
    return loop_.now() < entry.noted + bounds.kept_for &&
           core::is_secret(entry.digest, digest_of(entry.salt, password));
}

void PasswordCache::note(const std::string& user, std::string_view password, Bounds bounds) {
    entries_.erase(user);
    std::erase_if(entries_, [&](const auto& one) {
        return loop_.now() >= one.second.noted + bounds.kept_for;
    });
    while (!entries_.empty() && entries_.size() >= bounds.users_max)
        entries_.erase(std::ranges::min_element(entries_, {},
                                                [](const auto& one) { return one.second.noted; }));
    if (bounds.users_max == 0) return;
    Entry entry{.salt = loop_.new_uuid().text(), .digest = {}, .noted = loop_.now()};
    entry.digest = digest_of(entry.salt, password);
    entries_.emplace(user, std::move(entry));
}

void PasswordCache::forget(const std::string& user) {
    entries_.erase(user);
}

void PasswordCache::clear() {
    entries_.clear();
}

}  // namespace basalt::domain
