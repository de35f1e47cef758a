#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/fd.hpp"
#include "base/wait.hpp"
#include "xapi/rpc/endpoints.hpp"

namespace basalt::server {

namespace {

constexpr std::size_t piece = std::size_t{64} * 1024;

struct OpenFile {
    UniqueFd fd;
    std::uint64_t size = 0;
};

std::string_view type_of(std::string_view path) {
    struct Known {
        std::string_view suffix;
        std::string_view type;
    };

    static constexpr std::array<Known, 12> known = {{{".html", "text/html; charset=utf-8"},
                                                     {".js", "text/javascript"},
                                                     {".css", "text/css"},
                                                     {".json", "application/json"},
                                                     {".map", "application/json"},
                                                     {".svg", "image/svg+xml"},
                                                     {".png", "image/png"},
                                                     {".ico", "image/x-icon"},
                                                     {".woff2", "font/woff2"},
                                                     {".wasm", "application/wasm"},
                                                     {".txt", "text/plain; charset=utf-8"},
                                                     {".xml", "text/xml"}}};
    for (const Known& one : known)
        if (path.ends_with(one.suffix)) return one.type;
    return "application/octet-stream";
}

bool is_safe(std::string_view path) {
    return path.find("..") == std::string_view::npos && path.find('\0') == std::string_view::npos &&
           !path.contains("/.");
}

std::optional<OpenFile> open_file(const std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
    return OpenFile{std::move(fd), static_cast<std::uint64_t>(status.st_size)};
}

struct Found {
    std::optional<OpenFile> file;
    std::string path;
};

/// The file itself, or the page that a single-page application has for all its paths.
Found find_file(const std::string& directory, const std::string& path) {
    if (!is_safe(path)) return {};
    const bool names_file = path.find('.', path.rfind('/')) != std::string::npos;
    Found found;
    found.path = names_file ? directory + path : directory + "/index.html";
    found.file = open_file(found.path);
    return found;
}

Task<void> serve_file(Exchange& exchange, Loop& loop, const std::string& directory) {
    const HttpRequest& request = exchange.request();
    const std::string path = request.path;
    Found found = co_await blocking(loop, [&] { return find_file(directory, path); });
    if (!found.file) throw HttpError(not_found(path));
    const std::uint64_t size = found.file->size;
    co_await exchange.begin(ok_head(request, std::string(type_of(found.path)), size), false);
    std::string buffer(piece, '\0');
    std::uint64_t left = size;
    while (left > 0) {
        const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(left, piece));
        const int fd = found.file->fd.get();
        const ssize_t got = co_await blocking(
            loop, [&buffer, fd, want] { return ::read(fd, buffer.data(), want); });
        if (got <= 0) {
            exchange.take_over().close();  // shorter than announced: nothing else tells the client
            co_return;
        }
        co_await exchange.write(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
        left -= static_cast<std::uint64_t>(got);
    }
}

}  // namespace

void add_static_route(Router& router, Loop& loop, std::string directory) {
    router.add("GET", "/", [&loop, directory = std::move(directory)](Exchange& exchange) {
        const HttpRequest& request = exchange.request();
        if (!directory.empty()) return serve_file(exchange, loop, directory);
        const bool front_door = request.path == "/" && !request.peer.unix_socket;
        return exchange.respond(front_door ? forbidden() : not_found(request.path));
    });
}

}  // namespace basalt::server
