#include "base/packing.hpp"

#include <zlib.h>

#include <stdexcept>

namespace basalt {

namespace {

const Bytef* bytes_of(std::string_view text) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the library's kind of byte
    return reinterpret_cast<const Bytef*>(text.data());
}

Bytef* bytes_of(std::string& text) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the library's kind of byte
    return reinterpret_cast<Bytef*>(text.data());
}

}  // namespace

std::string zlib_packed(std::string_view bytes) {
    uLongf size = ::compressBound(bytes.size());
    std::string out(size, '\0');
    if (::compress(bytes_of(out), &size, bytes_of(bytes), bytes.size()) != Z_OK)
        throw std::runtime_error("zlib did not pack " + std::to_string(bytes.size()) + " bytes");
    out.resize(size);
    return out;
}

std::optional<std::string> zlib_unpacked(std::string_view stream, std::size_t bytes_max) {
    uLongf size = bytes_max;
    std::string out(size, '\0');
    if (::uncompress(bytes_of(out), &size, bytes_of(stream), stream.size()) != Z_OK)
        return std::nullopt;
    out.resize(size);
    return out;
}

}  // namespace basalt
