#include "xapi/rpc/http.hpp"

#include <gtest/gtest.h>

namespace basalt::server {
namespace {

TEST(Http, head_is_read_with_query_cookies_and_lengths) {
    const auto request = parse_head(
        "PUT /import/?session_id=OpaqueRef%3a1&task_id=a+b&flag HTTP/1.0\r\n"
        "Host: h\r\nCookie: session_id=X; other=%41\r\ncontent-length: 1125899906842624\r\n"
        "Expect: 100-Continue\r\n\r\n");
    ASSERT_TRUE(request);
    EXPECT_EQ(request->method, "PUT");
    EXPECT_EQ(request->path, "/import/");
    EXPECT_EQ(*find(request->query, "session_id"), "OpaqueRef:1");
    EXPECT_EQ(*find(request->query, "task_id"), "a b");
    EXPECT_EQ(*find(request->query, "flag"), "");
    EXPECT_EQ(find(request->query, "none"), nullptr);
    EXPECT_EQ(*find(request->cookies, "other"), "A");
    EXPECT_EQ(request->content_length, 1125899906842624U);
    EXPECT_TRUE(request->expect_continue);
    EXPECT_TRUE(request->version_10);
    EXPECT_FALSE(request->keep_alive);
    EXPECT_EQ(*request->header("HOST"), "h");
}

TEST(Http, unknown_version_counts_as_11_and_garbage_as_nothing) {
    ASSERT_TRUE(parse_head("GET / HTTP/3.7\r\n\r\n"));
    EXPECT_FALSE(parse_head("GET / HTTP/3.7\r\n\r\n")->version_10);
    EXPECT_FALSE(parse_head("blah blah\r\n\r\n"));
    EXPECT_FALSE(parse_head("\r\n\r\n"));
    EXPECT_TRUE(parse_head("PATCH / HTTP/1.1\r\n\r\n"));
}

TEST(Http, two_lengths_that_differ_are_refused) {
    EXPECT_FALSE(parse_head("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n"));
}

TEST(Http, broken_escapes_stay) {
    EXPECT_EQ(percent_decoded("%zz%4", false), "%zz%4");
    EXPECT_EQ(percent_decoded("a%20b", false), "a b");
}

TEST(Http, basic_credentials) {
    const auto credentials = parse_basic("Basic cm9vdDp4Onk=");
    ASSERT_TRUE(credentials);
    EXPECT_EQ(credentials->user, "root");
    EXPECT_EQ(credentials->password, "x:y");
    EXPECT_FALSE(parse_basic("Bearer x"));
    EXPECT_FALSE(parse_basic("Basic !!"));
}

TEST(Http, header_values_cannot_start_headers) {
    ResponseHead head;
    head.headers = {{"Location", "https://a/\r\nSet-Cookie: x"}};
    EXPECT_EQ(head.text(), "HTTP/1.1 200 OK\r\nLocation: https://a/Set-Cookie: x\r\n\r\n");
}

TEST(Http, a_page_of_another_site_is_foreign) {
    const auto foreign = [](const std::string& headers) {
        const auto request = parse_head("GET /console HTTP/1.1\r\n" + headers + "\r\n");
        return request && from_foreign_page(*request);
    };
    EXPECT_FALSE(foreign("Host: pool.example\r\n")) << "no browser";
    EXPECT_FALSE(foreign("Host: pool.example\r\nOrigin: https://pool.example\r\n"));
    EXPECT_FALSE(foreign("Host: Pool.example:443\r\nOrigin: https://pool.example\r\n"));
    EXPECT_FALSE(foreign("Host: [::1]:8443\r\nOrigin: https://[::1]:8443\r\n"));
    EXPECT_TRUE(foreign("Host: pool.example\r\nOrigin: https://evil.example\r\n"));
    EXPECT_TRUE(foreign("Host: pool.example\r\nOrigin: https://pool.example.evil\r\n"));
    EXPECT_TRUE(foreign("Host: pool.example\r\nOrigin: https://pool.example:8080\r\n"));
    EXPECT_TRUE(foreign("Host: pool.example\r\nOrigin: null\r\n"));
    EXPECT_TRUE(foreign("Host: pool.example\r\nOrigin: file://pool.example\r\n"));
    EXPECT_TRUE(foreign("Origin: https://pool.example\r\n"));
}

}  // namespace
}  // namespace basalt::server
