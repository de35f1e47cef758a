#include "xapi/db/store/dump.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <pugixml.hpp>
#include <set>

#include "base/durable_file.hpp"
#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/real_loop.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "idl/records/pool.hpp"
#include "idl/runtime/record_codec.hpp"
#include "xapi/db/database.hpp"
#include "xapi/db/store/files.hpp"
#include "xapi/db/store/schema.hpp"
#include "xapi/db/stored_form.hpp"
#include "xapi/db/token.hpp"

namespace basalt::db {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t dump_format = 1;
/// Above all that hours since 2026 and restores can reach; with it a term still fits its field.
constexpr std::uint64_t epoch_max = std::uint64_t{1} << 20;

/// What SQLite and the file system say, as the one error that callers know.
template <class F>
auto told(const std::string& what, F body) {
    try {
        return body();
    } catch (const ApiError&) {
        throw;
    } catch (const std::exception& error) {
        throw err::internal_error(what + ": " + error.what());
    }
}

/// A file that goes with its scope.
class Scratch {
  public:
    explicit Scratch(std::string path) : path_(std::move(path)) {}

    ~Scratch() {
        std::error_code ignored;
        for (const char* suffix : {"", "-wal", "-shm", "-journal", ".partial"})
            fs::remove(path_ + suffix, ignored);
    }

    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

/// Several may be at it at once. The next start removes what a kill left.
std::string scratch_name(const std::string& store) {
    static std::atomic<unsigned> last = 0;
    return store + ".scratch-" + std::to_string(::getpid()) + "-" + std::to_string(++last);
}

void require_sound(sqlite::Connection& connection) {
    std::string found;
    sqlite::Statement check(connection, "PRAGMA quick_check");
    while (check.step())
        if (found.empty() && check.text(0) != "ok") found = check.text(0);
    if (!found.empty()) throw err::internal_error("the store is damaged: " + found);
}

/// One state of a store that may be in use: a copy, which is brought up to date.
class Copy {
  public:
    explicit Copy(const std::string& store) : file_(scratch_name(store)) {
        sqlite::copy_database(store, file_.path());
        connection_.emplace(file_.path(), sqlite::Connection::Mode::read_write);
        require_sound(*connection_);
        version_ = connection_->query_number("PRAGMA user_version");
        sqlite::migrate(*connection_);
        sqlite::Transaction transaction(*connection_);
        sqlite::fold_log(*connection_);
        transaction.commit();
    }

    [[nodiscard]] sqlite::Connection& connection() { return *connection_; }

    /// Of the store, before the copy was brought up to date.
    [[nodiscard]] std::uint64_t version() const { return version_; }

  private:
    Scratch file_;
    std::optional<sqlite::Connection> connection_;
    std::uint64_t version_ = 0;
};

// -- writing --------------------------------------------------------------------------------------

void append_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            default:
                out += c;
        }
    }
}

void append(std::string& out, std::string_view name, std::string_view value) {
    ((out += ' ') += name) += "=\"";
    append_escaped(out, value);
    out += '"';
}

void append(std::string& out, std::string_view name, std::uint64_t value) {
    append(out, name, std::string_view(std::to_string(value)));
}

std::string opening(const StoreContents& contents) {
    std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<database";
    append(out, "format", dump_format);
    append(out, "schema", sqlite::schema_version);
    append(out, "epoch", contents.epoch);
    append(out, "store_id", contents.store_id);
    append(out, "reserved", contents.reserved);
    append(out, "lost_below", contents.lost_below);
    return out + ">\n";
}

std::string text_of(const StoredRow& row) {
    std::string out = "  <row";
    append(out, "class", row.class_name);
    append(out, "ref", row.ref.text());
    append(out, "serial", row.serial);
    append(out, "created", row.created);
    append(out, "modified", row.modified);
    out += '>';
    append_escaped(out, row.json);
    return out + "</row>\n";
}

std::string text_of(const StoredTombstone& one) {
    std::string out = "  <deleted";
    append(out, "class", one.class_name);
    append(out, "ref", one.ref.text());
    append(out, "created", one.created);
    append(out, "generation", one.generation);
    append(out, "time", static_cast<std::uint64_t>(one.deleted_s));
    return out + "/>\n";
}

std::string closing(std::size_t rows, std::size_t deleted) {
    std::string out = "  <end";
    append(out, "rows", rows);
    append(out, "deleted", deleted);
    return out + "/>\n</database>\n";
}

/// Row by row: a server that dumps itself has the records in memory once already.
void write_rows(sqlite::Connection& from, std::ofstream& file) {
    std::size_t rows = 0;
    std::size_t deleted = 0;
    file << opening(sqlite::read_heading(from));
    sqlite::each_row(from, [&](const StoredRow& row) {
        file << text_of(row);
        ++rows;
    });
    sqlite::each_tombstone(from, [&](const StoredTombstone& one) {
        file << text_of(one);
        ++deleted;
    });
    file << closing(rows, deleted);
}

// -- reading --------------------------------------------------------------------------------------

[[noreturn]] void reject(const std::string& why) {
    throw err::could_not_import_database(why);
}

std::string where(const pugi::xml_node& node) {
    return std::string("at byte ") + std::to_string(node.offset_debug());
}

std::string_view text(const pugi::xml_node& node, const char* name) {
    const pugi::xml_attribute attribute = node.attribute(name);
    if (!attribute) reject(std::string(name) + " is missing " + where(node));
    return attribute.value();
}

std::uint64_t number(const pugi::xml_node& node, const char* name, std::uint64_t max) {
    const std::string_view digits = text(node, name);
    std::uint64_t value = 0;
    const auto end = digits.data() + digits.size();
    const auto result = std::from_chars(digits.data(), end, value);
    if (result.ec != std::errc{} || result.ptr != end || value > max)
        reject(std::string(name) + " is no such number " + where(node));
    return value;
}

Uuid reference(const pugi::xml_node& node) {
    const auto ref = Uuid::parse(text(node, "ref"));
    if (!ref) reject("ref is no reference " + where(node));
    return *ref;
}

class DumpReader {
  public:
    StoreContents read(const pugi::xml_node& database) {
        if (number(database, "format", UINT64_MAX) > dump_format ||
            number(database, "schema", UINT64_MAX) > sqlite::schema_version)
            throw err::restore_incompatible_version();
        contents_.epoch = number(database, "epoch", epoch_max);
        contents_.store_id = number(database, "store_id", INT64_MAX);
        contents_.reserved = number(database, "reserved", generations);
        contents_.lost_below = number(database, "lost_below", generations);
        for (const pugi::xml_node& node : database.children())
            take(node);
        if (!ended_) reject("its end is missing");
        return std::move(contents_);
    }

  private:
    static constexpr std::uint64_t generations = std::uint64_t{1} << (token_generation_bits - 1);

    void take(const pugi::xml_node& node) {
        const std::string_view name = node.name();
        if (ended_) reject("something follows its end " + where(node));
        if (name == "row") return take_row(node);
        if (name == "deleted") return take_tombstone(node);
        if (name != "end") reject("nobody knows <" + std::string(name) + "> " + where(node));
        if (number(node, "rows", UINT64_MAX) != contents_.rows.size() ||
            number(node, "deleted", UINT64_MAX) != contents_.tombstones.size())
            reject("rows are missing");
        ended_ = true;
    }

    void take_row(const pugi::xml_node& node) {
        StoredRow row;
        row.class_name = text(node, "class");
        row.ref = reference(node);
        row.serial = number(node, "serial", INT64_MAX);
        row.created = number(node, "created", contents_.reserved);
        row.modified = number(node, "modified", contents_.reserved);
        row.json = node.child_value();
        if (!refs_.insert(row.ref).second || !serials_.insert(row.serial).second)
            reject("a row comes twice " + where(node));
        contents_.rows.push_back(std::move(row));
    }

    void take_tombstone(const pugi::xml_node& node) {
        contents_.tombstones.push_back(
            {std::string(text(node, "class")), reference(node),
             number(node, "created", contents_.reserved),
             number(node, "generation", contents_.reserved),
             static_cast<std::int64_t>(number(node, "time", INT64_MAX))});
    }

    StoreContents contents_;
    std::set<Uuid> refs_;
    std::set<std::uint64_t> serials_;
    bool ended_ = false;
};

// -- looking --------------------------------------------------------------------------------------

/// Contents as a database loads them; nothing is ever written.
class LoadedStore final : public Store {
  public:
    explicit LoadedStore(StoreContents contents) : contents_(std::move(contents)) {}

    StoreContents load(StoreListener& /*listener*/) override { return std::move(contents_); }

    void detach() override {}

    void append(CommitRecord /*record*/) override {}

    void reserve(std::uint64_t /*until*/) override {}

    [[nodiscard]] bool accepts() const override { return false; }

    Task<void> backup(std::string /*path*/) override {
        throw err::internal_error("nothing to copy");
        co_return;
    }

  private:
    StoreContents contents_;
};

/// A database that is only looked at.
struct Look {
    explicit Look(StoreContents contents) : store(std::move(contents)), db(loop, store, nullptr) {}

    RealLoop loop{0};  // it never turns
    LoadedStore store;
    Database db;
};

StoreReport report_of(const StoreContents& contents) {
    StoreReport report;
    report.version = sqlite::schema_version;
    report.epoch = contents.epoch;
    report.tombstones = contents.tombstones.size();
    for (const StoredRow& row : contents.rows)
        ++report.rows[row.class_name];
    return report;
}

/// As the pool's only coordinator can be the host that restores it.
void lead(StoreContents& contents, Ref<xenapi::Pool> pool, Ref<xenapi::Host> host) {
    for (StoredRow& row : contents.rows) {
        if (row.ref != pool.uuid()) continue;
        xenapi::Pool record;
        std::string unknown;
        const ClassInfo& cls = xenapi::class_of<xenapi::Pool>();
        xenapi::read_stored(cls, row.json, &record, unknown);
        record.master = host;
        row.json.clear();
        xenapi::write_stored(cls, &record, row.json, unknown);
    }
}

}  // namespace

void write_dump(const std::string& store, const std::string& to) {
    told("dump of " + store, [&] {
        Copy copy(store);
        const std::string partial = to + ".partial";
        const Scratch unfinished(partial);
        {
            std::ofstream file;
            file.exceptions(std::ios::failbit | std::ios::badbit);
            file.open(partial, std::ios::binary | std::ios::trunc);
            fs::permissions(partial, fs::perms::owner_read | fs::perms::owner_write);
            write_rows(copy.connection(), file);
        }
        rename_durably(partial, to);
    });
}

namespace {

StoreContents contents_of(const pugi::xml_document& document,
                          const pugi::xml_parse_result& parsed) {
    if (!parsed)
        reject(std::string(parsed.description()) + " at byte " + std::to_string(parsed.offset));
    const pugi::xml_node database = document.child("database");
    if (!database || !database.attribute("format")) reject("it is no dump of a database");
    return DumpReader().read(database);
}

std::shared_ptr<Database> look_at(StoreContents contents) {
    try {
        const auto look = std::make_shared<Look>(std::move(contents));
        return {look, &look->db};
    } catch (const ApiError& error) {
        reject(error.what());
    }
}

}  // namespace

StoreContents read_dump(const std::string& from) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed =
        document.load_file(from.c_str(), pugi::parse_escapes | pugi::parse_cdata);
    if (parsed.status == pugi::status_file_not_found || parsed.status == pugi::status_io_error) {
        // "Not found" may be a lack of rights, too.
        const bool unreadable = ::access(from.c_str(), R_OK) != 0;
        const std::string why = unreadable ? std::strerror(errno) : parsed.description();
        throw err::internal_error(from + ": " + why);
    }
    return contents_of(document, parsed);
}

Picture picture_of(const Database& db) {
    static const StoredForm form;
    Picture out;
    out.heading.epoch = db.epoch();
    for (const ClassInfo& cls : xenapi::classes())
        if (form.kind(cls) != StoredForm::Kind::none) out.tables.push_back(db.snapshot(cls));
    return out;
}

std::string dump_text(const Picture& picture) {
    const StoredForm form;
    std::vector<const Row*> rows;
    for (const Rows& table : picture.tables)
        std::ranges::copy(table.pointers(), std::back_inserter(rows));
    std::ranges::sort(rows, {}, &Row::serial);
    StoreContents heading = picture.heading;
    // What is not stored of a row changes without a change of the text.
    const auto modified = [&](const Row& row) {
        return form.kind(*row.cls) == StoredForm::Kind::stub ? row.created : row.modified;
    };
    for (const Row* row : rows)
        heading.reserved = std::max(heading.reserved, modified(*row));
    std::string out = opening(heading);
    for (const Row* row : rows) {
        Change now = form.change(*row->cls, row->ref, row->serial, row->created, row->record.get(),
                                 row->unknown_fields.get());
        out += text_of(StoredRow{std::move(now.class_name), row->ref, row->serial, row->created,
                                 modified(*row), *std::move(now.json)});
    }
    return out + closing(rows.size(), 0);
}

StoreReport check_store(const std::string& store) {
    return told("check of " + store, [&] {
        Copy copy(store);
        const StoreContents contents = sqlite::read_contents(copy.connection());
        const Look look(contents);
        StoreReport report = report_of(contents);
        report.version = copy.version();
        return report;
    });
}

std::shared_ptr<Database> open_dump(const std::string& from) {
    return look_at(read_dump(from));
}

std::shared_ptr<Database> open_dump_text(const std::string& text) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed =
        document.load_buffer(text.data(), text.size(), pugi::parse_escapes | pugi::parse_cdata);
    return look_at(contents_of(document, parsed));
}

StoreReport check_contents(StoreContents& contents, std::string_view host) {
    std::optional<Look> look;
    try {
        look.emplace(contents);
    } catch (const std::exception& error) {
        reject(error.what());
    }
    const auto known = look->db.by_uuid<xenapi::Host>(host);
    if (!known) throw err::restore_target_mgmt_if_not_in_backup();
    std::vector<Ref<xenapi::Pool>> pools;
    look->db.each<xenapi::Pool>(
        [&](Ref<xenapi::Pool> ref, const xenapi::Pool&) { pools.push_back(ref); });
    if (pools.size() != 1) reject("it has " + std::to_string(pools.size()) + " pools");
    if (look->db.get(pools.front()).master != *known) lead(contents, pools.front(), *known);
    return report_of(contents);
}

void stage_restore(const StoreContents& contents, const std::string& store) {
    told("restore of " + store, [&] {
        std::uint64_t epoch = contents.epoch;
        try {
            // Tokens and terms of today's epoch must be of the past afterwards.
            sqlite::Connection now(store, sqlite::Connection::Mode::read_only);
            epoch = std::max(epoch, sqlite::get_meta(now, "epoch"));
        } catch (const sqlite::Error&) {
            // It is broken, or not there: the clock alone tells the epochs apart.
            epoch = contents.epoch;
        }
        const Scratch fresh(scratch_name(store));
        sqlite::write_database(contents, epoch, fresh.path());
        sqlite::keep_owner(fresh.path(), store);
        rename_durably(fresh.path(), sqlite::restored_name(store));
    });
}

void backup_store(const std::string& store, const std::string& to) {
    told("backup of " + store, [&] { sqlite::copy_database(store, to); });
}

std::string migrate_store(const std::string& store) {
    return told("migration of " + store, [&]() -> std::string {
        const UniqueFd lock = sqlite::lock_store(store);
        sqlite::Connection connection(store, sqlite::Connection::Mode::read_write);
        const std::uint64_t version = connection.query_number("PRAGMA user_version");
        if (version == sqlite::schema_version) return {};
        const std::string before = store + ".v" + std::to_string(version);
        sqlite::copy_database(store, before);
        sqlite::migrate(connection);
        return before;
    });
}

}  // namespace basalt::db
