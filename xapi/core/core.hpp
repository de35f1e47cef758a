#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/loop.hpp"
#include "idl/classes.hpp"
#include "xapi/core/declared.hpp"
#include "xapi/core/fairness.hpp"
#include "xapi/core/limits.hpp"
#include "xapi/db/database.hpp"

namespace basalt::core {

class AuditLog;
class Tasks;
class Tracing;
class Events;
class Hosts;

/// What the product calls itself, in one place.
struct Product {
    std::string brand = "Basalt";
    std::string version = "8.3.0";  // three integers: clients compare it with XenServer's
    std::string xapi_version = "26.1";
    std::string build = "26.1.0";
};

/// The parts that every domain file uses. Made in main.cpp (or a simulated pool), which owns them
/// all.
class Core {
  public:
    Core(Loop& loop_in, db::Database& database)
        : loop(loop_in),
          db(database),
          turns(loop_in),
          preparing(loop_in, limits.max(Limit::answers_preparing), 1) {}

    Loop& loop;
    db::Database& db;
    Tasks* tasks = nullptr;
    Events* events = nullptr;
    Hosts* hosts = nullptr;
    AuditLog* audit = nullptr;  // null: nobody keeps one (a simulated pool)
    Limits limits;
    /// Who works on much asks for a turn before each slice of about a quarter of a millisecond.
    FairTurns turns;
    /// For what is computed from many rows on a pool thread before it is an answer.
    FairGate preparing;
    Product product;
    UndeclaredErrors undeclared;

    /// Of this incarnation of the coordinator: higher than that of every earlier one on the same
    /// store. Hosts refuse verbs of a lower one than they have seen.
    std::int64_t term = 0;
    /// The process is ending: what was asked of hosts has an unknown outcome from now on.
    bool stopping = false;
    /// For tests and `--die-at`: told of every named moment of a call ("VM.start", "intent") and of
    /// a verb ("vm_start", "sent").
    std::function<void(std::string_view what, std::string_view moment)> probe;

    void reach(std::string_view what, std::string_view moment) const {
        if (probe) probe(what, moment);
    }

    /// What the pool's hosts prove themselves with (session.slave_login); empty: nobody can.
    std::string pool_secret;

    /// Folder of what belongs to the records and is too large for them: the bytes of blobs, the
    /// certificates that the pool trusts. Empty: there is none, and nothing of the kind is kept.
    std::string files;

    /// What this host shows to clients by TLS. Set by the daemon; a simulated pool has none.
    struct Identity {
        std::string pem_path;  ///< key, certificate, chain
        /// A fresh key and self-signed certificate for these names, as PEM text. Takes tens of
        /// milliseconds: not on the loop.
        std::function<std::string(std::string common_name, std::vector<std::string> addresses)>
            self_signed;
        /// Replaces the file in one step. Blocks. Throws std::system_error.
        std::function<void(const std::string& pem)> write;
        /// New connections use what the file holds now. Throws std::runtime_error.
        std::function<void()> reload;
    };

    Identity identity;

    /// Sessions that look at the database of a file instead of ours (session.create_from_db_file),
    /// oldest first.
    struct FileSession {
        xenapi::Ref<xenapi::Session> session;
        std::shared_ptr<db::Database> database;
    };

    std::vector<FileSession> file_sessions;

    /// Null until the first start of day has made the host's row.
    xenapi::Ref<xenapi::Host> this_host;
    xenapi::Ref<xenapi::Pool> pool;
    /// Whether this host's start of day has been over once: before, nobody may log in.
    bool booted = false;
    /// Null where nobody makes spans of calls (tests of single rooms).
    Tracing* tracing = nullptr;

    /// Seconds since 1970 on the loop's wall clock.
    [[nodiscard]] std::int64_t now_seconds() const { return loop.wall_ns() / 1'000'000'000; }

    [[nodiscard]] std::string new_uuid() const { return loop.new_uuid().text(); }
};

}  // namespace basalt::core
