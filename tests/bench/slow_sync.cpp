// Preloaded into xapi: a disk on which each durable write takes SYNC_DELAY_MS longer.
#include <dlfcn.h>
#include <time.h>

#include <cstdlib>

namespace {

int delayed(const char* name, int fd) {
    const char* delay = std::getenv("SYNC_DELAY_MS");
    const long ms = delay == nullptr ? 0 : std::strtol(delay, nullptr, 10);
    const timespec time{ms / 1000, ms % 1000 * 1'000'000};
    ::nanosleep(&time, nullptr);
    return reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, name))(fd);
}

}  // namespace

extern "C" int fsync(int fd) {
    return delayed("fsync", fd);
}

extern "C" int fdatasync(int fd) {
    return delayed("fdatasync", fd);
}
