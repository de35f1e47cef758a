#include "xapi/domain/secure_boot_keys.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "base/encoding.hpp"
#include "idl/errors.hpp"

namespace basalt::domain {

namespace {

constexpr auto names = std::to_array<const char*>({"PK", "KEK", "db", "dbx"});
// EDK2's OvmfPkg: PcdMaxAuthVariableSize, less the variable's header and name.
constexpr std::size_t data_bytes_max = 0x8400 - 0x80;
// Non-volatile, for the boot and for the running system, changed by who has the key.
constexpr std::uint32_t attributes = 0x27;

constexpr std::size_t time_bytes = 16;
constexpr std::size_t certificate_header_bytes = 24;
constexpr std::size_t list_header_bytes = 28;
constexpr std::size_t owner_bytes = 16;
constexpr std::uint16_t certificate_type_guid = 0x0EF1;

struct FreeReader {
    void operator()(archive* reader) const { archive_read_free(reader); }
};

[[noreturn]] void refuse(const std::string& why) {
    throw err::invalid_value("custom_uefi_certificates", why);
}

const EfiGuid& vendor_of(std::string_view name) {
    return name == "PK" || name == "KEK" ? efi_global_guid : efi_image_security_guid;
}

std::uint64_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
    std::uint64_t out = 0;
    for (std::size_t i = size; i > 0; --i)
        out = out << 8U | static_cast<unsigned char>(bytes[at + i - 1]);
    return out;
}

/// How many signatures lists have; nothing for what are no lists.
std::optional<std::size_t> count_signatures(std::string_view lists) {
    std::size_t count = 0;
    while (!lists.empty()) {
        if (lists.size() < list_header_bytes) return std::nullopt;
        const std::uint64_t size = number_at(lists, 16, 4);
        const std::uint64_t header = number_at(lists, 20, 4);
        const std::uint64_t one = number_at(lists, 24, 4);
        if (size > lists.size() || size < list_header_bytes + header || one <= owner_bytes)
            return std::nullopt;
        const std::uint64_t all = size - list_header_bytes - header;
        if (all % one != 0) return std::nullopt;
        count += all / one;
        lists.remove_prefix(size);
    }
    return count;
}

/// Makers of variables put the hash of nothing where a list must not be empty.
bool revokes_nothing(std::string_view lists) {
    static const std::string hash_of_nothing = sha256_hex("");
    if (count_signatures(lists).value_or(0) != 1) return false;
    const std::uint64_t header = number_at(lists, 20, 4);
    const std::string_view hash = lists.substr(list_header_bytes + header + owner_bytes);
    std::string hex;
    for (const char byte : hash) {
        constexpr std::string_view digits = "0123456789abcdef";
        hex += digits[static_cast<unsigned char>(byte) >> 4U];
        hex += digits[static_cast<unsigned char>(byte) & 15U];
    }
    return hex == hash_of_nothing;
}

EfiVariable signed_variable(const std::string& name, std::string_view file) {
    if (file.size() < time_bytes + certificate_header_bytes) refuse(name + ".auth is too short");
    const std::uint64_t certificate = number_at(file, time_bytes, 4);
    if (number_at(file, time_bytes + 6, 2) != certificate_type_guid ||
        certificate < certificate_header_bytes || certificate > file.size() - time_bytes)
        refuse(name + ".auth is no signed variable");
    const std::string_view lists = file.substr(time_bytes + certificate);
    if (lists.size() > data_bytes_max) refuse(name + ".auth is too large");
    const auto signatures = count_signatures(lists);
    if (!signatures || *signatures == 0) refuse(name + ".auth holds no signatures");
    EfiVariable out;
    out.name = efi_name(name);
    out.vendor = vendor_of(name);
    out.attributes = attributes;
    out.timestamp = file.substr(0, time_bytes);
    out.data = lists;
    return out;
}

std::string contents_of(archive* reader) {
    std::string out;
    std::array<char, 4096> buffer{};
    for (;;) {
        const la_ssize_t got = archive_read_data(reader, buffer.data(), buffer.size());
        if (got < 0) refuse("The archive is damaged");
        if (got == 0) return out;
        out.append(buffer.data(), static_cast<std::size_t>(got));
        if (out.size() > 2 * data_bytes_max) refuse("A file of the archive is too large");
    }
}

std::string_view file_name(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

}  // namespace

SecureBootKeys parse_key_archive(const std::string& base64_text) {
    const std::optional<std::string> bytes = from_base64(base64_text);
    if (!bytes || bytes->empty()) refuse("This is not base64");
    const std::unique_ptr<archive, FreeReader> reader(archive_read_new());
    archive_read_support_format_tar(reader.get());
    archive_read_support_filter_gzip(reader.get());
    if (archive_read_open_memory(reader.get(), bytes->data(), bytes->size()) != ARCHIVE_OK)
        refuse("This is no tar archive");
    SecureBootKeys out;
    for (archive_entry* entry = nullptr;;) {
        const int status = archive_read_next_header(reader.get(), &entry);
        if (status == ARCHIVE_EOF) break;
        if (status != ARCHIVE_OK && status != ARCHIVE_WARN) refuse("This is no tar archive");
        const char* path = archive_entry_pathname(entry);
        for (const std::string name : names)
            if (path != nullptr && file_name(path) == name + ".auth")
                out.insert_or_assign(name, signed_variable(name, contents_of(reader.get())));
    }
    for (const std::string name : {"PK", "KEK", "db"})
        if (!out.contains(name)) refuse(name + ".auth is not in the archive");
    return out;
}

SecureBootKeys keys_of(const EfiVariables& variables) {
    SecureBootKeys out;
    for (const std::string name : names)
        if (const EfiVariable* found = variables.find(name, vendor_of(name)))
            out.emplace(name, *found);
    return out;
}

void enrol(EfiVariables& variables, const SecureBootKeys& keys) {
    for (const auto& [name, variable] : keys)
        variables.set(variable);
}

KeysWorth worth_of(const SecureBootKeys& keys) {
    if (!keys.contains("PK")) return KeysWorth::none;
    if (!keys.contains("KEK") || !keys.contains("db")) return KeysWorth::incomplete;
    const auto dbx = keys.find("dbx");
    const bool empty = dbx == keys.end() || revokes_nothing(dbx->second.data);
    return empty ? KeysWorth::no_dbx : KeysWorth::full;
}

}  // namespace basalt::domain
