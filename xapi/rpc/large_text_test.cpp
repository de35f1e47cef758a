#include "xapi/rpc/large_text.hpp"

#include <gtest/gtest.h>

#include "idl/records/vm.hpp"
#include "idl/runtime/event_batch.hpp"
#include "xapi/db/testing.hpp"

namespace basalt::server {
namespace {

using xenapi::Ref;

/// Of every VM there is, and of one that is gone.
xenapi::Reply events_of(const db::Database& db) {
    xenapi::EventBatch batch;
    db.each(xenapi::class_of<xenapi::Vm>(), [&](const db::RowPtr& row) {
        xenapi::WireEvent event;
        event.id = std::to_string(row->modified);
        event.class_name = "vm";
        event.operation = "add";
        event.ref = row->ref;
        event.snapshot = {row->cls, row->record};
        batch.events.push_back(std::move(event));
    });
    xenapi::WireEvent gone = batch.events.front();
    gone.operation = "del";
    gone.snapshot = {};
    batch.events.push_back(std::move(gone));
    batch.token = "00000000000000000001,00000000000000000002";
    return xenapi::Reply::of(std::move(batch));
}

TEST(LargeText, events_are_those_of_a_small_answer_and_as_long_as_is_known) {
    db::SimWorld world;
    db::Database& db = *world.db;
    std::vector<Ref<xenapi::Vm>> vms;
    for (int i = 0; i < 20; ++i)
        db.transact([&](db::Txn& txn) {
            xenapi::Vm vm;
            vm.name_label = "<" + std::string(static_cast<std::size_t>(i), '"');
            vms.push_back(txn.insert(std::move(vm)));
        });
    for (const Protocol protocol : {Protocol::xml, Protocol::json1, Protocol::json2}) {
        MethodCall call;
        call.protocol = protocol;
        call.id = std::int64_t{1};
        for (int round = 0; round < 3; ++round) {
            const xenapi::Reply reply = events_of(db);
            const std::string whole = success_text(call, reply);
            // What has changed since the batch was made has another length.
            if (round == 1)
                db.transact([&](db::Txn& txn) { txn.edit(vms[3]).name_label += "longer"; });
            const auto text = events_text(call, reply, db);
            ASSERT_NE(text, nullptr);
            std::string out;
            text->begin(out);
            for (std::size_t i = 0; i < text->items(); ++i) {
                const std::size_t known = text->known_bytes(i);
                const std::size_t before = out.size();
                text->append(i, out);
                const std::size_t length = out.size() - before;
                if (known == 0) {
                    text->note_bytes(i, length);
                } else {
                    EXPECT_EQ(known, length) << i;
                }
                const bool first_of_form = round == 0 && protocol != Protocol::json2 && i < 20;
                EXPECT_EQ(known == 0, first_of_form || (round > 0 && i == 3)) << i << " " << round;
            }
            text->end(out);
            EXPECT_EQ(out, whole);
        }
    }
}

}  // namespace
}  // namespace basalt::server
