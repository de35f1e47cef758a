#include "xapi/in_process_api.hpp"

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
    for (const db::RowPtr& row : answer.rows->rows) {
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

}  // namespace

Task<wire::Value> InProcessApi::call(std::string method, wire::Array params) {
    server::MethodCall call{.protocol = server::Protocol::json2, .method = std::move(method)};
    call.params.assign(std::make_move_iterator(params.begin()),
                       std::make_move_iterator(params.end()));
    const server::Answer answer = co_await dispatcher_.run(call, request_);
    co_return wire::parse_json(json_of(answer));
}

}  // namespace basalt
