// Moves into a network namespace of its own when it may, so that taps can be made freely; then runs
// the suite. Not within a control domain of Xen: its interfaces and disks are made in the first
// one.
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    // As the daemons do: a stream that nobody reads is an error like others.
    std::signal(SIGPIPE, SIG_IGN);
    if (access("/proc/xen/capabilities", R_OK) == 0)
        std::cout << "in a control domain: QEMU's guests get no NICs\n";
    else if (unshare(CLONE_NEWNET) == 0)
        // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread
        setenv("BASALT_OWN_NETNS", "1", 1);
    else
        std::cout << "skipped: no network namespace, so no NICs\n";
    return RUN_ALL_TESTS();
}
