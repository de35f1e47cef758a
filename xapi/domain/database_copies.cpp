#include "xapi/domain/database_copies.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "base/nbd.hpp"
#include "base/undo.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pbd.hpp"
#include "idl/records/pool.hpp"
#include "idl/records/sm.hpp"
#include "idl/records/sr.hpp"
#include "xapi/db/store/dump.hpp"
#include "xapi/domain/messages.hpp"
#include "xapi/domain/words.hpp"

namespace basalt::domain {

namespace {

/// Between two copies: so much may be lost with the pool.
constexpr Duration round_pause = 5s;
constexpr Duration failure_pause_max = std::chrono::minutes(1);
/// A copy takes at most this share of the time, however large the database is.
constexpr int rest_per_work = 20;
constexpr std::size_t copies_max = 8;
constexpr std::size_t foreign_max = 1000;
const std::string mark(database_mark);
constexpr const char* broken_message = "METADATA_LUN_BROKEN";
constexpr const char* healthy_message = "METADATA_LUN_HEALTHY";

class NbdDisk final : public BlockDisk {
  public:
    explicit NbdDisk(std::unique_ptr<nbd::Client> client) : client_(std::move(client)) {}

    [[nodiscard]] std::uint64_t size_bytes() const override { return client_->size_bytes(); }

    Task<void> read(std::uint64_t offset, std::span<char> out) override {
        return client_->read(offset, out);
    }

    Task<void> write(std::uint64_t offset, std::string_view bytes) override {
        return client_->write(offset, bytes);
    }

    Task<void> flush() override { return client_->flush(); }

    Task<void> close() override { return client_->disconnect(); }

  private:
    std::unique_ptr<nbd::Client> client_;
};

/// What a failure says; a cancellation goes on as it is.
std::string words_of(const std::exception_ptr& failure) {
    if (is_cancellation(failure)) std::rethrow_exception(failure);
    return as_api_error(failure).what();
}

}  // namespace

DatabaseCopies::DatabaseCopies(core::Core& core, Storage& storage)
    : core_(core),
      storage_(storage),
      open_([&storage](Ref<Vdi> disk, agent::Access access) -> Task<std::unique_ptr<BlockDisk>> {
          auto stream = co_await storage.open_disk(disk, access);
          co_return std::make_unique<NbdDisk>(
              co_await nbd::Client::open(std::move(stream), "disk"));
      }),
      turns_(core.loop) {}

void DatabaseCopies::require_supported(Ref<Sr> sr) const {
    const Sr& row = core_.db.get(sr);
    core_.db.each<Host>([&](Ref<Host> host, const Host&) {
        const bool plugged = std::ranges::any_of(row.PBDs, [&](Ref<Pbd> ref) {
            const Pbd* pbd = core_.db.find(ref);
            return pbd != nullptr && pbd->host == host && pbd->currently_attached;
        });
        if (!plugged) throw err::sr_has_no_pbds(sr);
    });
    bool able = false;
    core_.db.each<Sm>([&](Ref<Sm>, const Sm& driver) {
        able = able || (driver.type == row.type && driver.features.contains(metadata_ability));
    });
    if (!able) throw err::sr_operation_not_supported(sr);
}

DatabaseCopies::Disks DatabaseCopies::disks_of_copies() const {
    const Pool* pool = core_.db.find(core_.pool);
    return pool == nullptr ? Disks() : pool->metadata_VDIs;
}

std::string DatabaseCopies::own_uuid() const {
    return core_.db.get(core_.pool).uuid;
}

Ref<Vdi> DatabaseCopies::find_disk(Ref<Sr> sr, VdiType type) const {
    for (const Ref<Vdi> disk : core_.db.get(sr).VDIs) {
        const Vdi& row = core_.db.get(disk);
        // One of another pool is of use to whoever looks for what was lost.
        const bool ours = row.sm_config.get(mark) == own_uuid();
        if (row.type == type && ours && !row.missing && row.virtual_size >= database_disk_bytes)
            return disk;
    }
    return {};
}

Task<Ref<Vdi>> DatabaseCopies::find_or_make(Call& call, Ref<Sr> sr, VdiType type, Undo& undo) {
    if (const Ref<Vdi> known = find_disk(sr, type)) co_return known;
    Vdi row;
    row.SR = sr;
    row.type = type;
    row.virtual_size = database_disk_bytes;
    const bool log = type == VdiType::redo_log;
    row.name_label = log ? "Redo log of the pool" : "Database of the pool";
    row.name_description = "A copy of the pool's records, for a recovery after a disaster";
    row.sm_config.insert_or_assign(mark, own_uuid());
    const Ref<Vdi> made = co_await storage_.create_disk(call, std::move(row));
    undo.push("destroy the disk of the copy", [this, &call, made]() -> Task<void> {
        const auto turn = co_await turns_.acquire(made.text());
        co_await storage_.destroy_disk(call, made);
    });
    co_return made;
}

Task<void> DatabaseCopies::enable(Call& call, Ref<Sr> sr) {
    const auto only = co_await turns_.acquire(sr.text());
    require_supported(sr);
    const Disks now = disks_of_copies();
    const auto is_log = [&](Ref<Vdi> disk) { return core_.db.get(disk).type == VdiType::redo_log; };
    if (std::ranges::count_if(now, std::not_fn(is_log)) >= static_cast<std::ptrdiff_t>(copies_max))
        throw err::no_more_redo_logs_allowed();
    for (const Ref<Vdi> disk : now)
        if (!is_log(disk) && core_.db.get(disk).SR == sr) co_return;
    co_await with_undo([&](Undo& undo) -> Task<void> {
        const Ref<Vdi> disk = co_await find_or_make(call, sr, VdiType::metadata, undo);
        std::string failure;
        try {
            co_await write(disk, co_await pack());
        } catch (const std::exception&) {
            failure = words_of(std::current_exception());
        }
        if (!failure.empty()) throw err::cannot_enable_redo_log(failure);
        call.db().transact([&](db::Txn& txn) {
            Vdi& row = txn.edit(disk);
            row.metadata_of_pool = core_.pool;
            row.metadata_latest = true;
        });
    });
}

Task<void> DatabaseCopies::disable(Call& call, Ref<Sr> sr) {
    const auto only = co_await turns_.acquire(sr.text());
    Disks leaving;
    for (const Ref<Vdi> disk : core_.db.get(sr).VDIs) {
        const Vdi& row = core_.db.get(disk);
        if (row.type == VdiType::metadata && row.metadata_of_pool == core_.pool)
            leaving.push_back(disk);
    }
    for (const Ref<Vdi> disk : leaving) {
        const auto turn = co_await turns_.acquire(disk.text());
        if (core_.db.find(disk) == nullptr) continue;
        call.db().transact([&](db::Txn& txn) {
            txn.edit(disk).metadata_of_pool = {};
            txn.edit(disk).metadata_latest = false;
        });
        co_await storage_.destroy_disk(call, disk);
    }
}

Task<void> DatabaseCopies::enable_redo_log(Call& call, Ref<Sr> sr) {
    (void)core_.db.get(sr);
    const auto only = co_await turns_.acquire(core_.pool.text());
    const Pool& pool = core_.db.get(core_.pool);
    const Vdi* log = pool.redo_log_enabled ? core_.db.find(pool.redo_log_vdi) : nullptr;
    if (log != nullptr && log->SR == sr) co_return;
    std::string failure;
    try {
        co_await with_undo([&](Undo& undo) -> Task<void> {
            const Ref<Vdi> disk = co_await find_or_make(call, sr, VdiType::redo_log, undo);
            co_await write(disk, co_await pack());
            call.db().transact([&](db::Txn& txn) {
                Pool& row = txn.edit(core_.pool);
                if (txn.find(row.redo_log_vdi) != nullptr)
                    txn.edit(row.redo_log_vdi).metadata_of_pool = {};
                row.redo_log_vdi = disk;
                row.redo_log_enabled = true;
                txn.edit(disk).metadata_of_pool = core_.pool;
            });
        });
    } catch (const std::exception&) {
        failure = words_of(std::current_exception());
    }
    if (!failure.empty()) throw err::cannot_enable_redo_log(failure);
}

Task<void> DatabaseCopies::disable_redo_log(Call& call) {
    const auto only = co_await turns_.acquire(core_.pool.text());
    call.db().transact([&](db::Txn& txn) {
        Pool& row = txn.edit(core_.pool);
        row.redo_log_enabled = false;
        if (txn.find(row.redo_log_vdi) != nullptr) txn.edit(row.redo_log_vdi).metadata_of_pool = {};
    });
}

Task<std::unique_ptr<BlockDisk>> DatabaseCopies::opened(Ref<Vdi> disk, agent::Access access) {
    if (core_.db.find(disk) == nullptr) throw err::handle_invalid("VDI", disk);
    return open_(disk, access);
}

Task<Ref<Session>> DatabaseCopies::open(Call& call, Ref<Vdi> disk) {
    const VdiType type = call.db().get(disk).type;
    if (type != VdiType::metadata) throw err::vdi_incompatible_type(disk, wire_text(type));
    std::shared_ptr<db::Database> database;
    std::string failure;
    try {
        const auto turn = co_await turns_.acquire(disk.text());
        const auto bytes = co_await opened(disk, agent::Access::ro);
        std::string text = co_await read_database(core_.loop, *bytes);
        co_await bytes->close();
        database = co_await blocking(core_.loop,
                                     [text = std::move(text)] { return db::open_dump_text(text); });
    } catch (const std::exception&) {
        failure = words_of(std::current_exception());
    }
    if (!failure.empty()) throw err::could_not_import_database(failure);
    co_return look_at_(call, std::move(database), "disaster-recovery");
}

Task<std::string> DatabaseCopies::pool_uuid(Call& call, Ref<Vdi> disk) {
    const Vdi& row = call.db().get(disk);
    if (row.type != VdiType::metadata) co_return std::string();
    if (row.metadata_of_pool == core_.pool) co_return own_uuid();
    if (const auto known = foreign_.find(disk); known != foreign_.end()) co_return known->second;
    std::string uuid;
    std::string failure;
    try {
        const auto turn = co_await turns_.acquire(disk.text());
        const auto bytes = co_await opened(disk, agent::Access::ro);
        const auto head = co_await read_database_head(*bytes);
        co_await bytes->close();
        if (head) uuid = head->pool;
    } catch (const std::exception&) {
        failure = words_of(std::current_exception());
    }
    if (!failure.empty())
        log::info("database_not_read", {{"vdi", disk.text()}, {"error", failure}});
    if (uuid.empty()) co_return uuid;
    if (foreign_.size() >= foreign_max) foreign_.clear();
    foreign_.insert_or_assign(disk, uuid);
    co_return uuid;
}

db::Generation DatabaseCopies::stored_generation() const {
    db::Generation newest = 0;
    for (const ClassInfo& cls : classes())
        if (cls.in_database && cls.persist && cls.durability == Durability::durable)
            newest = std::max(newest, core_.db.class_generation(cls));
    return newest;
}

Task<PackedDatabase> DatabaseCopies::pack() {
    const db::Generation generation = stored_generation();
    db::Picture picture = db::picture_of(core_.db);
    // A copy must not know what a restart would not.
    co_await core_.db.durable(core_.db.published());
    PackedDatabase out = co_await blocking(core_.loop, [picture = std::move(picture)] {
        return pack_database(db::dump_text(picture));
    });
    out.head.generation = generation;
    out.head.pool = own_uuid();
    out.head.made_seconds = core_.now_seconds();
    co_return out;
}

Task<void> DatabaseCopies::write(Ref<Vdi> disk, PackedDatabase database) {
    const auto turn = co_await turns_.acquire(disk.text());
    const auto bytes = co_await opened(disk, agent::Access::rw);
    const db::Generation generation = database.head.generation;
    co_await write_database(*bytes, std::move(database));
    co_await bytes->close();
    copies_[disk].written = generation;
}

Task<void> DatabaseCopies::run_forever() {
    Duration pause = round_pause;
    for (;;) {
        co_await sleep_for(core_.loop, pause);
        const Time began = core_.loop.now();
        if (core_.booted) co_await round();
        pause = std::max<Duration>(round_pause, (core_.loop.now() - began) * rest_per_work);
    }
}

Task<void> DatabaseCopies::round() {
    const Disks disks = disks_of_copies();
    std::erase_if(copies_,
                  [&](const auto& one) { return !std::ranges::contains(disks, one.first); });
    std::erase_if(foreign_, [&](const auto& one) { return core_.db.find(one.first) == nullptr; });
    if (disks.empty()) co_return;
    const db::Generation newest = stored_generation();
    Disks due;
    for (const Ref<Vdi> disk : disks) {
        const Copy& copy = copies_[disk];
        const bool waits = copy.broken && core_.loop.now() < copy.next_try;
        if (!waits && (copy.broken || copy.written < newest)) due.push_back(disk);
    }
    if (due.empty()) co_return;
    const PackedDatabase database = co_await pack();
    for (const Ref<Vdi> disk : due)
        co_await keep(disk, database);
}

Task<void> DatabaseCopies::keep(Ref<Vdi> disk, const PackedDatabase& database) {
    std::string failure;
    try {
        co_await write(disk, database);
    } catch (const std::exception&) {
        failure = words_of(std::current_exception());
    }
    // It may have gone while the copy was on its way.
    if (std::ranges::contains(disks_of_copies(), disk)) tell(disk, failure);
}

/// Once when it breaks, once when it is well again.
void DatabaseCopies::tell(Ref<Vdi> disk, const std::string& failure) {
    Copy& copy = copies_[disk];
    const bool broken = !failure.empty();
    if (broken) {
        copy.pause = std::clamp(copy.pause * 2, round_pause, failure_pause_max);
        copy.next_try = core_.loop.now() + copy.pause;
        log::warn("database_not_copied", {{"vdi", disk.text()}, {"error", failure}});
    } else {
        copy.pause = {};
    }
    const Vdi& row = core_.db.get(disk);
    const bool latest = row.type == VdiType::metadata && !broken;
    const bool news = copy.broken != broken;
    copy.broken = broken;
    if (!news && row.metadata_latest == latest) return;
    core_.db.transact_fact([&](db::Txn& txn) {
        txn.edit(disk).metadata_latest = latest;
        if (news)
            post_message(core_, txn, broken ? broken_message : healthy_message, broken ? 3 : 4,
                         Cls::vdi, txn.get(disk).uuid, failure);
    });
}

}  // namespace basalt::domain
