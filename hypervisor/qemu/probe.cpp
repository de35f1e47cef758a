#include "hypervisor/qemu/probe.hpp"

#include <filesystem>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/subprocess.hpp"
#include "hypervisor/qemu/descriptor.hpp"

// Real mode, then 64-bit mode under a 2 MiB identity page, then CPUID (which always leaves the
// guest), then a BMI2 instruction where CPUID has it (a KVM that emulates what it runs knows none,
// and today's kernels use them), then a value into the exit device. Loaded at 0x7c00 by the
// firmware.
asm(R"(
    .pushsection .rodata
    .balign 16
    .globl basalt_probe_sector
basalt_probe_sector:
    .code16
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7c00, %sp
    cld
    movw $0x1000, %di
    movw $0x0c00, %cx
    xorl %eax, %eax
    rep stosl
    movl $0x2003, 0x1000
    movl $0x3003, 0x2000
    movl $0x0083, 0x3000
    movl $0x1000, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    lgdt basalt_probe_gdtr - basalt_probe_sector + 0x7c00
    movl %cr0, %eax
    orl $0x80000001, %eax
    movl %eax, %cr0
    ljmpl $8, $(basalt_probe_long - basalt_probe_sector + 0x7c00)
    .code64
basalt_probe_long:
    movl $7, %eax
    xorl %ecx, %ecx
    cpuid
    testl $0x100, %ebx
    jz 2f
    shlxl %ecx, %edx, %eax
2:  movl $0x21, %eax
    movw $0xf4, %dx
    outb %al, %dx
1:  hlt
    jmp 1b
    .balign 8
basalt_probe_gdt:
    .quad 0
    .quad 0x00209a0000000000
basalt_probe_gdtr:
    .word 15
    .long basalt_probe_gdt - basalt_probe_sector + 0x7c00
    .org basalt_probe_sector + 510
    .word 0xaa55
    .popsection
)");

extern "C" const char basalt_probe_sector[512];

namespace basalt::hv::qemu {

namespace {

constexpr Duration probe_limit = 5s;
// isa-debug-exit ends QEMU with twice the value plus one.
constexpr int success_status = 2 * 0x21 + 1;

std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
}

// "QEMU emulator version 10.0.2 (Debian ...)"
std::string parse_version(const std::string& text) {
    const std::string mark = "version ";
    const auto begin = text.find(mark);
    if (begin == std::string::npos) return first_line(text);
    const auto end = text.find_first_of(" \n(", begin + mark.size());
    return text.substr(begin + mark.size(), end - begin - mark.size());
}

// The firmware takes nothing smaller for a disk.
std::string probe_disk() {
    constexpr std::size_t disk_bytes = std::size_t{1024} * 1024;
    std::string disk = probe_sector();
    disk.resize(disk_bytes, '\0');
    return disk;
}

Task<std::string> why_not_kvm(RealLoop& loop, std::string program, std::string image) {
    const Command command{.argv = {program, "-machine", "q35", "-accel", "kvm", "-cpu", "host",
                                   "-m", "32", "-nodefaults", "-no-user-config", "-display", "none",
                                   "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive",
                                   "if=none,id=d,format=raw,readonly=on,file=" + image, "-device",
                                   "virtio-blk-pci,drive=d"}};
    try {
        const Output output = co_await run_command(loop, command, probe_limit);
        if (output.status == success_status) co_return "";
        co_return "the probe guest ended with " + std::to_string(output.status) + ": " +
            first_line(output.err);
    } catch (const ApiError&) {
        co_return "the probe guest said nothing within 5 s";
    }
}

}  // namespace

std::string probe_sector() {
    return {basalt_probe_sector, sizeof basalt_probe_sector};
}

Task<Abilities> probe(RealLoop& loop, std::string program, std::string cache_file) {
    const Output said = co_await run_command(loop, {.argv = {program, "--version"}}, 20s);
    Abilities found;
    found.version = parse_version(said.out);
    const std::string boot = co_await blocking(loop, host_boot_id);
    const std::string cached =
        co_await blocking(loop, [cache_file] { return read_file(cache_file); });
    const Json known = Json::parse(cached, nullptr, false);
    if (known.is_object() && known.value("boot_id", std::string()) == boot &&
        known.value("version", std::string()) == found.version) {
        found.accelerated = known.value("accelerated", false);
        found.why = known.value("why", std::string());
        co_return found;
    }
    if (!std::filesystem::exists("/dev/kvm")) {
        found.why = "no /dev/kvm";
    } else {
        const std::string image = cache_file + ".img";
        co_await blocking(loop, [image] { write_file(image, probe_disk()); });
        found.why = co_await why_not_kvm(loop, program, image);
        co_await blocking(loop, [image] { std::filesystem::remove(image); });
    }
    found.accelerated = found.why.empty();
    log::info("kvm_probe", {{"accelerated", found.accelerated ? "yes" : "no"}, {"why", found.why}});
    const Json record = {{"boot_id", boot},
                         {"version", found.version},
                         {"accelerated", found.accelerated},
                         {"why", found.why}};
    co_await blocking(loop, [cache_file, record] { write_file(cache_file, record.dump()); });
    co_return found;
}

}  // namespace basalt::hv::qemu
