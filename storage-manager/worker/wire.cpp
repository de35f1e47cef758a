#include "storage-manager/worker/wire.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <system_error>

#include "base/json.hpp"
#include "idl/errors.hpp"

namespace basalt::sm {

namespace {

constexpr std::size_t inline_bytes_max = std::size_t{512} * 1024;
constexpr std::size_t large_bytes_max = std::size_t{256} * 1024 * 1024;

void write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t sent = ::write(fd, text.data(), text.size());
        if (sent < 0) throw std::system_error(errno, std::generic_category(), "memfd");
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
}

}  // namespace

void to_json(nlohmann::json& json, const Image& value) {
    json = {{"path", value.path}, {"format", value.format}};
}

void from_json(const nlohmann::json& json, Image& value) {
    json.at("path").get_to(value.path);
    json.at("format").get_to(value.format);
}

void to_json(nlohmann::json& json, const Attachment& value) {
    json = {{"chain", value.chain}, {"read_only", value.read_only}};
}

void from_json(const nlohmann::json& json, Attachment& value) {
    json.at("chain").get_to(value.chain);
    json.at("read_only").get_to(value.read_only);
}

rpc::Reply large_reply(const nlohmann::json& value) {
    const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    rpc::Reply reply;
    if (text.size() <= inline_bytes_max) {
        reply.result = value;
        return reply;
    }
    UniqueFd file(memfd_create("answer", MFD_CLOEXEC));
    if (!file) throw std::system_error(errno, std::generic_category(), "memfd");
    write_all(file.get(), text);
    reply.result = nullptr;
    reply.fds.push_back(std::move(file));
    return reply;
}

nlohmann::json read_large(const rpc::Reply& reply) {
    if (reply.fds.empty()) return reply.result;
    struct stat facts{};
    if (fstat(reply.fds[0].get(), &facts) != 0 || facts.st_size < 0 ||
        static_cast<std::size_t>(facts.st_size) > large_bytes_max)
        throw err::internal_error("a worker's answer cannot be read");
    std::string text(static_cast<std::size_t>(facts.st_size), '\0');
    if (pread(reply.fds[0].get(), text.data(), text.size(), 0) != facts.st_size)
        throw err::internal_error("a worker's answer cannot be read");
    return Json::parse(text);
}

}  // namespace basalt::sm
