#include "xapi/db/stored_form.hpp"

#include "base/error.hpp"
#include "idl/errors.hpp"
#include "idl/runtime/record_codec.hpp"
#include "xapi/db/relations.hpp"
#include "xapi/db/table.hpp"

namespace basalt::db {

using xenapi::Durability;
using xenapi::FieldInfo;

namespace {

bool kept_whole(const ClassInfo& cls) {
    return cls.in_database && cls.persist && cls.durability != Durability::volatile_;
}

/// The set of a relation is written with the side that holds the references only.
bool mirrors(const FieldInfo& field) {
    return field.relation != nullptr && field.relation->mirror == &field;
}

}  // namespace

StoredForm::StoredForm()
    : kinds_(xenapi::classes().size(), Kind::none), forgets_(xenapi::classes().size(), true) {
    for (const ClassInfo& cls : xenapi::classes()) {
        if (!kept_whole(cls)) continue;
        kinds_[cls.index] = Kind::whole;
        bool forgets = false;
        for (const FieldInfo& field : cls.fields) {
            forgets |= !field.stored() || field.durability == Durability::lazy || mirrors(field);
            const std::uint16_t far = ref_class(field);
            if (!field.stored() || mirrors(field) || far == xenapi::no_class) continue;
            if (!kept_whole(xenapi::classes()[far])) kinds_[far] = Kind::stub;
        }
        forgets_[cls.index] = forgets;
    }
}

StoredForm::Need StoredForm::need(const ClassInfo& cls, const void* before,
                                  const void* after) const {
    const Kind what = kind(cls);
    if (what == Kind::none) return Need::nothing;
    if (before == nullptr || after == nullptr) return Need::now;
    if (what == Kind::stub) {
        const FieldInfo* uuid = text_field(cls, "uuid");
        const bool same = uuid == nullptr || text_in(*uuid, before) == text_in(*uuid, after);
        return same ? Need::nothing : Need::now;
    }
    Need need = Need::nothing;
    for (const FieldInfo& field : cls.fields) {
        if (!field.stored() || mirrors(field)) continue;
        if (field.type->equal(field.in(before), field.in(after))) continue;
        if (field.durability == Durability::durable) return Need::now;
        need = Need::lazily;
    }
    return need;
}

Change StoredForm::change(const ClassInfo& cls, const Uuid& ref, std::uint64_t serial,
                          Generation created, const void* record,
                          const std::string* unknown_fields) const {
    Change change{std::string(cls.name), ref, serial, created, std::string()};
    if (kind(cls) == Kind::stub) {
        const FieldInfo* uuid = text_field(cls, "uuid");
        wire::JsonWriter writer{*change.json};
        writer.strict();
        writer.begin_object();
        if (uuid != nullptr) {
            writer.plain_key("uuid");
            writer.text(text_in(*uuid, record));
            writer.end_member();
        }
        writer.end_object();
        return change;
    }
    xenapi::write_stored(cls, record, *change.json,
                         unknown_fields == nullptr ? std::string_view{} : *unknown_fields);
    return change;
}

Change StoredForm::deletion(const Row& row) const {
    return {std::string(row.cls->name), row.ref, row.serial, row.created, std::nullopt};
}

std::shared_ptr<void> StoredForm::read(const ClassInfo& cls, const StoredRow& row,
                                       std::shared_ptr<const std::string>& unknown) const {
    auto record = cls.record.create();
    std::string rest;
    try {
        xenapi::read_stored(cls, row.json, record.get(), rest);
    } catch (const std::exception& e) {
        throw err::internal_error("stored row " + row.class_name + " " + xenapi::ref_text(row.ref) +
                                  ": " + e.what());
    }
    if (!rest.empty()) unknown = std::make_shared<const std::string>(std::move(rest));
    return record;
}

}  // namespace basalt::db
