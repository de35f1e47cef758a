#include "xapi/db/relations.hpp"

#include <algorithm>

#include "idl/errors.hpp"

namespace basalt::db {

using xenapi::FieldInfo;
using xenapi::RelationKind;
using xenapi::TypeKind;

namespace {

struct Nothing {};

// Every Ref<C> is one Uuid and nothing else, whatever C; so the single reference of a field can be
// read without knowing C.
static_assert(sizeof(Ref<Nothing>) == sizeof(Uuid) && std::is_standard_layout_v<Ref<Nothing>>);

const Uuid& single_ref(const FieldInfo& field, const void* record) {
    return *static_cast<const Uuid*>(field.in(record));
}

bool is_set(const FieldInfo& field) {
    return field.type->kind == TypeKind::set;
}

/// The class at the far end of a reference field.
const ClassInfo& target(const FieldInfo& field) {
    return xenapi::classes()[ref_class(field)];
}

bool contains(const std::vector<Uuid>& refs, const Uuid& ref) {
    return std::ranges::find(refs, ref) != refs.end();
}

/// What a row is about cannot be taken from it; what is state, or has null as its default, can.
bool may_be_nulled(const FieldInfo& field) {
    return field.has_default || field.qualifier == xenapi::Qualifier::dynamic_ro;
}

}  // namespace

std::uint16_t ref_class(const FieldInfo& field) {
    const xenapi::TypeOps& type = *field.type;
    if (type.kind == TypeKind::ref) return type.class_index;
    if (type.kind == TypeKind::set && type.item->kind == TypeKind::ref)
        return type.item->class_index;
    return xenapi::no_class;
}

std::vector<Uuid> refs_in(const FieldInfo& field, const void* record) {
    if (!is_set(field)) {
        const Uuid& ref = single_ref(field, record);
        return ref.none() ? std::vector<Uuid>{} : std::vector{ref};
    }
    // The type table gives a set of unknown element type as text only: ('OpaqueRef:..' '..').
    const std::string text = field.type->db_text(field.in(record));
    std::vector<Uuid> refs;
    for (std::size_t at = text.find(xenapi::ref_prefix); at != std::string::npos;
         at = text.find(xenapi::ref_prefix, at + 1)) {
        const auto uuid =
            Uuid::parse(std::string_view(text).substr(at + xenapi::ref_prefix.size(), 36));
        if (uuid && !uuid->none()) refs.push_back(*uuid);
    }
    return refs;
}

void add_ref(const FieldInfo& field, void* record, const Uuid& ref) {
    if (is_set(field)) {
        field.type->set_add(field.in(record), wire::Value{xenapi::ref_text(ref)});
    } else {
        *static_cast<Uuid*>(field.in(record)) = ref;
    }
}

void remove_ref(const FieldInfo& field, void* record, const Uuid& ref) {
    if (is_set(field)) {
        field.type->set_remove(field.in(record), wire::Value{xenapi::ref_text(ref)});
    } else if (single_ref(field, record) == ref) {
        *static_cast<Uuid*>(field.in(record)) = Uuid{};
    }
}

Relations::Relations() : links_(xenapi::classes().size()) {
    for (const xenapi::RelationInfo& relation : xenapi::relations()) {
        const bool both = relation.kind == RelationKind::many_to_many;
        links_[relation.stored->class_index].push_back(
            {relation.stored, relation.mirror, true, is_set(*relation.stored), both});
        links_[relation.mirror->class_index].push_back(
            {relation.mirror, relation.stored, both, is_set(*relation.mirror), both});
    }
}

void Relations::keep(Txn& txn) const {
    // Following an edit may edit further rows, which are appended and followed in their turn.
    for (std::size_t i = 0; i < txn.edits_.size(); ++i) {
        const Txn::Edit& edit = txn.edits_[i];
        if (edit.base == nullptr && edit.record == nullptr) continue;
        for (const Link& link : links_[edit.cls->index]) {
            if (link.stored) {
                keep_link(txn, edit, link);
            } else if (edit.record == nullptr) {
                release_members(txn, edit, link);
            }
        }
    }
}

void Relations::keep_link(Txn& txn, const Txn::Edit& edit, const Link& link) const {
    const void* before = edit.base == nullptr ? nullptr : edit.base->record.get();
    const void* after = edit.record.get();
    if (before != nullptr && after != nullptr &&
        link.own->type->equal(link.own->in(before), link.own->in(after))) {
        return;
    }
    const ClassInfo& far = target(*link.own);
    const auto old_refs = before == nullptr ? std::vector<Uuid>{} : refs_in(*link.own, before);
    const auto new_refs = after == nullptr ? std::vector<Uuid>{} : refs_in(*link.own, after);
    const Uuid self = edit.ref;
    for (const Uuid& ref : old_refs) {
        if (contains(new_refs, ref) || txn.find(far, ref) == nullptr) continue;
        remove_ref(*link.other, txn.edit(far, ref), self);
    }
    for (const Uuid& ref : new_refs) {
        if (!contains(old_refs, ref)) add_ref(*link.other, txn.edit(far, ref), self);
    }
}

void Relations::release_members(Txn& txn, const Txn::Edit& edit, const Link& link) const {
    const Uuid self = edit.ref;
    const ClassInfo& far = target(*link.own);
    for (const Uuid& member : refs_in(*link.own, edit.base->record.get())) {
        const void* record = txn.find(far, member);
        // It may have left meanwhile, or be erased in this very transaction.
        if (record == nullptr || single_ref(*link.other, record) != self) continue;
        if (!may_be_nulled(*link.other)) {
            throw err::internal_error("erasing " + std::string(edit.cls->name) + " " +
                                      xenapi::ref_text(self) + " that is the " +
                                      std::string(link.other->name) + " of " +
                                      std::string(far.name) + " " + xenapi::ref_text(member));
        }
        remove_ref(*link.other, txn.edit(far, member), self);
    }
}

void Relations::clear_sets(const ClassInfo& cls, void* record) const {
    for (const Link& link : links_[cls.index]) {
        if (!link.stored)
            link.own->type->assign(link.own->in(record), link.own->type->make().get());
    }
}

void Relations::clear_mirrors(const ClassInfo& cls, void* record) const {
    for (const Link& link : links_[cls.index]) {
        const bool mirror = link.own->relation->mirror == link.own;
        if (mirror) link.own->type->assign(link.own->in(record), link.own->type->make().get());
    }
}

void Relations::enter(const ClassInfo& cls, const Uuid& ref, const void* record,
                      FunctionRef<void*(const ClassInfo&, const Uuid&)> find) const {
    for (const Link& link : links_[cls.index]) {
        if (link.own->relation->stored != link.own) continue;
        for (const Uuid& far : refs_in(*link.own, record)) {
            if (void* other = find(target(*link.own), far)) add_ref(*link.other, other, ref);
        }
    }
}

bool Relations::drop_dangling(const ClassInfo& cls, void* record,
                              FunctionRef<void*(const ClassInfo&, const Uuid&)> find) const {
    bool dropped = false;
    for (const Link& link : links_[cls.index]) {
        if (link.own->relation->stored != link.own) continue;
        for (const Uuid& far : refs_in(*link.own, record)) {
            if (find(target(*link.own), far) != nullptr) continue;
            remove_ref(*link.own, record, far);
            dropped = true;
        }
    }
    return dropped;
}

}  // namespace basalt::db
