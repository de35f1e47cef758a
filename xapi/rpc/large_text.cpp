#include "xapi/rpc/large_text.hpp"

#include "idl/runtime/event_batch.hpp"
#include "idl/runtime/record_text.hpp"
#include "idl/runtime/type_ops.hpp"

namespace basalt::server {

namespace {

using xenapi::WireEvent;

// Fewer events than this make no large answer.
constexpr std::size_t events_of_large = 16;

/// What stands around all items of a text.
struct Frame {
    std::string begin;
    std::string end;

    void open(const MethodCall& call, std::string_view xml, std::string_view json) {
        begin_success(call, begin);
        begin += call.protocol == Protocol::xml ? xml : json;
    }

    void close(const MethodCall& call, std::string_view xml, std::string_view json) {
        end += call.protocol == Protocol::xml ? xml : json;
        end_success(call, end);
    }
};

void append_record(bool xml, const xenapi::ClassInfo& cls, const void* record, std::string& out) {
    xml ? xenapi::append_xml_record(cls, record, out)
        : xenapi::append_json_record(cls, record, out);
}

/// The length of a row's record, 0 until somebody measured it.
std::uint32_t& record_bytes(const db::Row& row, bool xml) {
    return xml ? row.xml_bytes : row.json_bytes;
}

class RowsText final : public LargeText {
  public:
    RowsText(const MethodCall& call, RowSet rows)
        : xml_(call.protocol == Protocol::xml),
          references_(rows.form == RowSet::Form::references),
          held_(std::move(rows.rows)),
          rows_(held_.pointers()) {
        frame_.open(call, references_ ? "<value><array><data>" : "<value><struct>",
                    references_ ? "[" : "{");
        frame_.close(call, references_ ? "</data></array></value>" : "</struct></value>",
                     references_ ? "]" : "}");
    }

    [[nodiscard]] std::size_t items() const override { return rows_.size(); }

    void begin(std::string& out) const override { out += frame_.begin; }

    void end(std::string& out) const override { out += frame_.end; }

    void append(std::size_t index, std::string& out) const override {
        const db::Row& row = *rows_[index];
        append_start(row, index == 0, out);
        if (references_) return;
        prefetch_after(index);
        append_record(xml_, *row.cls, row.record.get(), out);
        if (xml_) out += member_end;
    }

    [[nodiscard]] std::size_t known_bytes(std::size_t index) override {
        if (references_) return bytes_around(index);
        const std::uint32_t record = record_bytes(*rows_[index], xml_);
        return record == 0 ? 0 : bytes_around(index) + record;
    }

    void note_bytes(std::size_t index, std::size_t bytes) override {
        if (references_) return;
        record_bytes(*rows_[index], xml_) = static_cast<std::uint32_t>(bytes - bytes_around(index));
    }

  private:
    /// What comes next is fetched from memory while this one is written.
    void prefetch_after(std::size_t index) const {
        if (index + 4 < rows_.size()) __builtin_prefetch(rows_[index + 4]);
        if (index + 2 < rows_.size())
            xenapi::prefetch_record(*rows_[index + 2]->cls, rows_[index + 2]->record.get());
        if (index + 1 < rows_.size())
            xenapi::prefetch_parts(*rows_[index + 1]->cls, rows_[index + 1]->record.get());
    }

    static constexpr std::string_view value_start = "<value>";
    static constexpr std::string_view value_end = "</value>";
    static constexpr std::string_view member_start = "<member><name>";
    static constexpr std::string_view name_end = "</name>";
    static constexpr std::string_view member_end = "</member>";

    /// What a row costs beside its record.
    [[nodiscard]] std::size_t bytes_around(std::size_t index) const {
        constexpr std::size_t ref = xenapi::ref_text_length;  // no row has the null reference
        if (!xml_) return (index == 0 ? 0 : 1) + 1 + ref + (references_ ? 1 : 2);
        if (references_) return value_start.size() + ref + value_end.size();
        return member_start.size() + ref + name_end.size() + member_end.size();
    }

    void append_start(const db::Row& row, bool first, std::string& out) const {
        xenapi::RefBuffer buffer;
        const std::string_view ref = xenapi::write_ref(row.ref, buffer);
        if (xml_) {
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

    bool xml_;
    bool references_;
    db::Rows held_;
    std::vector<const db::Row*> rows_;
    Frame frame_;
};

/// An event up to the value of its snapshot.
template <class Writer>
void begin_event(const WireEvent& event, Writer& writer) {
    const auto text = [&writer](std::string_view name, std::string_view value) {
        writer.plain_key(name);
        writer.text(value);
        writer.end_member();
    };
    xenapi::RefBuffer buffer;
    writer.begin_object();
    text("id", event.id);
    text("timestamp", event.timestamp);
    text("class", event.class_name);
    text("operation", event.operation);
    text("ref", xenapi::write_ref(event.ref, buffer));
    if (event.snapshot.has_value()) writer.plain_key("snapshot");
}

template <class Writer>
void end_event(const WireEvent& event, Writer& writer) {
    if (event.snapshot.has_value()) writer.end_member();
    writer.end_object();
}

class EventsText final : public LargeText {
  public:
    EventsText(const MethodCall& call, xenapi::Reply reply, const db::Database& db)
        : xml_(call.protocol == Protocol::xml),
          reply_(std::move(reply)),
          batch_(*static_cast<const xenapi::EventBatch*>(reply_.value())),
          db_(db),
          rows_(batch_.events.size()) {
        // The batch without its events is all that stands around them, for they come first.
        xenapi::EventBatch empty;
        empty.valid_ref_counts = batch_.valid_ref_counts;
        empty.token = batch_.token;
        const std::string frame = success_text(call, xenapi::Reply::of(std::move(empty)));
        const std::string_view start = xml_ ? "<array><data>" : "\"events\":[";
        const std::size_t split = frame.find(start) + start.size();
        frame_ = {.begin = frame.substr(0, split), .end = frame.substr(split)};
        bare_bytes_ = bytes_of_nothing(false);
        bare_bytes_with_snapshot_ = bytes_of_nothing(true);
    }

    [[nodiscard]] std::size_t items() const override { return batch_.events.size(); }

    void begin(std::string& out) const override { out += frame_.begin; }

    void end(std::string& out) const override { out += frame_.end; }

    void append(std::size_t index, std::string& out) const override {
        prefetch_after(index);
        const xenapi::AnyRecord& snapshot = batch_.events[index].snapshot;
        if (!xml_ && index > 0) out += ',';
        append_around(batch_.events[index], out, [&] {
            if (snapshot.has_value())
                append_record(xml_, *snapshot.cls, snapshot.record.get(), out);
        });
    }

    [[nodiscard]] std::size_t known_bytes(std::size_t index) override {
        const WireEvent& event = batch_.events[index];
        std::size_t record = 0;
        if (event.snapshot.has_value()) {
            // The row that it is of, unless that has changed meanwhile.
            db::RowPtr row = db_.find(*event.snapshot.cls, event.ref);
            if (!row || row->record != event.snapshot.record) return 0;
            record = record_bytes(*row, xml_);
            rows_[index] = std::move(row);
            if (record == 0) return 0;
        }
        return bytes_around(index) + record;
    }

    void note_bytes(std::size_t index, std::size_t bytes) override {
        if (rows_[index])
            record_bytes(*rows_[index], xml_) =
                static_cast<std::uint32_t>(bytes - bytes_around(index));
    }

  private:
    template <class Snapshot>
    void append_around(const WireEvent& event, std::string& out, Snapshot snapshot) const {
        if (xml_) {
            wire::XmlWriter writer(out);
            begin_event(event, writer);
            snapshot();
            end_event(event, writer);
        } else {
            wire::JsonWriter writer(out);
            begin_event(event, writer);
            snapshot();
            end_event(event, writer);
        }
    }

    /// As in RowsText.
    void prefetch_after(std::size_t index) const {
        const auto& events = batch_.events;
        if (index + 2 < events.size())
            if (const auto& one = events[index + 2].snapshot; one.has_value())
                xenapi::prefetch_record(*one.cls, one.record.get());
        if (index + 1 < events.size())
            if (const auto& one = events[index + 1].snapshot; one.has_value())
                xenapi::prefetch_parts(*one.cls, one.record.get());
    }

    /// An event whose texts are empty, but for the reference.
    [[nodiscard]] std::size_t bytes_of_nothing(bool with_snapshot) const {
        WireEvent nothing;
        nothing.timestamp.clear();
        nothing.ref = Uuid::from_words(1, 1);
        const xenapi::ClassInfo& any = xenapi::classes().front();
        if (with_snapshot) nothing.snapshot = {&any, any.record.create()};
        std::string text;
        append_around(nothing, text, [] {});
        return text.size();
    }

    /// What an event costs beside its snapshot: its texts need no escaping.
    [[nodiscard]] std::size_t bytes_around(std::size_t index) const {
        const WireEvent& event = batch_.events[index];
        return (event.snapshot.has_value() ? bare_bytes_with_snapshot_ : bare_bytes_) +
               (!xml_ && index > 0 ? 1 : 0) + event.id.size() + event.timestamp.size() +
               event.class_name.size() + event.operation.size();
    }

    bool xml_;
    xenapi::Reply reply_;
    const xenapi::EventBatch& batch_;
    const db::Database& db_;
    std::vector<db::RowPtr> rows_;
    Frame frame_;
    std::size_t bare_bytes_ = 0;
    std::size_t bare_bytes_with_snapshot_ = 0;
};

}  // namespace

std::unique_ptr<LargeText> rows_text(const MethodCall& call, RowSet rows) {
    return std::make_unique<RowsText>(call, std::move(rows));
}

bool is_large(const xenapi::Reply& reply) {
    return reply.type() == &xenapi::type_ops<xenapi::EventBatch>() &&
           static_cast<const xenapi::EventBatch*>(reply.value())->events.size() >= events_of_large;
}

std::unique_ptr<LargeText> events_text(const MethodCall& call, xenapi::Reply reply,
                                       const db::Database& db) {
    if (!is_large(reply)) return nullptr;
    return std::make_unique<EventsText>(call, std::move(reply), db);
}

}  // namespace basalt::server
