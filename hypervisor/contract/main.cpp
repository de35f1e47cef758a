// Moves into a network namespace of its own when it may, so that taps can be made freely; then runs
// the suite.
#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    if (unshare(CLONE_NEWNET) == 0)
        // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread
        setenv("BASALT_OWN_NETNS", "1", 1);
    else
        std::cout << "skipped: no network namespace, so no NICs\n";
    return RUN_ALL_TESTS();
}
