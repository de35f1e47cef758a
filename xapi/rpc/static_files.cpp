#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "base/fd.hpp"
#include "base/wait.hpp"
#include "xapi/rpc/endpoints.hpp"

namespace basalt::server {

namespace {

constexpr std::size_t piece = std::size_t{64} * 1024;
constexpr std::size_t tagged_bytes_max = std::size_t{256} * 1024;  // read whole, to be hashed

// A page of ours loads what lies beside it and talks to this host; no frame, form or foreign
// origin. Images may come out of memory: a guest's screen, its pointer.
constexpr std::string_view strict_policy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

struct OpenFile {
    UniqueFd fd;
    std::uint64_t size = 0;
};

std::string_view type_of(std::string_view path) {
    struct Known {
        std::string_view suffix;
        std::string_view type;
    };

    // With `nosniff` a browser takes no script, style or font of another type.
    static constexpr std::array<Known, 19> known = {{{".html", "text/html; charset=utf-8"},
                                                     {".js", "text/javascript"},
                                                     {".mjs", "text/javascript"},
                                                     {".css", "text/css"},
                                                     {".json", "application/json"},
                                                     {".webmanifest", "application/manifest+json"},
                                                     {".map", "application/json"},
                                                     {".svg", "image/svg+xml"},
                                                     {".png", "image/png"},
                                                     {".jpg", "image/jpeg"},
                                                     {".webp", "image/webp"},
                                                     {".gif", "image/gif"},
                                                     {".ico", "image/x-icon"},
                                                     {".woff2", "font/woff2"},
                                                     {".woff", "font/woff"},
                                                     {".ttf", "font/ttf"},
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
    std::string path;      // of the plain file, which tells the type
    std::string encoding;  // of the compressed copy that is served instead of it, or empty
    std::string text;      // the whole of a file that has a tag
    std::string tag;       // of the contents; empty: the name changes with them, or it is large
};

struct Site {
    std::string directory;
    bool single_page = false;  // whether index.html answers a browser for paths that name no file
    Parameters headers{};
};

/// What builders name after its contents never changes under its name.
bool is_immutable(std::string_view path) {
    return path.starts_with("/assets/");
}

/// Whether a list such as `gzip, br;q=0.5` takes an encoding.
bool accepts(const HttpRequest& request, std::string_view encoding) {
    const std::string* list = request.header("accept-encoding");
    std::string_view rest = list == nullptr ? std::string_view{} : std::string_view(*list);
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find(','), rest.size());
        std::string_view one = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        one.remove_prefix(std::min(one.find_first_not_of(' '), one.size()));
        if (!one.starts_with(encoding)) continue;
        one.remove_prefix(encoding.size());
        if (one.empty() || one.front() == ' ') return true;
        // Refused by a weight of zero, in any of its spellings.
        if (one.front() == ';') return one.find_first_of("123456789") != std::string_view::npos;
    }
    return false;
}

/// Who opens a page says so; a program that asks for what there is not is told.
bool is_browser(const HttpRequest& request) {
    const std::string* accepted = request.header("accept");
    return accepted != nullptr && accepted->contains("text/html");
}

/// In quotes, as headers carry it: half of SHA-256, in hexadecimal digits.
std::string tag_of(std::string_view contents) {
    constexpr std::size_t used = 16;
    constexpr std::string_view digits = "0123456789abcdef";
    std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
    std::size_t size = 0;
    if (EVP_Q_digest(nullptr, "SHA256", nullptr, contents.data(), contents.size(), hash.data(),
                     &size) != 1)
        return "";
    std::string out = "\"";
    for (const unsigned char byte : std::span(hash).first(used)) {
        out += digits[byte >> 4U];
        out += digits[byte & 15U];
    }
    return out + "\"";
}

/// A whole small file; nullopt when it is shorter than it was.
std::optional<std::string> read_all(const OpenFile& file) {
    std::string text(static_cast<std::size_t>(file.size), '\0');
    std::size_t have = 0;
    while (have < text.size()) {
        const ssize_t got = ::read(file.fd.get(), text.data() + have, text.size() - have);
        if (got <= 0) return std::nullopt;
        have += static_cast<std::size_t>(got);
    }
    return text;
}

/// The file of a path, or the compressed copy beside it that the client takes.
Found find_file(const Site& site, const HttpRequest& request, const std::string& path) {
    if (!is_safe(path)) return {};
    const bool names_file = path.find('.', path.rfind('/')) != std::string::npos;
    if (!names_file && path != "/" && !(site.single_page && is_browser(request))) return {};
    Found found;
    found.path = site.directory + (names_file ? path : "/index.html");

    struct Copy {
        std::string_view encoding;
        std::string_view suffix;
    };

    for (const Copy copy : {Copy{"br", ".br"}, Copy{"gzip", ".gz"}}) {
        if (!accepts(request, copy.encoding)) continue;
        found.file = open_file(found.path + std::string(copy.suffix));
        if (!found.file) continue;
        found.encoding = copy.encoding;
        break;
    }
    if (!found.file) found.file = open_file(found.path);
    if (!found.file || is_immutable(path) || found.file->size > tagged_bytes_max) return found;
    std::optional<std::string> text = read_all(*found.file);
    if (!text) return {};
    found.text = std::move(*text);
    found.tag = tag_of(found.text);
    return found;
}

ResponseHead file_head(const HttpRequest& request, const Site& site, const Found& found,
                       bool immutable) {
    ResponseHead head = ok_head(request, std::string(type_of(found.path)), found.file->size,
                                Parameters(site.headers));
    for (auto& [name, value] : head.headers)
        if (name == "cache-control")
            value = immutable ? "public, max-age=31536000, immutable" : "no-cache";
    head.headers.emplace_back("vary", "accept-encoding");
    if (!found.encoding.empty()) head.headers.emplace_back("content-encoding", found.encoding);
    if (!found.tag.empty()) head.headers.emplace_back("etag", found.tag);
    return head;
}

/// 304: the client's copy still holds.
Response not_modified(ResponseHead head, bool close) {
    head.status = "304 Not Modified";
    std::erase_if(head.headers, [](const auto& header) {
        return header.first == "content-length" || header.first == "content-type" ||
               header.first == "content-encoding";
    });
    return {.head = std::move(head), .body = "", .close = close};
}

Task<void> serve_file(Exchange& exchange, Loop& loop, const Site& site, std::string path) {
    const HttpRequest& request = exchange.request();
    Found found = co_await blocking(loop, [&] { return find_file(site, request, path); });
    if (!found.file) throw HttpError(not_found(request.path));
    ResponseHead head = file_head(request, site, found, is_immutable(path));
    const std::string* known = request.header("if-none-match");
    if (!found.tag.empty() && known != nullptr && known->contains(found.tag)) {
        co_await exchange.respond(not_modified(std::move(head), !request.keep_alive));
        co_return;
    }
    co_await exchange.begin(std::move(head), false);
    if (!found.tag.empty()) {
        co_await exchange.write(found.text);
        co_return;
    }
    std::string buffer(piece, '\0');
    std::uint64_t left = found.file->size;
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

void add_static_route(Router& router, Loop& loop, std::string directory, std::string policy) {
    Site site{.directory = std::move(directory),
              .single_page = true,
              .headers = {{"content-security-policy",
                           policy.empty() ? std::string(strict_policy) : std::move(policy)},
                          {"x-content-type-options", "nosniff"},
                          {"referrer-policy", "no-referrer"},
                          {"cross-origin-opener-policy", "same-origin"}}};
    router.add("GET", "/", [&loop, site = std::move(site)](Exchange& exchange) {
        const HttpRequest& request = exchange.request();
        if (!site.directory.empty()) return serve_file(exchange, loop, site, request.path);
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
