#include "xapi/domain/observers.hpp"

#include <algorithm>
#include <charconv>

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/observer.hpp"
#include "xapi/core/tracing.hpp"
#include "xapi/domain/ip_text.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr std::string_view own_disk = "bugtool";
constexpr std::size_t attribute_name_max = 255;
constexpr std::size_t attribute_value_max = 4095;
constexpr std::size_t host_name_max = 253;

bool is_small_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

// As OpenTelemetry spells them.
bool is_attribute_name(const std::string& name) {
    return name.size() >= 2 && name.size() <= attribute_name_max &&
           is_small_or_digit(name.front()) && is_small_or_digit(name.back()) &&
           std::ranges::all_of(name,
                               [](char c) { return is_small_or_digit(c) || c == '.' || c == '_'; });
}

bool is_host_name(const std::string& name) {
    return !name.empty() && name.size() <= host_name_max && name.front() != '-' &&
           std::ranges::all_of(name, [](char c) {
               return is_small_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '.';
           });
}

bool is_port(std::string_view text) {
    std::uint16_t number = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
    return failed == std::errc{} && end == text.data() + text.size() && number != 0;
}

bool is_collector(const std::string& url) {
    if (std::ranges::any_of(url, [](char c) { return c <= ' ' || c == '\x7f'; })) return false;
    if (!url.starts_with("http://") && !url.starts_with("https://")) return false;
    const std::size_t begin = url.find("//") + 2;
    std::string where = url.substr(begin, url.find_first_of("/?#", begin) - begin);
    if (where.starts_with('[')) {
        const std::size_t bracket = where.find(']');
        if (bracket == std::string::npos) return false;
        const std::string behind = where.substr(bracket + 1);
        return is_address(ipv6, where.substr(1, bracket - 1)) &&
               (behind.empty() || (behind.front() == ':' && is_port(behind.substr(1))));
    }
    const std::size_t colon = where.find(':');
    if (colon != std::string::npos && !is_port(where.substr(colon + 1))) return false;
    return is_host_name(where.substr(0, colon));
}

void require_attributes(const Map<std::string, std::string>& attributes) {
    for (const auto& [name, value] : attributes)
        if (!is_attribute_name(name) || value.size() > attribute_value_max)
            throw err::invalid_value("attributes", name + ":" + value);
}

void require_components(const std::vector<std::string>& components) {
    for (const std::string& word : components)
        if (!core::is_observed_component(word)) throw err::invalid_value("component", word);
}

void require_endpoints(const std::vector<std::string>& endpoints) {
    for (const std::string& endpoint : endpoints)
        if (endpoint != own_disk && !is_collector(endpoint))
            throw err::invalid_value("endpoint", endpoint);
}

void require_hosts(const db::Txn& txn, const std::vector<Ref<Host>>& hosts) {
    for (const Ref<Host> host : hosts)
        if (txn.find(host) == nullptr) throw err::invalid_value("host", host.text());
}

}  // namespace

Task<Ref<Observer>> ObserverDomain::create(Call& call, ObserverCreate params) {
    require_components(params.args.components);
    require_endpoints(params.args.endpoints);
    require_attributes(params.args.attributes);
    const Ref<Observer> made = call.db().transact([&](db::Txn& txn) {
        require_hosts(txn, params.args.hosts);
        params.args.uuid.clear();
        return txn.insert(std::move(params.args));
    });
    core_.tracing->reload();
    co_return made;
}

Task<void> ObserverDomain::destroy(Call& call, ObserverDestroy params) {
    call.db().transact([&](db::Txn& txn) { txn.erase(params.self); });
    core_.tracing->reload();
    co_return;
}

Task<void> ObserverDomain::register_(Call& call, ObserverRegister params) {
    (void)call.db().get(params.self);
    (void)call.db().get(params.host);
    if (params.host == core_.this_host) core_.tracing->register_here(params.self, true);
    co_return;
}

Task<void> ObserverDomain::unregister(Call& call, ObserverUnregister params) {
    (void)call.db().get(params.self);
    (void)call.db().get(params.host);
    if (params.host == core_.this_host) core_.tracing->register_here(params.self, false);
    co_return;
}

Task<void> ObserverDomain::set_attributes(Call& call, ObserverSetAttributes params) {
    require_attributes(params.value);
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).attributes = params.value; });
    co_return;
}

Task<void> ObserverDomain::set_components(Call& call, ObserverSetComponents params) {
    require_components(params.value);
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).components = params.value; });
    core_.tracing->reload();
    co_return;
}

Task<void> ObserverDomain::set_enabled(Call& call, ObserverSetEnabled params) {
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).enabled = params.value; });
    core_.tracing->reload();
    co_return;
}

Task<void> ObserverDomain::set_endpoints(Call& call, ObserverSetEndpoints params) {
    require_endpoints(params.value);
    call.db().transact([&](db::Txn& txn) { txn.edit(params.self).endpoints = params.value; });
    co_return;
}

Task<void> ObserverDomain::set_hosts(Call& call, ObserverSetHosts params) {
    call.db().transact([&](db::Txn& txn) {
        require_hosts(txn, params.value);
        txn.edit(params.self).hosts = params.value;
    });
    core_.tracing->reload_hosts(params.self);
    co_return;
}

}  // namespace basalt::domain
