#include "base/error.hpp"
#include "xapi/cli/facts.hpp"

// Fields that no single member of the database holds.
namespace basalt::cli {

namespace {

/// The name of the only host that an SR is connected to.
Task<Shown> sr_host(Facts& facts, std::string sr) {
    const Shown hosts = co_await facts.follow("SR", sr, "PBDs.host.name_label");
    if (hosts.items.empty()) co_return Shown::of(std::string(not_in_database));
    co_return Shown::of(hosts.items.size() == 1 ? hosts.items.front() : "<shared>");
}

Task<Shown> sr_types(Facts& facts) {
    std::vector<std::string> types;
    for (const std::string& sm : co_await facts.all("SM")) {
        const Shown type = co_await facts.follow("SM", sm, "type");
        types.push_back(type.text);
    }
    co_return Shown::of_set(std::move(types));
}

Task<Shown> attachable(Facts& facts, std::string vbd) {
    std::string why;
    try {
        co_await facts.session().call("VBD.assert_attachable", args(std::move(vbd)));
    } catch (const ApiError& error) {
        if (error.code() == "SESSION_INVALID") throw;
        why = error.what();
    }
    co_return Shown::of(why.empty() ? "true" : "false (error: " + why + ")");
}

Task<Shown> resolution(Facts& facts, std::string type) {
    const wire::Value* record = co_await facts.record("VGPU_type", std::move(type));
    if (record == nullptr) co_return Shown::of(std::string(not_in_database));
    co_return Shown::of(text_member(*record, "max_resolution_x") + "x" +
                        text_member(*record, "max_resolution_y"));
}

/// Whether the variant's driver names it in that field.
Task<Shown> is_variant(Facts& facts, std::string variant, std::string field) {
    const Shown chosen = co_await facts.follow("Driver_variant", variant, "driver." + field);
    co_return Shown::of(chosen.text == variant ? "true" : "false");
}

/// The value that all hosts have.
Task<Shown> of_hosts(Facts& facts, std::string field) {
    std::string common;
    bool first = true;
    for (const std::string& host : co_await facts.all("host")) {
        const Shown value = co_await facts.follow("host", host, field);
        if (!first && value.text != common) co_return Shown::of("inconsistent");
        common = value.text;
        first = false;
    }
    co_return Shown::of(std::move(common));
}

}  // namespace

Task<Shown> computed(Facts& facts, const Object& /*object*/, std::string name, std::string ref) {
    if (name == "sr_host") co_return co_await sr_host(facts, std::move(ref));
    if (name == "sr_types") co_return co_await sr_types(facts);
    if (name == "attachable") co_return co_await attachable(facts, std::move(ref));
    if (name == "resolution") co_return co_await resolution(facts, std::move(ref));
    if (name == "variant_active")
        co_return co_await is_variant(facts, std::move(ref), "active_variant");
    if (name == "variant_selected")
        co_return co_await is_variant(facts, std::move(ref), "selected_variant");
    if (name.starts_with("hosts.")) co_return co_await of_hosts(facts, name.substr(6));
    co_return Shown::of("");
}

}  // namespace basalt::cli
