#include "xapi/domain/efi_variables.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace basalt::domain {

const EfiGuid efi_global_guid("\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c",
                              16);
const EfiGuid efi_image_security_guid(
    "\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f", 16);

namespace {

// Where things are, in bytes: EFI_FIRMWARE_VOLUME_HEADER, VARIABLE_STORE_HEADER,
// AUTHENTICATED_VARIABLE_HEADER.
constexpr std::size_t guid_bytes = 16;
constexpr std::size_t volume_signature_at = 40;
constexpr std::size_t volume_header_length_at = 48;
constexpr std::size_t store_size_at = 16;
constexpr std::size_t store_format_at = 20;
constexpr std::size_t store_state_at = 21;
constexpr std::size_t store_header_bytes = 28;
constexpr std::size_t state_at = 2;
constexpr std::size_t attributes_at = 4;
constexpr std::size_t count_at = 8;
constexpr std::size_t timestamp_at = 16;
constexpr std::size_t timestamp_bytes = 16;
constexpr std::size_t key_index_at = 32;
constexpr std::size_t name_size_at = 36;
constexpr std::size_t data_size_at = 40;
constexpr std::size_t vendor_at = 44;
constexpr std::size_t variable_header_bytes = 60;
constexpr std::size_t alignment = 4;

constexpr std::uint16_t variable_begins = 0x55AA;
constexpr std::uint8_t store_formatted = 0x5A;
constexpr std::uint8_t store_healthy = 0xFE;
// Flash is ones at first, and a state clears bit after bit.
constexpr std::uint8_t state_added = 0x3F;
constexpr std::uint8_t state_being_replaced = 0x3E;

const EfiGuid& authenticated_store_guid() {
    static const EfiGuid guid("\x78\x2c\xf3\xaa\x7b\x94\x9a\x43\xa1\x80\x2e\x14\x4e\xc3\x77\x92",
                              guid_bytes);
    return guid;
}

template <class N>
N number_at(std::string_view bytes, std::size_t at) {
    if (at + sizeof(N) > bytes.size()) throw std::invalid_argument("the firmware's flash is short");
    N out = 0;
    for (std::size_t i = sizeof(N); i > 0; --i)
        out = static_cast<N>(out << 8U | static_cast<unsigned char>(bytes[at + i - 1]));
    return out;
}

template <class N>
void append_number(std::string& out, N value) {
    for (std::size_t i = 0; i < sizeof(N); ++i)
        out += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
}

std::size_t aligned(std::size_t at) {
    return (at + alignment - 1) / alignment * alignment;
}

std::string_view piece(std::string_view bytes, std::size_t at, std::size_t size) {
    if (at > bytes.size() || size > bytes.size() - at)
        throw std::invalid_argument("the firmware's flash ends within a variable");
    return bytes.substr(at, size);
}

struct Found {
    EfiVariable variable;
    std::uint8_t state = 0;
    std::size_t next = 0;
};

Found variable_at(std::string_view store, std::size_t at) {
    const std::string_view header = piece(store, at, variable_header_bytes);
    const std::size_t name_size = number_at<std::uint32_t>(header, name_size_at);
    const std::size_t data_size = number_at<std::uint32_t>(header, data_size_at);
    const std::size_t name_at = at + variable_header_bytes;
    std::string_view name = piece(store, name_at, name_size);
    if (name.ends_with(std::string_view("\0\0", 2))) name.remove_suffix(2);
    Found out;
    out.state = static_cast<std::uint8_t>(header[state_at]);
    out.variable.name = name;
    out.variable.vendor = header.substr(vendor_at, guid_bytes);
    out.variable.attributes = number_at<std::uint32_t>(header, attributes_at);
    out.variable.timestamp = header.substr(timestamp_at, timestamp_bytes);
    out.variable.monotonic_count = number_at<std::uint64_t>(header, count_at);
    out.variable.key_index = number_at<std::uint32_t>(header, key_index_at);
    out.variable.data = piece(store, name_at + name_size, data_size);
    out.next = aligned(name_at + name_size + data_size);
    return out;
}

bool is_same(const EfiVariable& a, const EfiVariable& b) {
    return a.name == b.name && a.vendor == b.vendor;
}

std::string bytes_of(const EfiVariable& variable) {
    std::string out;
    append_number(out, variable_begins);
    out += static_cast<char>(state_added);
    out += '\0';
    append_number(out, variable.attributes);
    append_number(out, variable.monotonic_count);
    out += variable.timestamp;
    append_number(out, variable.key_index);
    append_number(out, static_cast<std::uint32_t>(variable.name.size() + 2));
    append_number(out, static_cast<std::uint32_t>(variable.data.size()));
    out += variable.vendor;
    out += variable.name;
    out += std::string_view("\0\0", 2);
    out += variable.data;
    return out;
}

}  // namespace

std::string efi_name(std::string_view ascii) {
    std::string out;
    for (const char c : ascii) {
        out += c;
        out += '\0';
    }
    return out;
}

EfiVariables::EfiVariables(std::string flash) : flash_(std::move(flash)) {
    const std::string_view bytes = flash_;
    if (piece(bytes, volume_signature_at, 4) != "_FVH")
        throw std::invalid_argument("no firmware volume");
    const std::size_t store = number_at<std::uint16_t>(bytes, volume_header_length_at);
    const std::string_view header = piece(bytes, store, store_header_bytes);
    if (!header.starts_with(authenticated_store_guid()) ||
        static_cast<std::uint8_t>(header[store_format_at]) != store_formatted ||
        static_cast<std::uint8_t>(header[store_state_at]) != store_healthy)
        throw std::invalid_argument("no store of authenticated variables");
    begin_ = aligned(store + store_header_bytes);
    end_ = store + number_at<std::uint32_t>(header, store_size_at);
    if (end_ > bytes.size() || begin_ > end_)
        throw std::invalid_argument("the store of variables is larger than its flash");

    std::vector<EfiVariable> replaced;
    const std::string_view within = bytes.substr(0, end_);
    std::size_t at = begin_;
    while (at + variable_header_bytes <= end_ &&
           number_at<std::uint16_t>(within, at) == variable_begins) {
        Found found = variable_at(within, at);
        at = found.next;
        if (found.state == state_added) variables_.push_back(std::move(found.variable));
        if (found.state == state_being_replaced) replaced.push_back(std::move(found.variable));
    }
    // The firmware ended before it had written the new one: the old one counts.
    for (EfiVariable& old : replaced)
        if (std::ranges::none_of(variables_, [&](const auto& one) { return is_same(one, old); }))
            variables_.push_back(std::move(old));
}

const EfiVariable* EfiVariables::find(std::string_view ascii, const EfiGuid& vendor) const {
    const std::string name = efi_name(ascii);
    const auto found = std::ranges::find_if(variables_, [&](const EfiVariable& one) {
        return one.name == name && one.vendor == vendor;
    });
    return found == variables_.end() ? nullptr : &*found;
}

void EfiVariables::set(EfiVariable variable) {
    const auto found = std::ranges::find_if(
        variables_, [&](const EfiVariable& one) { return is_same(one, variable); });
    if (found == variables_.end()) {
        variables_.push_back(std::move(variable));
    } else {
        *found = std::move(variable);
    }
}

void EfiVariables::remove(std::string_view ascii, const EfiGuid& vendor) {
    const std::string name = efi_name(ascii);
    std::erase_if(variables_,
                  [&](const EfiVariable& one) { return one.name == name && one.vendor == vendor; });
}

std::string EfiVariables::flash() const {
    std::string store;
    for (const EfiVariable& variable : variables_) {
        store += bytes_of(variable);
        store.resize(aligned(store.size()), '\xff');
    }
    if (store.size() > end_ - begin_)
        throw std::length_error("the firmware's variables are too large for its flash");
    store.resize(end_ - begin_, '\xff');
    return flash_.substr(0, begin_) + store + flash_.substr(end_);
}

}  // namespace basalt::domain
