// Which messages of the domain answer NOT_IMPLEMENTED: unbuilt.txt names them, a line each. Whoever
// builds one takes its line away (GOLDEN_UPDATE=1 rewrites the file), and idl/words_test.py then
// asks for its description; a line that would have to be added is a step back.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "tests/sim/sim_pool.hpp"
#include "xapi/rpc/implicit.hpp"

namespace basalt::testing {
namespace {

constexpr const char* path = "tests/golden/unbuilt.txt";

std::set<std::string> listed() {
    std::set<std::string> names;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);)
        names.insert(line);
    return names;
}

TEST(Unbuilt, messages_are_those_listed) {
    SimPool pool(1);
    std::map<std::string, int> by_class;
    std::set<std::string> unbuilt;
    for (const xenapi::ClassInfo& cls : xenapi::classes()) {
        for (const xenapi::MessageInfo& message : cls.messages) {
            if (message.removed() || server::is_implicit(message) ||
                pool.xapi->apis().implements(message))
                continue;
            unbuilt.insert(std::string(message.wire_name));
            ++by_class[std::string(cls.name)];
        }
    }
    for (const auto& [cls, count] : by_class)
        std::printf("%-22s %d\n", cls.c_str(), count);
    std::printf("messages not built yet: %zu\n", unbuilt.size());
    if (std::getenv("GOLDEN_UPDATE") != nullptr) {
        std::ofstream file(path);
        for (const std::string& name : unbuilt)
            file << name << "\n";
    }
    const std::set<std::string> known = listed();
    for (const std::string& name : unbuilt)
        EXPECT_TRUE(known.contains(name)) << name << " is no longer built";
    for (const std::string& name : known)
        EXPECT_TRUE(unbuilt.contains(name)) << name << " is built: take its line away";
}

}  // namespace
}  // namespace basalt::testing
