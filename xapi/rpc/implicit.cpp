#include "xapi/rpc/implicit.hpp"

#include <algorithm>
#include <array>

#include "idl/errors.hpp"
#include "idl/runtime/record_codec.hpp"
#include "xapi/core/expression.hpp"

namespace basalt::server {

namespace {

using xenapi::ClassInfo;
using xenapi::FieldInfo;
using xenapi::MessageInfo;
using xenapi::MessageKind;
using xenapi::TypeKind;

using Args = std::span<const wire::Value>;

// What a client makes of these classes is a row and nothing else.
constexpr std::array<std::string_view, 6> plain_classes = {"secret",       "user",       "VM_group",
                                                           "VM_appliance", "Rate_limit", "console"};

const ClassInfo& class_of(const MessageInfo& message) {
    return xenapi::classes()[message.class_index];
}

/// The object of a message, told in the caller's own text when it is not there.
db::RowPtr object(const db::Database& db, const ClassInfo& cls, const wire::Value& arg) {
    const std::string& text = text_argument(arg);
    const Uuid ref = xenapi::parse_ref_or_throw(cls.name, text);
    db::RowPtr row = ref.none() ? nullptr : db.find(cls, ref);
    if (!row) throw err::handle_invalid(cls.name, text);
    return row;
}

Answer of_row(const db::RowPtr& row, const xenapi::TypeOps* type, const void* value) {
    Answer answer;
    // Shares the row's life: nothing is copied.
    answer.reply = xenapi::Reply(type, std::shared_ptr<const void>(row, value));
    answer.rests_on = row->modified;
    return answer;
}

Answer get_field(const db::Database& db, const MessageInfo& message, Args args) {
    const db::RowPtr row = object(db, class_of(message), args[0]);
    return of_row(row, message.field->type, message.field->in(row->record.get()));
}

Answer get_record(const db::Database& db, const MessageInfo& message, Args args) {
    const db::RowPtr row = object(db, class_of(message), args[0]);
    return of_row(row, message.result, row->record.get());
}

Answer get_by_uuid(const db::Database& db, const MessageInfo& message, Args args) {
    const ClassInfo& cls = class_of(message);
    const std::string& uuid = text_argument(args[0]);
    const db::RowPtr row = db.by_uuid(cls, uuid);
    if (!row) throw err::uuid_invalid(cls.name, uuid);
    return of_row(row, message.result, &row->ref);
}

Answer of_rows(const db::Database& db, const ClassInfo& cls, RowSet rows) {
    Answer answer;
    answer.rows = std::move(rows);
    answer.rests_on = db.class_generation(cls);
    return answer;
}

RowSet::Form form_of(MessageKind kind) {
    return kind == MessageKind::get_all || kind == MessageKind::get_all_where
               ? RowSet::Form::references
               : RowSet::Form::records;
}

Answer written(const db::Database& db) {
    Answer answer;
    answer.rests_on = db.published();
    return answer;
}

Answer set_field(db::Database& db, const MessageInfo& message, Args args) {
    const ClassInfo& cls = class_of(message);
    const FieldInfo& field = *message.field;
    const std::shared_ptr<void> value = field.type->make();
    field.type->read(args[1], value.get());
    const Uuid ref = object(db, cls, args[0])->ref;
    db.transact(
        [&](db::Txn& txn) { field.type->assign(field.in(txn.edit(cls, ref)), value.get()); });
    return written(db);
}

void add_to_map(const ClassInfo& cls, const FieldInfo& field, void* record, Args args) {
    const std::string& key = text_argument(args[1]);
    if (key.empty()) throw ApiError("INTERNAL_ERROR", {"Xapi_database.Db_exn.Empty_key_in_map"});
    if (!field.type->map_add(field.in(record), args[1], args[2]))
        throw err::map_duplicate_key(cls.name, field.db_name, text_argument(args[0]), key);
}

Answer add_or_remove(db::Database& db, const MessageInfo& message, Args args) {
    const ClassInfo& cls = class_of(message);
    const FieldInfo& field = *message.field;
    const bool add = message.kind == MessageKind::add;
    const bool map = field.type->kind == TypeKind::map;
    const Uuid ref = object(db, cls, args[0])->ref;
    db.transact([&](db::Txn& txn) {
        void* const record = txn.edit(cls, ref);
        if (map && add) {
            add_to_map(cls, field, record, args);
        } else if (map) {
            field.type->map_remove(field.in(record), args[1]);
        } else if (add) {
            field.type->set_add(field.in(record), args[1]);
        } else {
            field.type->set_remove(field.in(record), args[1]);
        }
    });
    return written(db);
}

Answer create(db::Database& db, const MessageInfo& message, Args args) {
    const ClassInfo& cls = class_of(message);
    const std::shared_ptr<void> record = cls.record.create();
    xenapi::read_record(cls, args[0], record.get(), xenapi::RecordMode::constructor);
    const Uuid ref = db.transact([&](db::Txn& txn) { return txn.insert(cls, record); });
    Answer answer = written(db);
    answer.reply = xenapi::Reply(message.result, std::make_shared<const Uuid>(ref));
    return answer;
}

Answer destroy(db::Database& db, const MessageInfo& message, Args args) {
    const ClassInfo& cls = class_of(message);
    const Uuid ref = object(db, cls, args[0])->ref;
    db.transact([&](db::Txn& txn) { txn.erase(cls, ref); });
    return written(db);
}

}  // namespace

const std::string& text_argument(const wire::Value& value) {
    const auto* text = value.get<std::string>();
    if (text == nullptr) wire::fail_expected("string", value);
    return *text;
}

bool is_filter(const MessageInfo& message) {
    return message.kind == MessageKind::get_all_where ||
           message.kind == MessageKind::get_all_records_where;
}

std::function<Answer()> prepared_filter(const db::Database& db, const MessageInfo& message,
                                        Args args) {
    const ClassInfo& cls = class_of(message);
    const auto expression = std::make_shared<const core::Expression>(text_argument(args[0]));
    return [&cls, expression, form = form_of(message.kind), all = db.snapshot(cls),
            rests_on = db.class_generation(cls)] {
        Answer answer;
        answer.rests_on = rests_on;
        std::vector<db::RowPtr> held;
        all.each([&](const db::RowPtr& row) {
            if (expression->holds(cls, row->ref, row->record.get())) held.push_back(row);
        });
        answer.rows = RowSet{form, db::Rows(std::move(held))};
        return answer;
    };
}

bool is_implicit(const MessageInfo& message) {
    switch (message.kind) {
        case MessageKind::custom:
            return false;
        case MessageKind::create:
        case MessageKind::destroy:
            return std::ranges::contains(plain_classes, class_of(message).name);
        default:
            return true;
    }
}

Answer run_implicit(db::Database& db, const MessageInfo& message, Args args) {
    const ClassInfo& cls = class_of(message);
    switch (message.kind) {
        case MessageKind::get:
            return get_field(db, message, args);
        case MessageKind::get_record:
            return get_record(db, message, args);
        case MessageKind::get_by_uuid:
            return get_by_uuid(db, message, args);
        case MessageKind::get_by_name_label:
            return of_rows(db, cls,
                           {RowSet::Form::references,
                            db::Rows(db.by_name_label(cls, text_argument(args[0])))});
        case MessageKind::get_all:
        case MessageKind::get_all_records:
            return of_rows(db, cls, {form_of(message.kind), db.snapshot(cls)});
        case MessageKind::get_all_where:
        case MessageKind::get_all_records_where:
            return prepared_filter(db, message, args)();
        case MessageKind::set:
            return set_field(db, message, args);
        case MessageKind::add:
        case MessageKind::remove:
            return add_or_remove(db, message, args);
        case MessageKind::create:
            return create(db, message, args);
        case MessageKind::destroy:
            return destroy(db, message, args);
        case MessageKind::custom:
            break;
    }
    throw err::internal_error("not an implicit message: " + std::string(message.wire_name));
}

}  // namespace basalt::server
