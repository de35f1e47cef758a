// What every store means by its verbs: SQLite and the simulated one.
#include <map>

#include "base/error.hpp"
#include "idl/records.hpp"
#include "xapi/db/database.hpp"
#include "xapi/db/store/store_sim.hpp"
#include "xapi/db/store/store_sqlite.hpp"
#include "xapi/db/store/store_testing.hpp"

namespace basalt::db {
namespace {

/// A place that stores open, one after the other.
class Engine {
  public:
    virtual ~Engine() = default;
    virtual std::unique_ptr<Store> open(Loop& loop) = 0;
    /// A store whose writes fail soon.
    virtual std::unique_ptr<Store> open_failing(Loop& loop) = 0;
    [[nodiscard]] virtual std::string backup_name() const = 0;
    /// Opens what `store` copied to backup_name().
    virtual std::unique_ptr<Store> open_backup(Loop& loop, Store& store) = 0;
};

class SqliteEngine : public Engine {
  public:
    std::unique_ptr<Store> open(Loop& loop) override {
        return std::make_unique<SqliteStore>(loop, SqliteOptions{.path = folder_.file("db")});
    }

    std::unique_ptr<Store> open_failing(Loop& loop) override {
        return std::make_unique<SqliteStore>(
            loop, SqliteOptions{.path = folder_.file("db"), .pages_max = 40});
    }

    [[nodiscard]] std::string backup_name() const override { return folder_.file("copy"); }

    std::unique_ptr<Store> open_backup(Loop& loop, Store& /*store*/) override {
        return std::make_unique<SqliteStore>(loop, SqliteOptions{.path = backup_name()});
    }

  private:
    TemporaryFolder folder_;
};

class SimEngine : public Engine {
  public:
    std::unique_ptr<Store> open(Loop& loop) override {
        return std::make_unique<SimStore>(loop, disk_);
    }

    std::unique_ptr<Store> open_failing(Loop& loop) override {
        return std::make_unique<SimStore>(loop, disk_, SimFaults{.writes_until_failure = 1});
    }

    [[nodiscard]] std::string backup_name() const override { return "copy"; }

    std::unique_ptr<Store> open_backup(Loop& loop, Store& store) override {
        copy_ = dynamic_cast<SimStore&>(store).copy("copy");
        return std::make_unique<SimStore>(loop, copy_);
    }

  private:
    SimDisk disk_;
    SimDisk copy_;
};

CommitRecord commit(const StoreContents& at, std::uint64_t generation,
                    std::vector<Change> changes) {
    return {at.epoch, at.first + generation, 1'800'000'000, std::move(changes)};
}

Change row(std::uint64_t serial, std::string json) {
    return {"VM", Uuid::from_words(7, serial), serial, 1, std::move(json)};
}

Change gone(std::uint64_t serial) {
    return {"VM", Uuid::from_words(7, serial), serial, 1, std::nullopt};
}

class StoreContract : public testing::TestWithParam<const char*> {
  protected:
    StoreContract() {
        if (std::string_view(GetParam()) == "sqlite") {
            engine = std::make_unique<SqliteEngine>();
        } else {
            engine = std::make_unique<SimEngine>();
        }
    }

    /// Opens, lets `body` work, closes.
    template <class Body>
    void with_store(Body body) {
        Recorder recorder(loop);
        const auto store = engine->open(loop);
        const StoreContents contents = store->load(recorder);
        run_real(loop, body(*store, contents, recorder));
        store->detach();
    }

    RealLoop loop{1};
    std::unique_ptr<Engine> engine;
};

using Body = Task<void>;

TEST_P(StoreContract, keeps_the_newest_state_of_every_row) {
    with_store([](Store& store, const StoreContents& at, Recorder& recorder) -> Body {
        EXPECT_TRUE(at.rows.empty());
        store.append(commit(at, 1, {row(1, R"({"a":1})"), row(2, R"({"b":1})")}));
        store.append(commit(at, 2, {row(1, R"({"a":2})"), row(3, R"({"c":"\n é"})")}));
        store.append(commit(at, 3, {gone(2)}));
        co_await recorder.wait_stored(at.first + 3);
    });
    with_store([](Store&, const StoreContents& at, Recorder&) -> Body {
        EXPECT_EQ(at.rows.size(), 2U);
        if (at.rows.size() != 2) co_return;
        EXPECT_EQ(at.rows[0].serial, 1U);
        EXPECT_EQ(at.rows[0].json, R"({"a":2})");
        EXPECT_GT(at.rows[0].modified, at.rows[0].created);
        EXPECT_EQ(at.rows[1].json, R"({"c":"\n é"})");
        EXPECT_EQ(at.rows[1].ref, Uuid::from_words(7, 3));
        EXPECT_EQ(at.tombstones.size(), 1U);
        EXPECT_EQ(at.tombstones.at(0).ref, Uuid::from_words(7, 2));
    });
}

TEST_P(StoreContract, writes_what_is_queued_before_it_closes) {
    with_store([](Store& store, const StoreContents& at, Recorder&) -> Body {
        for (std::uint64_t i = 1; i <= 500; ++i)
            store.append(commit(at, i, {row(i, "{}")}));
        co_return;
    });
    with_store([](Store&, const StoreContents& at, Recorder&) -> Body {
        EXPECT_EQ(at.rows.size(), 500U);
        co_return;
    });
}

TEST_P(StoreContract, folds_many_megabytes_without_losing_a_row) {
    constexpr std::uint64_t commits = 2000;
    const std::uint64_t rows = 300;
    with_store([rows](Store& store, const StoreContents& at, Recorder& recorder) -> Body {
        const std::string filler(10'000, 'x');
        for (std::uint64_t i = 1; i <= commits; ++i) {
            const std::string json = "{\"n\":" + std::to_string(i) + ",\"f\":\"" + filler + "\"}";
            store.append(commit(at, i, {row(1 + i % rows, json)}));
            if (i % 50 == 0) co_await recorder.wait_stored(at.first + i);
        }
    });
    with_store([rows](Store&, const StoreContents& at, Recorder&) -> Body {
        EXPECT_EQ(at.rows.size(), rows);
        for (const StoredRow& stored : at.rows) {
            const std::uint64_t last = commits - (commits - stored.serial + 1) % rows;
            EXPECT_TRUE(stored.json.starts_with("{\"n\":" + std::to_string(last) + ","));
        }
        co_return;
    });
}

TEST_P(StoreContract, hands_out_each_generation_once) {
    std::uint64_t used = 0;
    with_store([&](Store& store, const StoreContents& at, Recorder& recorder) -> Body {
        EXPECT_GT(at.reserved, at.first);
        store.reserve(at.reserved + 1000);
        co_await recorder.wait_reserved(at.reserved + 1000);
        used = recorder.reserved_until;
    });
    with_store([&](Store&, const StoreContents& at, Recorder&) -> Body {
        EXPECT_GE(at.first, used);
        co_return;
    });
}

TEST_P(StoreContract, is_open_once_at_a_time) {
    Recorder recorder(loop);
    const auto store = engine->open(loop);
    (void)store->load(recorder);
    EXPECT_THROW((void)engine->open(loop), ApiError);
}

TEST_P(StoreContract, backup_is_one_state_and_starts_a_new_epoch) {
    with_store([this](Store& store, const StoreContents& at, Recorder& recorder) -> Body {
        for (std::uint64_t i = 1; i <= 50; ++i)
            store.append(commit(at, i, {row(1, "{\"n\":1}"), row(2, "{\"n\":1}")}));
        co_await recorder.wait_stored(at.first + 50);
        // Both rows of a commit always say the same, whenever the copy is taken.
        for (std::uint64_t i = 51; i <= 1000; ++i) {
            const std::string json = "{\"n\":" + std::to_string(i) + "}";
            store.append(commit(at, i, {row(1, json), row(2, json)}));
        }
        co_await store.backup(engine->backup_name());
        Recorder other(loop);
        const auto copy = engine->open_backup(loop, store);
        const StoreContents copied = copy->load(other);
        EXPECT_GT(copied.epoch, at.epoch);
        EXPECT_EQ(copied.store_id, at.store_id);
        EXPECT_EQ(copied.rows.size(), 2U);
        EXPECT_EQ(copied.rows.at(0).json, copied.rows.at(1).json);
        co_await recorder.wait_stored(at.first + 1000);
        copy->detach();
    });
}

TEST_P(StoreContract, says_once_that_it_failed_and_writes_no_more) {
    Recorder recorder(loop);
    auto store = engine->open_failing(loop);
    const StoreContents at = store->load(recorder);
    std::uint64_t promised = 0;
    run_real(loop, [](Store& s, StoreContents c, Recorder& r, std::uint64_t& p) -> Body {
        for (std::uint64_t i = 1; r.failure.empty() && i < 1000; ++i) {
            s.append(commit(c, i, {row(i, "{\"f\":\"" + std::string(9000, 'x') + "\"}")}));
            co_await r.wait_stored(c.first + i);
        }
        p = r.stored_until - c.first;
    }(*store, at, recorder, promised));
    EXPECT_FALSE(recorder.failure.empty());
    store->append(commit(at, 2000, {row(2000, "{}")}));
    store->detach();
    store.reset();
    with_store([&](Store&, const StoreContents& again, Recorder&) -> Body {
        EXPECT_GE(again.rows.size(), promised);
        EXPECT_LE(again.rows.size(), promised + 1);  // the one whose outcome was unknown
        co_return;
    });
}

TEST_P(StoreContract, preserves_what_this_version_does_not_know) {
    const std::string uuid = Uuid::from_words(1, 2).text();
    with_store([&](Store& store, const StoreContents& at, Recorder& recorder) -> Body {
        store.append(commit(
            at, 1,
            {row(1, R"({"uuid":")" + uuid + R"(","name_label":"old","zz_new":{"deep":[1,"x"]}})"),
             {"Of_the_future", Uuid::from_words(9, 9), 2, 1, R"({"kept":true})"}}));
        co_await recorder.wait_stored(at.first + 1);
    });
    {
        const auto store = engine->open(loop);
        Database db(loop, *store, nullptr);
        const auto vm = db.by_uuid<xenapi::Vm>(uuid);
        ASSERT_TRUE(vm);
        db.transact([&](Txn& txn) {
            txn.edit(*vm).name_label = "new";
            txn.insert(xenapi::Vdi{});
        });
        run_real(loop, db.durable(db.published()));
    }
    with_store([](Store&, const StoreContents& at, Recorder&) -> Body {
        std::map<std::uint64_t, std::string> rows;
        for (const StoredRow& stored : at.rows)
            rows[stored.serial] = stored.json;
        EXPECT_EQ(rows.size(), 3U);  // the VDI did not take the unknown row's place
        EXPECT_NE(rows[1].find(R"("zz_new":{"deep":[1,"x"]})"), std::string::npos) << rows[1];
        EXPECT_NE(rows[1].find(R"("name_label":"new")"), std::string::npos);
        EXPECT_EQ(rows[2], R"({"kept":true})");
        co_return;
    });
}

INSTANTIATE_TEST_SUITE_P(Engines, StoreContract, testing::Values("sqlite", "sim"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace basalt::db
