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

struct Site {
    std::string directory;
    bool single_page = false;  // whether index.html answers for every path that names no file
    Parameters headers{};
};

Found find_file(const Site& site, const std::string& path) {
    if (!is_safe(path)) return {};
    const bool names_file = path.find('.', path.rfind('/')) != std::string::npos;
    if (!names_file && !site.single_page && path != "/") return {};
    Found found;
    found.path = site.directory + (names_file ? path : "/index.html");
    found.file = open_file(found.path);
    return found;
}

Task<void> serve_file(Exchange& exchange, Loop& loop, const Site& site, std::string path) {
    const HttpRequest& request = exchange.request();
    Found found = co_await blocking(loop, [&] { return find_file(site, path); });
    if (!found.file) throw HttpError(not_found(request.path));
    const std::uint64_t size = found.file->size;
    co_await exchange.begin(
        ok_head(request, std::string(type_of(found.path)), size, Parameters(site.headers)), false);
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
    router.add("GET", "/",
               [&loop, site = Site{.directory = std::move(directory), .single_page = true}](
                   Exchange& exchange) {
                   const HttpRequest& request = exchange.request();
                   if (!site.directory.empty())
                       return serve_file(exchange, loop, site, request.path);
                   const bool front_door = request.path == "/" && !request.peer.unix_socket;
                   return exchange.respond(front_door ? forbidden() : not_found(request.path));
               });
}

void add_manual_route(Router& router, Loop& loop, std::string directory) {
    if (directory.empty()) return;
    constexpr std::string_view root = "/docs";
    Site site{.directory = std::move(directory),
              // Pages that run nothing and load nothing but their own style.
              .headers = {{"content-security-policy",
                           "default-src 'none'; style-src 'self'; img-src data:"},
                          {"x-content-type-options", "nosniff"}}};
    router.add("GET", std::string(root), [&loop, site = std::move(site), root](Exchange& exchange) {
        std::string path = exchange.request().path.substr(root.size());
        // Relative links of the front page need the slash.
        if (path.empty()) return exchange.respond(redirect("/docs/"));
        if (path.front() != '/') throw HttpError(not_found(exchange.request().path));
        return serve_file(exchange, loop, site, std::move(path));
    });
}

}  // namespace basalt::server
