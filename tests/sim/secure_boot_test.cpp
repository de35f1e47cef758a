// Secure boot of guests: the variables of a firmware as they lie in its flash, the keys that
// administrators give to the pool, and how these come to a VM.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/encoding.hpp"
#include "idl/records.hpp"
#include "tests/sim/sim_pool.hpp"
#include "tests/sim/values.hpp"
#include "xapi/domain/secure_boot_keys.hpp"

namespace basalt::testing {
namespace {

using domain::EfiVariable;
using domain::EfiVariables;
using domain::KeysWorth;
using domain::SecureBootKeys;
using ::testing::ElementsAre;
using ::testing::Pair;
using wire::Value;
using xenapi::Ref;
using xenapi::Vm;
using Readiness = xenapi::VmSecurebootReadiness;
using Certificates = xenapi::VmSecurebootCertificatesState;

std::string little(std::uint64_t value, std::size_t bytes) {
    std::string out;
    for (std::size_t i = 0; i < bytes; ++i)
        out += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
    return out;
}

constexpr std::size_t store_at = 72;
constexpr std::size_t variables_at = 100;

/// A firmware's flash with an empty store of that size, and something behind it.
std::string empty_flash(std::size_t store_bytes = 4096) {
    std::string out(store_at, '\0');
    out.replace(40, 4, "_FVH");
    out.replace(48, 2, little(store_at, 2));
    out += std::string("\x78\x2c\xf3\xaa\x7b\x94\x9a\x43\xa1\x80\x2e\x14\x4e\xc3\x77\x92", 16);
    out += little(store_bytes, 4) + "\x5a\xfe" + std::string(6, '\0');
    out.resize(store_at + store_bytes, '\xff');
    return out + "what the firmware writes when it moves its store";
}

/// An EFI_SIGNATURE_LIST of hashes with one signature.
std::string list_of(const std::string& signature) {
    const std::size_t one = 16 + signature.size();
    return std::string("\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28", 16) +
           little(28 + one, 4) + little(0, 4) + little(one, 4) + std::string(16, 'o') + signature;
}

std::string signed_file(const std::string& lists) {
    const std::string certificate = "a signature nobody checks";
    return std::string(16, 't') + little(24 + certificate.size(), 4) + little(0x0200, 2) +
           little(0x0EF1, 2) + std::string(16, 'g') + certificate + lists;
}

std::string octal(std::size_t value) {
    std::array<char, 12> out{};
    std::snprintf(out.data(), out.size(), "%011zo", value);
    return {out.data(), out.size()};
}

std::string tar_of(const std::map<std::string, std::string>& files) {
    std::string out;
    for (const auto& [name, bytes] : files) {
        std::string head(512, '\0');
        head.replace(0, name.size(), name);
        head.replace(100, 7, "0000644");
        head.replace(124, 12, octal(bytes.size()));
        head.replace(136, 12, octal(0));
        head.replace(148, 8, "        ");
        head.replace(156, 1, "0");
        head.replace(257, 8,
                     std::string("ustar\0"
                                 "00",
                                 8));
        const int sum = std::accumulate(head.begin(), head.end(), 0, [](int all, char c) {
            return all + static_cast<unsigned char>(c);
        });
        head.replace(148, 7, octal(static_cast<std::size_t>(sum)).substr(5, 6) + '\0');
        out += head + bytes;
        out.resize((out.size() + 511) / 512 * 512, '\0');
    }
    return out + std::string(1024, '\0');
}

std::string keys_of_pool(const std::string& mark, bool revokes = true) {
    std::map<std::string, std::string> files = {{"PK.auth", signed_file(list_of(mark + " PK"))},
                                                {"KEK.auth", signed_file(list_of(mark + " KEK"))},
                                                {"db.auth", signed_file(list_of(mark + " db"))},
                                                {"README", "passed over"}};
    if (revokes) files.emplace("dbx.auth", signed_file(list_of(mark + " dbx")));
    return base64(tar_of(files));
}

std::string names_in(const EfiVariables& variables) {
    std::string out;
    for (const EfiVariable& one : variables.all())
        for (std::size_t i = 0; i < one.name.size(); i += 2)
            out += (i == 0 && !out.empty() ? " " : "") + one.name.substr(i, 1);
    return out;
}

// -- the store --------------------------------------------------------------------------------

TEST(EfiVariables, come_back_as_they_were_put) {
    EfiVariables variables(empty_flash());
    EXPECT_TRUE(variables.all().empty());
    const SecureBootKeys keys = domain::parse_key_archive(keys_of_pool("our"));
    enrol(variables, keys);
    EfiVariable order{.name = domain::efi_name("BootOrder"),
                      .vendor = domain::efi_global_guid,
                      .attributes = 7,
                      .data = std::string("\0\x01\0", 3)};
    variables.set(order);
    const std::string flash = variables.flash();
    EXPECT_EQ(flash.size(), empty_flash().size());
    EXPECT_TRUE(flash.ends_with("when it moves its store"));
    const EfiVariables again(flash);
    EXPECT_EQ(names_in(again), "KEK PK db dbx BootOrder");
    const EfiVariable* pk = again.find("PK", domain::efi_global_guid);
    ASSERT_NE(pk, nullptr);
    EXPECT_EQ(pk->data, list_of("our PK"));
    EXPECT_EQ(pk->attributes, 0x27U);
    EXPECT_EQ(pk->timestamp, std::string(16, 't'));
    EXPECT_EQ(again.find("BootOrder", domain::efi_global_guid)->data, order.data);
    EXPECT_EQ(again.find("PK", domain::efi_image_security_guid), nullptr);
    EXPECT_EQ(again.flash(), flash);
}

TEST(EfiVariables, that_were_deleted_or_replaced_do_not_count) {
    EfiVariables variables(empty_flash());
    variables.set({.name = domain::efi_name("Lang"), .vendor = domain::efi_global_guid});
    variables.set({.name = domain::efi_name("Key"), .vendor = domain::efi_global_guid});
    std::string flash = variables.flash();
    const std::size_t state_at = variables_at + 2;
    flash.at(state_at) = '\x3e';  // the firmware ended while it replaced it
    EXPECT_EQ(names_in(EfiVariables(flash)), "Key Lang");
    flash.at(state_at) = '\x3c';
    EfiVariables left(flash);
    EXPECT_EQ(names_in(left), "Key");
    left.remove("Key", domain::efi_global_guid);
    left.remove("Key", domain::efi_global_guid);
    EXPECT_EQ(left.flash(), empty_flash());
}

TEST(EfiVariables, are_refused_where_they_are_none_or_too_large) {
    EXPECT_THROW(EfiVariables(""), std::invalid_argument);
    EXPECT_THROW(EfiVariables(std::string(4096, '\xff')), std::invalid_argument);
    std::string other = empty_flash();
    other.at(store_at) = 'y';
    EXPECT_THROW((void)EfiVariables(other), std::invalid_argument);
    EXPECT_THROW((void)EfiVariables(empty_flash().substr(0, 2000)), std::invalid_argument);
    EfiVariables variables(empty_flash(1024));
    variables.set({.name = domain::efi_name("Key"),
                   .vendor = domain::efi_global_guid,
                   .data = std::string(1024, 'x')});
    EXPECT_THROW((void)variables.flash(), std::length_error);
    // A length that leads out of the store.
    std::string torn = EfiVariables(empty_flash()).flash();
    torn.replace(variables_at, 4, std::string("\xaa\x55\x3f\0", 4));
    EXPECT_THROW((void)EfiVariables(torn), std::invalid_argument);
}

TEST(EfiVariables, of_the_installed_firmware_are_understood) {
    const char* path = "/usr/share/OVMF/OVMF_VARS_4M.ms.fd";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "no OVMF here";
    std::ifstream file(path, std::ios::binary);
    const std::string flash{std::istreambuf_iterator<char>(file), {}};
    EfiVariables variables(flash);
    EXPECT_EQ(worth_of(keys_of(variables)), KeysWorth::no_dbx);
    enrol(variables, domain::parse_key_archive(keys_of_pool("our")));
    const EfiVariables again(variables.flash());
    EXPECT_EQ(worth_of(keys_of(again)), KeysWorth::full);
    EXPECT_EQ(again.all().size(), variables.all().size());
}

// -- what administrators give -----------------------------------------------------------------

TEST(SecureBootKeys, are_read_from_an_archive) {
    const SecureBootKeys keys = domain::parse_key_archive(keys_of_pool("our"));
    EXPECT_EQ(keys.size(), 4U);
    EXPECT_EQ(worth_of(keys), KeysWorth::full);
    EXPECT_EQ(worth_of(domain::parse_key_archive(keys_of_pool("our", false))), KeysWorth::no_dbx);
    EXPECT_EQ(domain::worth_of({}), KeysWorth::none);
    SecureBootKeys half = keys;
    half.erase("KEK");
    EXPECT_EQ(worth_of(half), KeysWorth::incomplete);
}

TEST(SecureBootKeys, are_refused_when_something_is_wrong) {
    const auto why = [](const std::string& text) -> std::string {
        try {
            domain::parse_key_archive(text);
        } catch (const ApiError& error) {
            return error.params().back();
        }
        return "taken";
    };
    const std::string good = signed_file(list_of("x"));
    const auto with = [&](const std::string& db) {
        return why(base64(tar_of({{"PK.auth", good}, {"KEK.auth", good}, {"db.auth", db}})));
    };
    EXPECT_EQ(with(good), "taken");
    EXPECT_EQ(why("not base64!"), "This is not base64");
    EXPECT_EQ(why(base64("no archive at all")), "This is no tar archive");
    EXPECT_EQ(why(base64(tar_of({{"PK.auth", good}}))), "KEK.auth is not in the archive");
    EXPECT_EQ(with("short"), "db.auth is too short");
    EXPECT_EQ(with(std::string(100, 'x')), "db.auth is no signed variable");
    EXPECT_EQ(with(signed_file("")), "db.auth holds no signatures");
    EXPECT_EQ(with(signed_file("no list")), "db.auth holds no signatures");
    EXPECT_EQ(with(signed_file(list_of(std::string(40'000, 'x')))), "db.auth is too large");
}

// -- a pool -----------------------------------------------------------------------------------

class SecureBoot : public ::testing::Test {
  protected:
    SecureBoot() {
        EfiVariables fresh(empty_flash());
        enrol(fresh, domain::parse_key_archive(keys_of_pool("maker", false)));
        host().fresh_variables = fresh.flash();
        vm = new_vm("web");
    }

    Ref<Vm> new_vm(const char* name) {
        const Ref<Vm> made = pool.insert_vm(name);
        pool.db().transact([&](db::Txn& txn) {
            txn.edit(made).HVM_boot_policy = "BIOS order";
            txn.edit(made).HVM_boot_params = {{"firmware", "uefi"}, {"order", "cd"}};
            txn.edit(made).platform.insert_or_assign("secureboot", "true");
        });
        return made;
    }

    hv::SimHost& host() { return pool.hosts.front()->machine(); }

    const Vm& row() { return pool.db().get(vm); }

    void set_keys(const std::string& value) {
        pool.call("pool.set_custom_uefi_certificates", {of(pool.xapi->core().pool), Value(value)});
    }

    std::string code(const std::string& method, std::vector<Value> args) {
        return code_of([&] { pool.call(method, std::move(args)); });
    }

    void restart() {
        if (row().power_state == xenapi::VmPowerState::running)
            pool.call("VM.hard_shutdown", {of(vm)});
        pool.call("VM.start", {of(vm), Value(false), Value(false)});
    }

    /// The keys in the machine's variables, by name; what nobody has written is as of a new one.
    std::map<std::string, std::string> keys() {
        const std::string kept = host().kept(row().uuid, agent::StateKind::nvram);
        std::map<std::string, std::string> out;
        const EfiVariables variables(kept.empty() ? host().fresh_variables : kept);
        for (const auto& [name, key] : keys_of(variables))
            out.emplace(name, key.data.substr(44));
        return out;
    }

    /// The guest writes a variable of its own.
    void guest_writes(const std::string& name) {
        const std::string kept = host().kept(row().uuid, agent::StateKind::nvram);
        EfiVariables variables(kept.empty() ? host().fresh_variables : kept);
        variables.set({.name = domain::efi_name(name), .vendor = domain::efi_global_guid});
        host().write_state(row().uuid, agent::StateKind::nvram, variables.flash());
        pool.pass(1s);
    }

    bool has(const std::string& name) {
        const EfiVariables variables(host().kept(row().uuid, agent::StateKind::nvram));
        return variables.find(name, domain::efi_global_guid) != nullptr;
    }

    Readiness readiness() { return pool.get<Readiness>("VM.get_secureboot_readiness", {of(vm)}); }

    xenapi::PoolGuestSecurebootReadiness pool_readiness() {
        return pool.get<xenapi::PoolGuestSecurebootReadiness>("pool.get_guest_secureboot_readiness",
                                                              {of(pool.xapi->core().pool)});
    }

    SimPool pool{53};
    Ref<Vm> vm;
};

TEST_F(SecureBoot, a_new_vm_has_the_firmwares_keys_until_the_pool_has_its_own) {
    EXPECT_EQ(pool_readiness(), xenapi::PoolGuestSecurebootReadiness::ready_no_dbx);
    EXPECT_EQ(readiness(), Readiness::first_boot);
    restart();
    EXPECT_EQ(host().kept(row().uuid, agent::StateKind::nvram), "");
    guest_writes("Boot0001");
    EXPECT_EQ(readiness(), Readiness::ready_no_dbx);

    EXPECT_EQ(
        code("pool.set_custom_uefi_certificates", {of(pool.xapi->core().pool), Value("no base64")}),
        "INVALID_VALUE");
    set_keys(keys_of_pool("our"));
    EXPECT_EQ(pool.db().get(pool.xapi->core().pool).uefi_certificates, keys_of_pool("our"));
    EXPECT_EQ(pool_readiness(), xenapi::PoolGuestSecurebootReadiness::ready);
    // What a guest has written is left alone.
    EXPECT_EQ(row().secureboot_certificates_state, Certificates::update_available);
    restart();
    EXPECT_EQ(keys().at("PK"), "maker PK");
    EXPECT_EQ(row().secureboot_certificates_state, Certificates::update_available);

    pool.call("VM.hard_shutdown", {of(vm)});
    vm = new_vm("other");
    EXPECT_EQ(code("VM.start", {of(vm), Value(false), Value(false)}), "success");
    EXPECT_THAT(keys(), ElementsAre(Pair("KEK", "our KEK"), Pair("PK", "our PK"),
                                    Pair("db", "our db"), Pair("dbx", "our dbx")));
    EXPECT_EQ(row().secureboot_certificates_state, Certificates::ok);
    EXPECT_EQ(readiness(), Readiness::ready);
}

TEST_F(SecureBoot, newer_keys_come_when_the_vm_is_marked) {
    restart();
    guest_writes("Boot0001");
    set_keys(keys_of_pool("our"));
    const auto mark = [&](bool on) {
        pool.call("VM.update_secureboot_certificates_on_boot", {of(vm), Value(on)});
        return row().secureboot_certificates_state;
    };
    EXPECT_EQ(mark(true), Certificates::update_on_boot);
    EXPECT_EQ(mark(false), Certificates::update_available);
    EXPECT_EQ(mark(true), Certificates::update_on_boot);
    restart();
    EXPECT_EQ(keys().at("db"), "our db");
    EXPECT_TRUE(has("Boot0001"));
    EXPECT_EQ(row().secureboot_certificates_state, Certificates::ok);
    // Or the pool says so for all of them.
    set_keys(keys_of_pool("newer"));
    pool.db().transact([&](db::Txn& txn) {
        txn.edit(pool.xapi->core().pool).auto_update_vm_secureboot_certificates = true;
    });
    restart();
    EXPECT_EQ(keys().at("db"), "newer db");
    set_keys("");
    restart();
    EXPECT_EQ(keys().at("db"), "maker db");
    EXPECT_TRUE(has("Boot0001"));
}

TEST_F(SecureBoot, the_mode_is_changed_at_the_next_start) {
    const auto set_mode = [&](const char* mode) {
        return code("VM.set_uefi_mode", {of(vm), Value(mode)});
    };
    EXPECT_EQ(set_mode("setup"), "success");
    EXPECT_EQ(readiness(), Readiness::setup_mode);
    restart();
    EXPECT_FALSE(keys().contains("PK"));
    EXPECT_EQ(keys().at("db"), "maker db");
    EXPECT_FALSE(row().NVRAM.contains(std::string("EFI-variables-on-boot")));
    EXPECT_EQ(set_mode("user"), "VM_BAD_POWER_STATE");
    guest_writes("Boot0001");
    EXPECT_EQ(readiness(), Readiness::setup_mode);
    // Newer keys do not end it.
    set_keys(keys_of_pool("our"));
    pool.call("VM.update_secureboot_certificates_on_boot", {of(vm), Value(true)});
    restart();
    EXPECT_THAT(keys(),
                ElementsAre(Pair("KEK", "our KEK"), Pair("db", "our db"), Pair("dbx", "our dbx")));
    pool.call("VM.hard_shutdown", {of(vm)});
    EXPECT_EQ(set_mode("user"), "success");
    EXPECT_EQ(readiness(), Readiness::ready);
    restart();
    EXPECT_EQ(keys().at("PK"), "our PK");
    EXPECT_TRUE(has("Boot0001"));
    pool.call("VM.hard_shutdown", {of(vm)});
    pool.call("VM.add_to_NVRAM", {of(vm), Value("EFI-variables-on-boot"), Value("reset")});
    restart();
    EXPECT_EQ(keys().at("PK"), "our PK");
    EXPECT_FALSE(has("Boot0001"));
}

TEST_F(SecureBoot, variables_go_where_the_vm_goes) {
    restart();
    guest_writes("Boot0001");
    const std::string first = host().kept(row().uuid, agent::StateKind::nvram);
    pool.call("VM.hard_shutdown", {of(vm)});
    const Ref<Vm> web = vm;
    vm = pool.get<Ref<Vm>>("VM.clone", {of(web), Value("copy")});
    restart();
    EXPECT_EQ(host().kept(row().uuid, agent::StateKind::nvram), first);
    guest_writes("Boot0002");
    vm = web;
    EXPECT_FALSE(has("Boot0002"));
    // Another server's variables are in another form: they are nobody's here.
    pool.db().transact([&](db::Txn& txn) { txn.edit(vm).NVRAM = {{"EFI-variables", "VkFSUw=="}}; });
    restart();
    EXPECT_EQ(host().kept(row().uuid, agent::StateKind::nvram), "");
    EXPECT_EQ(row().NVRAM.get(std::string("EFI-variables")), "VkFSUw==");
}

TEST_F(SecureBoot, a_guest_that_sleeps_finds_its_firmware_as_it_was) {
    restart();
    guest_writes("Boot0001");
    pool.pass(5s);
    set_keys(keys_of_pool("our"));
    pool.call("VM.update_secureboot_certificates_on_boot", {of(vm), Value(true)});
    pool.call("VM.suspend", {of(vm)});
    pool.call("VM.resume", {of(vm), Value(false), Value(false)});
    EXPECT_EQ(keys().at("db"), "maker db");
    EXPECT_EQ(row().secureboot_certificates_state, Certificates::update_on_boot);
}

TEST_F(SecureBoot, what_cannot_be_is_refused_and_changes_nothing) {
    const Ref<Vm> bios = pool.insert_vm("bios");
    EXPECT_EQ(code("VM.set_uefi_mode", {of(bios), Value("user")}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("VM.update_secureboot_certificates_on_boot", {of(bios), Value(true)}),
              "OPERATION_NOT_ALLOWED");
    const auto me = of(pool.xapi->core().this_host);
    EXPECT_EQ(code("host.set_uefi_certificates", {me, Value("")}), "OPERATION_NOT_ALLOWED");
    EXPECT_EQ(code("host.write_uefi_certificates_to_disk", {me}), "success");
    pool.call("VM.set_uefi_mode", {of(vm), Value("user")});
    // Of a firmware that is not understood nothing is changed, and the VM does not start.
    host().write_state(row().uuid, agent::StateKind::nvram, "another firmware's");
    pool.pass(1s);
    EXPECT_EQ(code("VM.start", {of(vm), Value(false), Value(false)}), "INTERNAL_ERROR");
    EXPECT_EQ(host().kept(row().uuid, agent::StateKind::nvram), "another firmware's");
    EXPECT_EQ(row().power_state, xenapi::VmPowerState::halted);
    EXPECT_TRUE(row().NVRAM.contains(std::string("EFI-variables-on-boot")));
    // Where machines keep no variables, it starts as ever.
    host().fresh_variables = "";
    host().write_state(row().uuid, agent::StateKind::nvram, "");
    pool.pass(1s);
    restart();
    EXPECT_TRUE(row().NVRAM.contains(std::string("EFI-variables-on-boot")));
    EXPECT_EQ(pool_readiness(), xenapi::PoolGuestSecurebootReadiness::not_ready);
}

}  // namespace
}  // namespace basalt::testing
