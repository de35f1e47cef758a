// Files for GET: the web UI for every path, the manual under /docs and nothing beside it.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "xapi/rpc/endpoints.hpp"
#include "xapi/rpc/server.hpp"
#include "xapi/rpc/testing.hpp"

namespace basalt::server {
namespace {

namespace fs = std::filesystem;

class StaticFiles : public ::testing::Test {
  protected:
    StaticFiles() : server(loop, router, nullptr, limits) {
        std::string pattern = (fs::temp_directory_path() / "basalt-static-XXXXXX").string();
        folder = ::mkdtemp(pattern.data());
        write("manual/index.html", "front");
        write("manual/VM.html", "about VMs");
        write("manual/style.css", "body {}");
        write("manual/.hidden.html", "hidden");
        write("web/index.html", "console");
        write("secret.html", "secret");
    }

    ~StaticFiles() override { fs::remove_all(folder); }

    StaticFiles(const StaticFiles&) = delete;
    StaticFiles& operator=(const StaticFiles&) = delete;

    void write(const std::string& name, const std::string& text) const {
        fs::create_directories((folder / name).parent_path());
        std::ofstream(folder / name) << text;
    }

    std::string get(const std::string& path, const std::string& headers = "") {
        auto [near, far] = memory_streams(loop);
        server.serve(std::move(far), Scheme::http, {.address = "192.0.2.1"});
        std::string out;
        spawn(loop, "client",
              testing::exchange_bytes(
                  std::move(near),
                  "GET " + path + " HTTP/1.1\r\nConnection: close\r\n" + headers + "\r\n", out));
        EXPECT_TRUE(loop.run_for(1h));
        return out;
    }

    fs::path folder;
    SimLoop loop{1};
    Router router;
    Limits limits;
    Server server;
};

TEST_F(StaticFiles, the_manual_has_a_front_page_and_pages) {
    add_manual_route(router, loop, folder / "manual");
    EXPECT_TRUE(get("/docs").contains("302 Found"));
    EXPECT_TRUE(get("/docs").contains("Location: /docs/\r\n"));
    EXPECT_TRUE(get("/docs/").ends_with("\r\n\r\nfront"));
    const std::string page = get("/docs/VM.html?from=mail");
    EXPECT_TRUE(page.starts_with("HTTP/1.1 200 OK\r\n"));
    EXPECT_TRUE(page.contains("content-type: text/html; charset=utf-8\r\n"));
    EXPECT_TRUE(page.contains("content-security-policy: default-src 'none';"));
    EXPECT_TRUE(page.ends_with("\r\n\r\nabout VMs"));
    EXPECT_TRUE(get("/docs/style.css").contains("content-type: text/css\r\n"));
}

TEST_F(StaticFiles, what_is_no_page_of_the_manual_is_not_found) {
    add_manual_route(router, loop, folder / "manual");
    add_static_route(router, loop, folder / "web");
    for (const char* path :
         {"/docs/None.html", "/docs/VM", "/docs/sub/", "/docsVM.html", "/docs/../secret.html",
          "/docs/%2e%2e/secret.html", "/docs/.hidden.html", "/docs/VM.html/"}) {
        const std::string answer = get(path);
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 404 Not Found\r\n")) << path << "\n" << answer;
    }
}

TEST_F(StaticFiles, without_a_folder_there_is_no_manual) {
    add_manual_route(router, loop, "");
    EXPECT_TRUE(get("/docs/").starts_with("HTTP/1.1 404 Not Found\r\n"));
}

TEST_F(StaticFiles, the_web_ui_answers_for_paths_that_name_no_file) {
    add_manual_route(router, loop, folder / "manual");
    add_static_route(router, loop, folder / "web");
    const std::string browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    EXPECT_TRUE(get("/vms/7", browser).ends_with("\r\n\r\nconsole"));
    EXPECT_TRUE(get("/vms/7.js", browser).starts_with("HTTP/1.1 404 Not Found\r\n"));
    EXPECT_TRUE(get("/vms/7").starts_with("HTTP/1.1 404 Not Found\r\n"));
    EXPECT_TRUE(get("/vms/7", "Accept: */*\r\n").starts_with("HTTP/1.1 404 Not Found\r\n"));
    EXPECT_TRUE(get("/../secret.html").starts_with("HTTP/1.1 404 Not Found\r\n"));
}

TEST_F(StaticFiles, the_web_ui_runs_nothing_but_its_own_scripts) {
    add_static_route(router, loop, folder / "web");
    const std::string page = get("/");
    EXPECT_TRUE(page.contains("content-security-policy: default-src 'none'; script-src 'self';"));
    EXPECT_TRUE(page.contains("frame-ancestors 'none'\r\n"));
    EXPECT_FALSE(page.contains("unsafe"));
    EXPECT_TRUE(page.contains("x-content-type-options: nosniff\r\n"));
}

TEST_F(StaticFiles, another_web_ui_may_bring_its_policy) {
    add_static_route(router, loop, folder / "web", "default-src 'self'");
    EXPECT_TRUE(get("/").contains("content-security-policy: default-src 'self'\r\n"));
}

TEST_F(StaticFiles, a_console_of_others_is_served_whole_in_place_of_ours) {
    write("lite/index.html", "<script type=module src=/assets/index-4c.js></script>");
    write("lite/assets/index-4c.js", "import './worker-1a.mjs'");
    write("lite/assets/worker-1a.mjs", "export {}");
    write("lite/assets/Poppins-2b.woff", "font");
    write("lite/manifest.webmanifest", "{}");
    write("lite/locales/de.json", "{}");
    add_manual_route(router, loop, folder / "manual");
    add_static_route(router, loop, folder / "lite", "default-src 'self' 'unsafe-inline'");

    struct Part {
        std::string path;
        std::string type;
    };

    const std::string browser = "Accept: text/html,*/*;q=0.8\r\n";
    for (const Part& part : {Part{"/", "text/html; charset=utf-8"},
                             Part{"/pool/5f0c/tasks", "text/html; charset=utf-8"},
                             Part{"/assets/index-4c.js", "text/javascript"},
                             Part{"/assets/worker-1a.mjs", "text/javascript"},
                             Part{"/assets/Poppins-2b.woff", "font/woff"},
                             Part{"/manifest.webmanifest", "application/manifest+json"},
                             Part{"/locales/de.json", "application/json"}}) {
        const std::string answer = get(part.path, browser);
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << part.path;
        EXPECT_TRUE(answer.contains("content-type: " + part.type + "\r\n")) << answer;
        EXPECT_TRUE(answer.contains("content-security-policy: default-src 'self' 'unsafe-inline'"))
            << part.path;
    }
    EXPECT_TRUE(get("/docs/VM.html", browser).ends_with("about VMs"));
    EXPECT_FALSE(get("/", browser).contains("console"));
}

TEST_F(StaticFiles, a_compressed_copy_goes_to_who_takes_it) {
    write("web/assets/main-1f.js", "plain");
    write("web/assets/main-1f.js.gz", "zipped");
    write("web/assets/main-1f.js.br", "brotli");
    add_static_route(router, loop, folder / "web");
    const std::string small = get("/assets/main-1f.js", "Accept-Encoding: gzip, deflate, br\r\n");
    EXPECT_TRUE(small.contains("content-encoding: br\r\n"));
    EXPECT_TRUE(small.contains("content-type: text/javascript\r\n"));
    EXPECT_TRUE(small.contains("vary: accept-encoding\r\n"));
    EXPECT_TRUE(small.ends_with("\r\n\r\nbrotli"));
    EXPECT_TRUE(get("/assets/main-1f.js", "Accept-Encoding: gzip;q=0.8, br;q=0.0\r\n")
                    .ends_with("\r\n\r\nzipped"));
    for (const char* none : {"", "Accept-Encoding: identity\r\n", "Accept-Encoding: brotli\r\n",
                             "Accept-Encoding: br;q=0\r\n"}) {
        const std::string plain = get("/assets/main-1f.js", none);
        EXPECT_FALSE(plain.contains("content-encoding")) << none;
        EXPECT_TRUE(plain.ends_with("\r\n\r\nplain")) << none;
    }
}

TEST_F(StaticFiles, what_is_named_after_its_contents_is_kept_and_the_rest_asked_for_by_its_tag) {
    write("web/assets/main-1f.js", "plain");
    add_static_route(router, loop, folder / "web");
    EXPECT_TRUE(get("/assets/main-1f.js")
                    .contains("cache-control: public, max-age=31536000, immutable\r\n"));
    const std::string page = get("/");
    EXPECT_TRUE(page.contains("cache-control: no-cache\r\n"));
    const std::size_t at = page.find("etag: ") + 6;
    const std::string tag = page.substr(at, page.find("\r\n", at) - at);
    const std::string again = get("/hosts", "Accept: text/html\r\nIf-None-Match: " + tag + "\r\n");
    EXPECT_TRUE(again.starts_with("HTTP/1.1 304 Not Modified\r\n")) << again;
    EXPECT_TRUE(again.ends_with("\r\n\r\n"));
    EXPECT_TRUE(again.contains("etag: " + tag));
    write("web/index.html", "changed");
    EXPECT_TRUE(get("/", "If-None-Match: " + tag + "\r\n").ends_with("\r\n\r\nchanged"));
}

}  // namespace
}  // namespace basalt::server
