#include "xapi/transfer/ova_document.hpp"

#include <charconv>

#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/runtime/datetime.hpp"
#include "idl/runtime/writers.hpp"
#include "xapi/rpc/call_text.hpp"
#include "xapi/rpc/http.hpp"

namespace basalt::transfer {

namespace {

struct Release {
    std::int64_t major = 0;
    std::int64_t minor = 0;

    friend auto operator<=>(const Release&, const Release&) = default;
};

std::int64_t number_in(std::string_view text) {
    std::int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

Release release_of(std::string_view version) {
    const std::size_t dot = std::min(version.find('.'), version.size());
    return {number_in(version.substr(0, dot)),
            dot < version.size() ? number_in(version.substr(dot + 1)) : 0};
}

std::string text_member(const wire::Value& from, std::string_view name) {
    const wire::Value* member = from.find(name);
    const auto* text = member == nullptr ? nullptr : member->get<std::string>();
    return text == nullptr ? std::string{} : *text;
}

/// Numbers come as bare text from real servers; a tagged one is as good.
std::int64_t number_member(const wire::Value& from, std::string_view name) {
    const wire::Value* member = from.find(name);
    const auto* number = member == nullptr ? nullptr : member->get<std::int64_t>();
    return number != nullptr ? *number : number_in(text_member(from, name));
}

wire::Value parsed(std::string_view text) {
    try {
        return server::parse_xml_value(text);
    } catch (const server::HttpError&) {
        throw err::import_error("ova.xml cannot be read");
    }
}

ExportVersion export_version(const wire::Value& version) {
    const std::int64_t number = number_member(version, "export_vsn");
    const auto newest = static_cast<std::int64_t>(ExportVersion::beside);
    if (number < 0 || number > newest) throw err::import_incompatible_version();
    return static_cast<ExportVersion>(number);
}

}  // namespace

wire::Value writer_of(const core::Core& core) {
    const xenapi::Host* host = core.db.find(core.this_host);
    const Release release = release_of(core.product.xapi_version);
    return wire::Object{
        {"hostname", host == nullptr ? std::string("localhost") : host->hostname},
        {"date", xenapi::DateTime{core.now_seconds()}.text()},
        {"product_version", core.product.version},
        {"product_brand", core.product.brand},
        {"build_number", core.product.build},
        {"xapi_major", release.major},
        {"xapi_minor", release.minor},
        {"export_vsn", static_cast<std::int64_t>(ExportVersion::beside)},
    };
}

std::string ova_text(const wire::Value& written_by, std::vector<domain::ArchivedObject> objects) {
    wire::Array told;
    for (domain::ArchivedObject& object : objects)
        told.emplace_back(wire::Object{{"class", std::move(object.cls)},
                                       {"id", std::move(object.id)},
                                       {"snapshot", std::move(object.snapshot)}});
    std::string out;
    wire::XmlWriter writer(out);
    wire::write(wire::Object{{"version", written_by}, {"objects", std::move(told)}}, writer);
    return out;
}

OvaDocument parse_ova(const core::Product& product, std::string_view text) {
    const wire::Value document = parsed(text);
    const wire::Value* version = document.find("version");
    const wire::Value* listed = document.find("objects");
    const auto* objects = listed == nullptr ? nullptr : listed->get<wire::Array>();
    if (version == nullptr || objects == nullptr)
        throw err::import_error("ova.xml says no version or has no objects");
    const Release theirs{number_member(*version, "xapi_major"),
                         number_member(*version, "xapi_minor")};
    if (theirs > release_of(product.xapi_version)) throw err::import_incompatible_version();
    OvaDocument out{export_version(*version), {}};
    for (const wire::Value& object : *objects) {
        const wire::Value* snapshot = object.find("snapshot");
        if (snapshot == nullptr) throw err::import_error("an object of ova.xml has no record");
        out.objects.push_back({text_member(object, "class"), text_member(object, "id"), *snapshot});
    }
    return out;
}

}  // namespace basalt::transfer
