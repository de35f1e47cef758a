#include "xapi/domain/features.hpp"

#include <string>

#include "idl/errors.hpp"
#include "idl/records/pool.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

constexpr const char* restricted = "true";

const char* word_of(bool able) {
    return able ? "false" : restricted;
}

void refresh(db::Txn& txn, Ref<Host> host, const Feature& feature, bool able) {
    txn.edit(host).license_params.insert_or_assign(feature.restriction, word_of(able));
    bool everywhere = true;
    txn.each<Host>([&](Ref<Host>, const Host& row) {
        if (row.license_params.get(std::string(feature.restriction)) == restricted)
            everywhere = false;
    });
    txn.each<Pool>([&](Ref<Pool> ref, const Pool&) {
        txn.edit(ref).restrictions.insert_or_assign(feature.restriction, word_of(everywhere));
    });
}

}  // namespace

void refresh_features(db::Txn& txn, Ref<Host> host, const agent::HostFacts& facts) {
    refresh(txn, host, vtpm_feature, facts.gives_tpms);
    refresh(txn, host, usb_feature, facts.gives_usb);
}

void require_feature(const db::Txn& txn, const Feature& feature) {
    txn.each<Pool>([&](Ref<Pool>, const Pool& pool) {
        if (pool.restrictions.get(std::string(feature.restriction)) == restricted)
            throw err::licence_restriction(feature.name);
    });
}

}  // namespace basalt::domain
