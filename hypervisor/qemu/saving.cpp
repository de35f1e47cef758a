#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "hypervisor/qemu/domain.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace {

// In front of QEMU's stream: what kind of machine it belongs to. Fixed size, padded with spaces.
constexpr std::size_t head_bytes = 4096;
constexpr const char* head_mark = "basalt-qemu-1";
constexpr Duration poll_first = 10ms;
constexpr Duration poll_longest = 200ms;

ApiError internal(std::string text) {
    return err::internal_error(std::move(text));
}

std::string head_of(const Machine& machine) {
    std::string head = Json{{"format", head_mark}, {"machine", machine}}.dump();
    head.resize(head_bytes - 1, ' ');
    return head + "\n";
}

void write_head(int sink, std::string_view head) {
    while (!head.empty()) {
        const ssize_t sent = ::write(sink, head.data(), head.size());
        if (sent < 0) throw internal(std::string("save: ") + std::strerror(errno));
        head.remove_prefix(static_cast<std::size_t>(sent));
    }
}

std::string read_head(int source) {
    std::string head(head_bytes, '\0');
    std::size_t filled = 0;
    while (filled < head.size()) {
        const ssize_t got = ::read(source, head.data() + filled, head.size() - filled);
        if (got < 0) throw internal(std::string("restore: ") + std::strerror(errno));
        if (got == 0) throw internal("restore: the saved guest is cut short");
        filled += static_cast<std::size_t>(got);
    }
    return head;
}

using Measure = std::function<double(const Migration&)>;

Task<void> await_migration(DomainPtr domain, Progress progress, Measure measure) {
    Duration pause = poll_first;
    for (;;) {
        const Migration now = co_await domain->monitor->migration();
        if (now.state == Migration::State::failed) throw internal("migration: " + now.error);
        if (progress) progress(measure(now));
        if (now.state == Migration::State::completed) co_return;
        // Its end is told by an event; asked meanwhile for how far it is.
        co_await domain->changed.wait_for(pause);
        pause = std::min(pause * 2, poll_longest);
    }
}

Task<void> resume(DomainPtr domain) {
    co_await domain->monitor->resume();
    domain->running = true;
}

Task<void> cancel(DomainPtr domain) {
    co_await domain->monitor->cancel_migration();
    // The guest cannot go on before the stream has been given up.
    for (;;) {
        const Migration now = co_await domain->monitor->migration();
        if (now.state != Migration::State::active && now.error != "cancelling") co_return;
        co_await sleep_for(domain->loop, poll_first);
    }
}

// A machine that is made with as many CPUs from the start does not take the state of one to which
// some were added. An earlier hostd did not note that it had added some.
Task<void> refuse_unknown_cpus(DomainPtr domain) {
    const Machine& machine = domain->descriptor.machine;
    for (std::int64_t number = 1; number < machine.vcpus - machine.added_vcpus; ++number)
        if (co_await domain->monitor->has_device(cpu_id(number)))
            throw err::operation_not_allowed(
                "The guest was given CPUs while it ran: it cannot be saved before it has been "
                "shut down and started again");
}

Task<void> write_to(DomainPtr domain, std::shared_ptr<UniqueFd> sink, Progress progress,
                    Undo& undo) {
    co_await blocking(domain->loop, [fd = sink->get(), head = head_of(domain->descriptor.machine)] {
        write_head(fd, head);
    });
    undo.push("cancel", [domain] { return cancel(domain); });
    co_await domain->monitor->give_fd("saved", std::move(*sink));
    co_await domain->monitor->announce_migration();
    co_await domain->monitor->unlimited_migration();
    co_await domain->monitor->migrate_to_fd("saved");
    co_await await_migration(domain, std::move(progress),
                             [](const Migration& now) { return now.fraction; });
}

Task<void> save_steps(DomainPtr domain, std::shared_ptr<UniqueFd> sink, Progress progress,
                      Undo& undo) {
    co_await refuse_unknown_cpus(domain);
    if (domain->running) {
        undo.push("resume", [domain] { return resume(domain); });
        co_await domain->monitor->pause();
        domain->running = false;
    }
    co_await write_to(domain, std::move(sink), std::move(progress), undo);
}

Task<void> send_steps(DomainPtr domain, std::shared_ptr<UniqueFd> sink, Progress progress,
                      Undo& undo) {
    co_await refuse_unknown_cpus(domain);
    if (!domain->running)
        throw err::operation_not_allowed("a guest that is paused does not move while it runs");
    co_await domain->monitor->converge_migration();
    // QEMU stops it for the last piece.
    undo.push("resume", [domain] { return resume(domain); });
    co_await write_to(domain, std::move(sink), std::move(progress), undo);
    domain->running = false;
}

}  // namespace

Task<void> save(DomainPtr domain, UniqueFd sink, Progress progress) {
    const auto owned = std::make_shared<UniqueFd>(std::move(sink));
    co_await with_undo([domain, owned, progress](Undo& undo) {
        return save_steps(domain, owned, progress, undo);
    });
}

Task<void> send(DomainPtr domain, UniqueFd sink, Progress progress) {
    const auto owned = std::make_shared<UniqueFd>(std::move(sink));
    co_await with_undo([domain, owned, progress](Undo& undo) {
        return send_steps(domain, owned, progress, undo);
    });
}

Task<Machine> read_saved_machine(Loop& loop, int source) {
    const std::string head = co_await blocking(loop, [source] { return read_head(source); });
    const Json json = Json::parse(head, nullptr, false);
    if (!json.is_object() || json.value("format", std::string()) != head_mark)
        throw internal("restore: this is not a saved guest of this hypervisor");
    co_return json.at("machine").get<Machine>();
}

namespace {

// It was launched with those that it was made with.
Task<void> add_cpus_again(DomainPtr domain) {
    Machine& machine = domain->descriptor.machine;
    const std::int64_t count = machine.vcpus;
    machine.vcpus -= std::exchange(machine.added_vcpus, 0);
    co_await plug_cpus(domain, count);
    if (machine.vcpus != count) throw internal("restore: there is no room for all of its CPUs");
}

}  // namespace

Task<void> load(DomainPtr domain, UniqueFd source, Progress progress) {
    co_await add_cpus_again(domain);
    struct stat facts{};
    const bool is_file = ::fstat(source.get(), &facts) == 0 && S_ISREG(facts.st_mode);
    // QEMU reads through a copy of our descriptor, so a file's position tells how far it is.
    const auto watched =
        std::make_shared<UniqueFd>(is_file ? ::fcntl(source.get(), F_DUPFD_CLOEXEC, 0) : -1);
    co_await domain->monitor->give_fd("saved", std::move(source));
    co_await domain->monitor->announce_migration();
    co_await domain->monitor->migrate_from_fd("saved");
    co_await await_migration(domain, std::move(progress),
                             [watched, size = facts.st_size](const Migration& now) {
                                 if (now.state == Migration::State::completed) return 1.0;
                                 if (!*watched || size == 0) return 0.0;
                                 return static_cast<double>(::lseek(watched->get(), 0, SEEK_CUR)) /
                                        static_cast<double>(size);
                             });
}

}  // namespace basalt::hv::qemu
