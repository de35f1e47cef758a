#include "xapi/in_process_api.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "idl/runtime/model.hpp"
#include "idl/runtime/record_codec.hpp"
#include "idl/runtime/writers.hpp"

namespace basalt {

namespace {

// The text that a JSON client would get.
std::string json_of(const server::Answer& answer) {
    std::string text;
    wire::JsonWriter writer(text);
    if (!answer.rows) {
        answer.reply.write_json(writer);
        return text;
    }
    const bool records = answer.rows->form == server::RowSet::Form::records;
    records ? writer.begin_object() : writer.begin_array();
    for (const db::Row* row : answer.rows->rows.pointers()) {
        const std::string ref = xenapi::ref_text(row->ref);
        if (records) {
            writer.key(ref);
            xenapi::write_record(*row->cls, row->record.get(), writer);
            writer.end_member();
        } else {
            writer.element();
            writer.plain_text(ref);
        }
    }
    records ? writer.end_object() : writer.end_array();
    return text;
}

// Figures that JSON has no word for leave as bare tokens; people read them as other clients do.
std::string with_specials_as_text(const std::string& text) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 3> specials = {
        {{"-Infinity", "\"-inf\""}, {"Infinity", "\"inf\""}, {"NaN", "\"nan\""}}};
    std::string out;
    bool within = false;  // a string
    for (std::size_t at = 0; at < text.size(); ++at) {
        const std::string_view rest = std::string_view(text).substr(at);
        const auto special = std::ranges::find_if(
            specials, [rest](const auto& one) { return rest.starts_with(one.first); });
        if (!within && special != specials.end()) {
            out += special->second;
            at += special->first.size() - 1;
            continue;
        }
        out += text[at];
        if (within && text[at] == '\\' && at + 1 < text.size())
            out += text[++at];
        else if (text[at] == '"')
            within = !within;
    }
    return out;
}

wire::Value parsed(std::string text) {
    // Few answers have any, and large ones are searched faster than copied.
    if (text.contains("Infinity") || text.contains("NaN")) text = with_specials_as_text(text);
    return wire::parse_json(text);
}

/// The rows of an answer themselves: a member becomes a value when somebody asks for it.
class RowRecords final : public cli::Records {
  public:
    explicit RowRecords(db::Rows rows) : rows_(std::move(rows)), pointers_(rows_.pointers()) {
        refs_.reserve(pointers_.size());
        for (const db::Row* row : pointers_)
            refs_.push_back(xenapi::ref_text(row->ref));
    }

    [[nodiscard]] const std::vector<std::string>& refs() const override { return refs_; }

    [[nodiscard]] std::optional<wire::Value> member(std::size_t place,
                                                    std::string_view name) const override {
        const db::Row& row = *pointers_.at(place);
        const xenapi::FieldInfo* field = row.cls->field(name);
        if (field == nullptr || field->internal_only) return std::nullopt;
        if (field->type->kind == xenapi::TypeKind::option) {
            // It may be absent, which only its record tells.
            const wire::Value whole = record(place);
            const wire::Value* found = whole.find(name);
            return found == nullptr ? std::nullopt : std::optional(*found);
        }
        std::string text;
        wire::JsonWriter writer(text);
        field->type->write_json(field->in(row.record.get()), writer);
        return parsed(std::move(text));
    }

    [[nodiscard]] wire::Value record(std::size_t place) const override {
        const db::Row& row = *pointers_.at(place);
        std::string text;
        wire::JsonWriter writer(text);
        xenapi::write_record(*row.cls, row.record.get(), writer);
        return parsed(std::move(text));
    }

  private:
    db::Rows rows_;
    std::vector<const db::Row*> pointers_;
    std::vector<std::string> refs_;
};

}  // namespace

Task<std::unique_ptr<cli::Records>> InProcessApi::all_records(std::string class_name,
                                                              std::string session) {
    server::MethodCall call{.protocol = server::Protocol::json2,
                            .method = class_name + ".get_all_records"};
    call.params.emplace_back(session);
    server::Answer answer = co_await dispatcher_.run(call, request_);
    if (!answer.rows)
        co_return co_await Api::all_records(std::move(class_name), std::move(session));
    co_return std::make_unique<RowRecords>(std::move(answer.rows->rows));
}

Task<wire::Value> InProcessApi::call(std::string method, wire::Array params) {
    server::MethodCall call{.protocol = server::Protocol::json2, .method = std::move(method)};
    call.params.assign(std::make_move_iterator(params.begin()),
                       std::make_move_iterator(params.end()));
    const server::Answer answer = co_await dispatcher_.run(call, request_);
    co_return parsed(json_of(answer));
}

}  // namespace basalt
