// The records of a fresh host, as one file that a reviewer reads. GOLDEN_UPDATE=1 rewrites it.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <sstream>

#include "base/json.hpp"
#include "idl/records.hpp"
#include "idl/runtime/record_codec.hpp"
#include "idl/runtime/writers.hpp"
#include "tests/sim/sim_pool.hpp"

namespace basalt::testing {
namespace {

// Random identities become <ref:1>, <uuid:2> in order of appearance.
std::string redact(const std::string& text) {
    static const std::regex identity(
        "(OpaqueRef:)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    std::map<std::string, std::string> names;
    std::string out;
    auto from = text.cbegin();
    for (auto found = std::sregex_iterator(text.begin(), text.end(), identity);
         found != std::sregex_iterator(); ++found) {
        const std::string word = found->str();
        const char* kind = word.starts_with("Opaque") ? "<ref:" : "<uuid:";
        const auto [name, fresh] =
            names.try_emplace(word, kind + std::to_string(names.size() + 1) + ">");
        out.append(from, text.cbegin() + found->position());
        out += name->second;
        from = text.cbegin() + found->position() + found->length();
    }
    out.append(from, text.cend());
    return out;
}

std::string records_text(db::Database& db) {
    std::string out;
    for (const xenapi::ClassInfo& cls : xenapi::classes()) {
        db.each(cls, [&](const db::RowPtr& row) {
            std::string json;
            wire::JsonWriter writer(json);
            xenapi::write_record(cls, row->record.get(), writer);
            out += std::string(cls.name) + " " + xenapi::ref_text(row->ref) + " " +
                   Json::parse(json).dump(1) + "\n";
        });
    }
    return redact(out);
}

TEST(StartOfDay, first_boot_makes_these_records) {
    SimPool pool(1);
    const std::string path = "tests/golden/start_of_day.txt";
    const std::string text = records_text(pool.db());
    if (std::getenv("GOLDEN_UPDATE") != nullptr) std::ofstream(path) << text;
    std::ifstream file(path);
    std::stringstream golden;
    golden << file.rdbuf();
    EXPECT_EQ(text, golden.str()) << "run ./dev golden and read the difference";
}

TEST(StartOfDay, a_restart_changes_no_identity) {
    SimPool pool(1);
    const auto host = pool.xapi->core().this_host;
    const std::size_t vms = pool.db().count(xenapi::class_of<xenapi::Vm>());
    const auto written = spawn(pool.loop, "durable", pool.db().durable(pool.db().published()));
    pool.until([&] { return written->finished(); });
    pool.crash_xapi();
    EXPECT_EQ(pool.xapi->core().this_host, host);
    EXPECT_EQ(pool.db().count(xenapi::class_of<xenapi::Vm>()), vms);
}

}  // namespace
}  // namespace basalt::testing
