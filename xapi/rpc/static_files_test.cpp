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

    std::string get(const std::string& path) {
        auto [near, far] = memory_streams(loop);
        server.serve(std::move(far), Scheme::http, {.address = "192.0.2.1"});
        std::string out;
        spawn(loop, "client",
              testing::exchange_bytes(
                  std::move(near), "GET " + path + " HTTP/1.1\r\nConnection: close\r\n\r\n", out));
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
    EXPECT_TRUE(get("/vms/7").ends_with("\r\n\r\nconsole"));
    EXPECT_FALSE(get("/vms/7").contains("content-security-policy"));
    EXPECT_TRUE(get("/vms/7.js").starts_with("HTTP/1.1 404 Not Found\r\n"));
    EXPECT_TRUE(get("/../secret.html").starts_with("HTTP/1.1 404 Not Found\r\n"));
}

}  // namespace
}  // namespace basalt::server
