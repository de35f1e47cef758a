#include "xapi/rpc/answer_writer.hpp"

#include "idl/runtime/record_codec.hpp"
#include "xapi/rpc/endpoints.hpp"

namespace basalt::server {

namespace {

constexpr std::size_t turn_bytes = std::size_t{512} * 1024;  // rendered in one turn of the loop
constexpr std::size_t row_bytes_guess = 4096;

bool is_xml(const MethodCall& call) {
    return call.protocol == Protocol::xml;
}

void begin_rows(const MethodCall& call, const RowSet& rows, std::string& out) {
    const bool references = rows.form == RowSet::Form::references;
    begin_success(call, out);
    if (is_xml(call)) {
        out += references ? "<value><array><data>" : "<value><struct>";
    } else {
        out += references ? "[" : "{";
    }
}

void end_rows(const MethodCall& call, const RowSet& rows, std::string& out) {
    const bool references = rows.form == RowSet::Form::references;
    if (is_xml(call)) {
        out += references ? "</data></array></value>" : "</struct></value>";
    } else {
        out += references ? "]" : "}";
    }
    end_success(call, out);
}

/// What a row costs beside its record.
void append_row_start(const MethodCall& call, const RowSet& rows, const db::Row& row, bool first,
                      std::string& out) {
    xenapi::RefBuffer buffer;
    const std::string_view ref = xenapi::write_ref(row.ref, buffer);
    const bool references = rows.form == RowSet::Form::references;
    if (is_xml(call)) {
        out += references ? "<value>" : "<member><name>";
        out += ref;
        out += references ? "</value>" : "</name>";
        return;
    }
    if (!first) out += ',';
    out += '"';
    out += ref;
    out += references ? "\"" : "\":";
}

void append_record(const MethodCall& call, const db::Row& row, std::string& out) {
    const std::size_t before = out.size();
    if (is_xml(call)) {
        wire::XmlWriter writer(out);
        xenapi::write_record(*row.cls, row.record.get(), writer);
        row.xml_bytes = static_cast<std::uint32_t>(out.size() - before);
    } else {
        wire::JsonWriter writer(out);
        xenapi::write_record(*row.cls, row.record.get(), writer);
        row.json_bytes = static_cast<std::uint32_t>(out.size() - before);
    }
}

void append_row(const MethodCall& call, const RowSet& rows, const db::Row& row, bool first,
                std::string& out) {
    append_row_start(call, rows, row, first, out);
    if (rows.form == RowSet::Form::references) return;
    append_record(call, row, out);
    if (is_xml(call)) out += "</member>";
}

}  // namespace

Task<void> AnswerWriter::write(Exchange& exchange, const MethodCall& call, const Answer& answer) {
    std::string text;
    if (answer.rows) {
        const RowSet& rows = *answer.rows;
        const bool maybe_large = rows.rows.size() * row_bytes_guess > whole_max;
        const std::size_t length = maybe_large ? co_await measure(call, rows) : 0;
        if (length > whole_max) co_return co_await write_pieces(exchange, call, rows, length);
        begin_rows(call, rows, text);
        for (const db::RowPtr& row : rows.rows)
            append_row(call, rows, *row, row == rows.rows.front(), text);
        end_rows(call, rows, text);
    } else {
        text = answer.bare ? bare_text(call, answer.reply) : success_text(call, answer.reply);
    }
    co_await exchange.respond(ok_response(exchange.request(),
                                          std::string(content_type(call.protocol)), std::move(text),
                                          cors_headers()));
}

/// The length of the whole text, mostly a sum of what rows remember of theirs.
Task<std::size_t> AnswerWriter::measure(const MethodCall& call, const RowSet& rows) {
    std::string scratch;
    begin_rows(call, rows, scratch);
    end_rows(call, rows, scratch);
    std::size_t total = scratch.size();
    std::size_t rendered = 0;
    for (const db::RowPtr& row : rows.rows) {
        scratch.clear();
        append_row_start(call, rows, *row, row == rows.rows.front(), scratch);
        total += scratch.size();
        if (rows.form == RowSet::Form::references) continue;
        if ((is_xml(call) ? row->xml_bytes : row->json_bytes) == 0) {
            append_record(call, *row, scratch);
            rendered += scratch.size();
        }
        total +=
            is_xml(call) ? row->xml_bytes + std::string_view("</member>").size() : row->json_bytes;
        if (rendered > turn_bytes) {
            rendered = 0;
            co_await sleep_for(loop_, Duration{0});
        }
    }
    co_return total;
}

Task<void> AnswerWriter::write_pieces(Exchange& exchange, const MethodCall& call,
                                      const RowSet& rows, std::size_t length) {
    while (large_ >= large_at_once_max)
        co_await ended_.wait();

    struct Place {
        AnswerWriter& writer;

        explicit Place(AnswerWriter& owner) : writer(owner) { ++writer.large_; }

        ~Place() {
            --writer.large_;
            writer.ended_.notify_one();
        }
    };

    const Place place(*this);
    co_await exchange.begin(ok_head(exchange.request(), std::string(content_type(call.protocol)),
                                    length, cors_headers()),
                            !exchange.request().keep_alive);
    std::string text;
    begin_rows(call, rows, text);
    for (const db::RowPtr& row : rows.rows) {
        append_row(call, rows, *row, row == rows.rows.front(), text);
        if (text.size() < piece) continue;
        co_await exchange.write(text);
        text.clear();
    }
    end_rows(call, rows, text);
    co_await exchange.write(text);
}

}  // namespace basalt::server
