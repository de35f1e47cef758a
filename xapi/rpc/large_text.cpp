#include "xapi/rpc/large_text.hpp"

#include "idl/runtime/event_batch.hpp"
#include "idl/runtime/record_codec.hpp"
#include "idl/runtime/type_ops.hpp"

namespace basalt::server {

namespace {

// Fewer events than this make no large answer.
constexpr std::size_t events_of_large = 16;

bool is_xml(const MethodCall& call) {
    return call.protocol == Protocol::xml;
}

class RowsText final : public LargeText {
  public:
    RowsText(const MethodCall& call, const RowSet& rows)
        : call_(call), rows_(rows), references_(rows.form == RowSet::Form::references) {}

    [[nodiscard]] std::size_t items() const override { return rows_.rows.size(); }

    void begin(std::string& out) const override {
        begin_success(call_, out);
        if (is_xml(call_)) {
            out += references_ ? "<value><array><data>" : "<value><struct>";
        } else {
            out += references_ ? "[" : "{";
        }
    }

    void end(std::string& out) const override {
        if (is_xml(call_)) {
            out += references_ ? "</data></array></value>" : "</struct></value>";
        } else {
            out += references_ ? "]" : "}";
        }
        end_success(call_, out);
    }

    void append(std::size_t index, std::string& out) const override {
        const db::Row& row = *rows_.rows[index];
        append_start(row, index == 0, out);
        if (references_) return;
        append_record(row, out);
        if (is_xml(call_)) out += member_end;
    }

    [[nodiscard]] std::size_t known_bytes(std::size_t index) const override {
        const db::Row& row = *rows_.rows[index];
        constexpr std::size_t ref = xenapi::ref_text_length;  // no row has the null reference
        if (is_xml(call_)) {
            if (references_) return value_start.size() + ref + value_end.size();
            if (row.xml_bytes == 0) return 0;
            return member_start.size() + ref + name_end.size() + row.xml_bytes + member_end.size();
        }
        const std::size_t start = (index == 0 ? 0 : 1) + 1 + ref + (references_ ? 1 : 2);
        if (references_) return start;
        return row.json_bytes == 0 ? 0 : start + row.json_bytes;
    }

  private:
    static constexpr std::string_view value_start = "<value>";
    static constexpr std::string_view value_end = "</value>";
    static constexpr std::string_view member_start = "<member><name>";
    static constexpr std::string_view name_end = "</name>";
    static constexpr std::string_view member_end = "</member>";

    /// What a row costs beside its record.
    void append_start(const db::Row& row, bool first, std::string& out) const {
        xenapi::RefBuffer buffer;
        const std::string_view ref = xenapi::write_ref(row.ref, buffer);
        if (is_xml(call_)) {
            out += references_ ? value_start : member_start;
            out += ref;
            out += references_ ? value_end : name_end;
            return;
        }
        if (!first) out += ',';
        out += '"';
        out += ref;
        out += references_ ? "\"" : "\":";
    }

    void append_record(const db::Row& row, std::string& out) const {
        const std::size_t before = out.size();
        if (is_xml(call_)) {
            wire::XmlWriter writer(out);
            xenapi::write_record(*row.cls, row.record.get(), writer);
            row.xml_bytes = static_cast<std::uint32_t>(out.size() - before);
        } else {
            wire::JsonWriter writer(out);
            xenapi::write_record(*row.cls, row.record.get(), writer);
            row.json_bytes = static_cast<std::uint32_t>(out.size() - before);
        }
    }

    const MethodCall& call_;
    const RowSet& rows_;
    bool references_;
};

class EventsText final : public LargeText {
  public:
    EventsText(const MethodCall& call, const xenapi::EventBatch& batch)
        : call_(call), batch_(batch), lengths_(batch.events.size()) {
        // The batch without its events is all that stands around them, for they come first.
        xenapi::EventBatch empty;
        empty.valid_ref_counts = batch.valid_ref_counts;
        empty.token = batch.token;
        frame_ = success_text(call, xenapi::Reply::of(std::move(empty)));
        const std::string_view start = is_xml(call) ? "<array><data>" : "\"events\":[";
        split_ = frame_.find(start) + start.size();
    }

    [[nodiscard]] std::size_t items() const override { return batch_.events.size(); }

    void begin(std::string& out) const override { out.append(frame_, 0, split_); }

    void end(std::string& out) const override { out.append(frame_, split_); }

    void append(std::size_t index, std::string& out) const override {
        const std::size_t before = out.size();
        const xenapi::TypeOps& type = xenapi::type_ops<xenapi::WireEvent>();
        if (is_xml(call_)) {
            wire::XmlWriter writer(out);
            type.write_xml(&batch_.events[index], writer);
        } else {
            if (index > 0) out += ',';
            wire::JsonWriter writer(out);
            type.write_json(&batch_.events[index], writer);
        }
        lengths_[index] = static_cast<std::uint32_t>(out.size() - before);
    }

    [[nodiscard]] std::size_t known_bytes(std::size_t index) const override {
        return lengths_[index];
    }

  private:
    const MethodCall& call_;
    const xenapi::EventBatch& batch_;
    std::string frame_;
    std::size_t split_ = 0;
    mutable std::vector<std::uint32_t> lengths_;
};

}  // namespace

std::unique_ptr<LargeText> rows_text(const MethodCall& call, const RowSet& rows) {
    return std::make_unique<RowsText>(call, rows);
}

bool is_large(const xenapi::Reply& reply) {
    return reply.type() == &xenapi::type_ops<xenapi::EventBatch>() &&
           static_cast<const xenapi::EventBatch*>(reply.value())->events.size() >= events_of_large;
}

std::unique_ptr<LargeText> events_text(const MethodCall& call, const xenapi::Reply& reply) {
    if (!is_large(reply)) return nullptr;
    return std::make_unique<EventsText>(call,
                                        *static_cast<const xenapi::EventBatch*>(reply.value()));
}

}  // namespace basalt::server
