#include "base/uuid.hpp"

#include <cstring>

namespace basalt {

namespace {

/// The two digits of each byte, one after the other.
constexpr std::array<char, 512> hex_pairs = [] {
    constexpr std::string_view digits = "0123456789abcdef";
    std::array<char, 512> pairs{};
    for (std::size_t byte = 0; byte < 256; ++byte) {
        pairs[2 * byte] = digits[byte >> 4U];
        pairs[2 * byte + 1] = digits[byte & 15U];
    }
    return pairs;
}();

bool dash_before(std::size_t byte) {
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

int hex_value(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
    return -1;
}

}  // namespace

Uuid Uuid::from_words(std::uint64_t high, std::uint64_t low) {
    Uuid uuid;
    for (std::size_t i = 0; i < 8; ++i) {
        uuid.bytes_[i] = static_cast<std::uint8_t>(high >> (56 - 8 * i));
        uuid.bytes_[8 + i] = static_cast<std::uint8_t>(low >> (56 - 8 * i));
    }
    uuid.bytes_[6] =
        static_cast<std::uint8_t>((uuid.bytes_[6] & 0x0fU) | 0x40U);  // RFC 9562: version 4
    uuid.bytes_[8] = static_cast<std::uint8_t>((uuid.bytes_[8] & 0x3fU) | 0x80U);
    return uuid;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
    if (text.size() != 36) return std::nullopt;
    Uuid uuid;
    std::size_t at = 0;
    for (std::size_t i = 0; i < 16; ++i) {
        if (dash_before(i) && text[at++] != '-') return std::nullopt;
        const int high = hex_value(text[at]);
        const int low = hex_value(text[at + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        uuid.bytes_[i] = static_cast<std::uint8_t>(high * 16 + low);
        at += 2;
    }
    return uuid;
}

void Uuid::write(char* out) const {
    // Straight on, without a branch: large answers are full of them.
    const auto put = [this, &out](std::size_t from, std::size_t to) {
        for (std::size_t i = from; i < to; ++i, out += 2)
            std::memcpy(out, hex_pairs.data() + std::size_t{2} * bytes_[i], 2);
    };
    put(0, 4);
    *out++ = '-';
    put(4, 6);
    *out++ = '-';
    put(6, 8);
    *out++ = '-';
    put(8, 10);
    *out++ = '-';
    put(10, 16);
}

std::string Uuid::text() const {
    std::string out(36, '\0');
    write(out.data());
    return out;
}

std::size_t Uuid::hash() const {
    // The bytes are random already: any eight of them make a hash.
    std::size_t value = 0;
    std::memcpy(&value, bytes_.data() + 8, sizeof value);
    return value;
}

}  // namespace basalt
