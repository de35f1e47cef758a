#include "base/launcher/seccomp.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "base/launcher/landlock.hpp"

namespace basalt::launcher {

namespace {

constexpr std::uint32_t architecture = AUDIT_ARCH_X86_64;
constexpr std::uint32_t x32_calls = 0x40000000;
constexpr std::uint32_t refused = SECCOMP_RET_ERRNO | EPERM;
constexpr std::uint32_t unknown_call = SECCOMP_RET_ERRNO | ENOSYS;
constexpr std::uint32_t new_namespaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET |
                                         CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;

constexpr std::array never = {SYS_acct,
                              SYS_add_key,
                              SYS_bpf,
                              SYS_delete_module,
                              SYS_fanotify_init,
                              SYS_finit_module,
                              SYS_get_kernel_syms,
                              SYS_init_module,
                              SYS_ioperm,
                              SYS_iopl,
                              SYS_kcmp,
                              SYS_kexec_file_load,
                              SYS_kexec_load,
                              SYS_keyctl,
                              SYS_lookup_dcookie,
                              SYS_nfsservctl,
                              SYS_open_by_handle_at,
                              SYS_perf_event_open,
                              SYS_personality,
                              SYS_pidfd_getfd,
                              SYS_process_madvise,
                              SYS_process_vm_readv,
                              SYS_process_vm_writev,
                              SYS_ptrace,
                              SYS_query_module,
                              SYS_quotactl,
                              SYS_quotactl_fd,
                              SYS_reboot,
                              SYS_request_key,
                              SYS_sethostname,
                              SYS_setdomainname,
                              SYS_settimeofday,
                              SYS_clock_settime,
                              SYS_clock_adjtime,
                              SYS_adjtimex,
                              SYS_swapoff,
                              SYS_swapon,
                              SYS_syslog,
                              SYS_uselib,
                              SYS_userfaultfd,
                              SYS_ustat,
                              SYS_vhangup};

// Of these a driver that mounts has need.
constexpr std::array never_unprivileged = {
    SYS_chroot, SYS_fsconfig,      SYS_fsmount,    SYS_fsopen,  SYS_fspick,
    SYS_mount,  SYS_mount_setattr, SYS_mknod,      SYS_mknodat, SYS_move_mount,
    SYS_setns,  SYS_open_tree,     SYS_pivot_root, SYS_umount2, SYS_unshare};

class Program {
  public:
    // Goes on with the next instruction unless the word equals; then answers.
    void answer_if(std::uint32_t word, std::uint32_t answer) {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word, 0, 1));
        code_.push_back(BPF_STMT(BPF_RET | BPF_K, answer));
    }

    void load(std::size_t offset) {
        code_.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)));
    }

    void answer(std::uint32_t what) { code_.push_back(BPF_STMT(BPF_RET | BPF_K, what)); }

    void answer_unless(std::uint32_t word, std::uint32_t what) {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word, 1, 0));
        answer(what);
    }

    void answer_from(std::uint32_t word, std::uint32_t what) {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, word, 0, 1));
        answer(what);
    }

    // For call `number`: looks at the low half of its first argument. `load_number` comes after.
    void forbid_bits(long number, std::uint32_t bits) {
        code_.push_back(
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 4));
        load(offsetof(seccomp_data, args));
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1));
        answer(refused);
        load(offsetof(seccomp_data, nr));
    }

    void require_first(long number, std::uint32_t value) {
        code_.push_back(
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 4));
        load(offsetof(seccomp_data, args));
        answer_unless(value, refused);
        load(offsetof(seccomp_data, nr));
    }

    // For sockets: unix ones, and netlink's of the kernel's device events.
    void require_unix_or_events() {
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 8));
        load(offsetof(seccomp_data, args));
        code_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 5, 0));
        answer_unless(AF_NETLINK, refused);
        load(offsetof(seccomp_data, args) + 2 * sizeof(std::uint64_t));
        answer_unless(NETLINK_KOBJECT_UEVENT, refused);
        load(offsetof(seccomp_data, nr));
    }

    void install() {
        const sock_fprog program{static_cast<unsigned short>(code_.size()), code_.data()};
        if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
            fail_errno("seccomp");
    }

  private:
    std::vector<sock_filter> code_;
};

}  // namespace

void forbid_calls(const Cell& cell) {
    Program program;
    program.load(offsetof(seccomp_data, arch));
    program.answer_unless(architecture, SECCOMP_RET_KILL_PROCESS);
    program.load(offsetof(seccomp_data, nr));
    program.answer_from(x32_calls, unknown_call);
    for (const long number : never)
        program.answer_if(static_cast<std::uint32_t>(number), refused);
    if (cell.uid != 0) {
        for (const long number : never_unprivileged)
            program.answer_if(static_cast<std::uint32_t>(number), refused);
        program.forbid_bits(SYS_clone, new_namespaces);
        // Its flags lie in memory, where a filter cannot look: the C library then takes `clone`.
        program.answer_if(SYS_clone3, unknown_call);
    }
    if (!cell.network && cell.device_events) program.require_unix_or_events();
    if (!cell.network && !cell.device_events) program.require_first(SYS_socket, AF_UNIX);
    program.answer(SECCOMP_RET_ALLOW);
    program.install();
}

}  // namespace basalt::launcher
