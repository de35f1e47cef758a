#pragma once
#include <string>

#include "base/loop.hpp"
#include "idl/classes.hpp"
#include "xapi/core/declared.hpp"
#include "xapi/db/database.hpp"

namespace basalt::core {

class Tasks;
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
    Core(Loop& loop_in, db::Database& database) : loop(loop_in), db(database) {}

    Loop& loop;
    db::Database& db;
    Tasks* tasks = nullptr;
    Events* events = nullptr;
    Hosts* hosts = nullptr;
    Product product;
    UndeclaredErrors undeclared;

    /// Null until the first start of day has made the host's row.
    xenapi::Ref<xenapi::Host> this_host;
    xenapi::Ref<xenapi::Pool> pool;
    /// Whether this host's start of day has been over once: before, nobody may log in.
    bool booted = false;

    /// Seconds since 1970 on the loop's wall clock.
    [[nodiscard]] std::int64_t now_seconds() const { return loop.wall_ns() / 1'000'000'000; }

    [[nodiscard]] std::string new_uuid() const { return loop.new_uuid().text(); }
};

}  // namespace basalt::core
