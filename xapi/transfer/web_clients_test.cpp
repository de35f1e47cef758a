// What is sent to web servers: bundles of a host's state, and posts that test the way.
#include <gtest/gtest.h>

#include <array>

#include "base/error.hpp"
#include "base/sim_loop.hpp"
#include "base/wait.hpp"
#include "xapi/transfer/bugreport.hpp"
#include "xapi/transfer/test_post.hpp"
#include "xapi/transfer/web_address.hpp"

namespace basalt::transfer {
namespace {

/// A server that takes a request to its last words and says `answer`; with none it is silent.
class Server {
  public:
    Server(std::string last_words, std::string answer)
        : last_words_(std::move(last_words)), answer_(std::move(answer)) {}

    [[nodiscard]] SimLoop& loop() { return loop_; }

    Dial dial() {
        return [this](std::string host, std::uint16_t port, bool tls) {
            return connected(std::move(host), port, tls);
        };
    }

    /// How `body` ends: "" or the error.
    std::string end_of(Task<void> body) {
        const auto job = spawn(loop_, "client", std::move(body));
        while (!job->finished() && loop_.step()) {
        }
        try {
            if (job->failure()) std::rethrow_exception(job->failure());
        } catch (const ApiError& error) {
            return error.what();
        }
        return "";
    }

    std::string request;
    std::string dialled;
    bool refuses = false;

  private:
    Task<std::unique_ptr<Stream>> connected(std::string host, std::uint16_t port, bool tls) {
        dialled = host + " " + std::to_string(port) + (tls ? " tls" : "");
        if (refuses) throw ApiError("IMPORT_ERROR", {"collector: connection refused"});
        auto ends = memory_streams(loop_);
        spawn(loop_, "server", serve(std::move(ends.second)));
        co_return std::move(ends.first);
    }

    Task<void> serve(std::unique_ptr<Stream> stream) {
        std::array<char, 4096> buffer{};
        while (!request.ends_with(last_words_)) {
            const std::size_t got = co_await stream->read_some(buffer);
            if (got == 0) co_return;
            request.append(buffer.data(), got);
        }
        if (answer_.empty()) co_await sleep_for(loop_, std::chrono::hours(1));
        co_await stream->write(answer_);
        stream->close();
    }

    std::string last_words_;
    std::string answer_;
    SimLoop loop_{7};
};

struct Posted {
    std::string answer;
    std::string error;
};

Task<void> post_into(Server& server, xenapi::PoolSendTestPost params, std::string* answer) {
    *answer = co_await send_test_post(server.loop(), server.dial(), std::move(params));
}

Posted post(Server& server, xenapi::PoolSendTestPost params) {
    Posted out;
    out.error = server.end_of(post_into(server, std::move(params), &out.answer));
    return out;
}

const xenapi::PoolSendTestPost to_collector{"collector", 4443, "hello"};

TEST(TestPost, answers_what_the_server_answers) {
    Server server("hello", "HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\nno such page");
    EXPECT_EQ(post(server, to_collector).answer, "no such page");
    EXPECT_EQ(server.dialled, "collector 4443 tls");
    EXPECT_TRUE(server.request.starts_with("POST / HTTP/1.0\r\nHost: collector:4443\r\n"));
    EXPECT_NE(server.request.find("Content-Length: 5\r\n"), std::string::npos);
}

TEST(TestPost, says_what_went_wrong) {
    const auto why = [](const std::string& answer) {
        Server server("hello", answer);
        return post(server, to_collector).error;
    };
    EXPECT_EQ(why("220 smtp.example ready\r\n"), "INTERNAL_ERROR(the server does not speak HTTP)");
    EXPECT_EQ(why(""), "INTERNAL_ERROR(the server does not answer)");
    EXPECT_EQ(why("HTTP/1.1 200 OK\r\n\r\n" + std::string(300 << 10, 'x')),
              "INTERNAL_ERROR(the answer is too large)");
    Server closed("hello", "");
    closed.refuses = true;
    EXPECT_EQ(post(closed, to_collector).error, "INTERNAL_ERROR(collector: connection refused)");
    EXPECT_EQ(post(closed, {"collector", 70'000, ""}).error, "INVALID_VALUE(port, 70000)");
    EXPECT_EQ(post(closed, {"a b", 443, ""}).error, "INVALID_VALUE(host, a b)");
}

/// Sends `bytes` to that address; "" or the error.
std::string upload(Server& server, const std::string& url, const std::string& bytes) {
    auto ends = memory_streams(server.loop());
    const auto feed = [](Stream& to, const std::string& all) -> Task<void> {
        co_await to.write(all);
        to.close();
    };
    const auto feeding = spawn(server.loop(), "bundle", feed(*ends.second, bytes));
    std::string error = server.end_of(put_stream(server.loop(), server.dial(), url, *ends.first));
    while (!feeding->finished() && server.loop().step()) {
    }
    return error;
}

TEST(Bugreport, goes_in_chunks_to_a_web_server) {
    Server server("0\r\n\r\n", "HTTP/1.1 201 Created\r\n\r\n");
    EXPECT_EQ(upload(server, "https://me:pass@collector:8443/in?x=1", "a bundle"), "");
    EXPECT_EQ(server.dialled, "collector 8443 tls");
    EXPECT_TRUE(server.request.starts_with("PUT /in?x=1 HTTP/1.1\r\nHost: collector:8443\r\n"));
    EXPECT_NE(server.request.find("Authorization: Basic bWU6cGFzcw==\r\n"), std::string::npos);
    EXPECT_TRUE(server.request.ends_with("\r\n\r\n8\r\na bundle\r\n0\r\n\r\n"));
}

TEST(Bugreport, says_why_it_was_not_taken) {
    Server full("0\r\n\r\n", "HTTP/1.1 507 Insufficient Storage\r\n\r\n");
    EXPECT_EQ(upload(full, "http://collector/in", "x"), "INTERNAL_ERROR(the server answers 507)");
    EXPECT_EQ(full.dialled, "collector 80");
    Server silent("never said", "");
    EXPECT_EQ(upload(silent, "http://collector/in", "x"),
              "INTERNAL_ERROR(the server does not answer)");
    Server closed("", "");
    closed.refuses = true;
    EXPECT_EQ(upload(closed, "http://collector/in", "x"),
              "INTERNAL_ERROR(collector: connection refused)");
    EXPECT_EQ(upload(closed, "ftp://collector/in", "x"), "INVALID_VALUE(url, ftp://collector/in)");
}

TEST(WebAddress, is_read_as_far_as_http_needs) {
    const WebAddress plain = parse_web_address("HTTP://[fe80::1]:8080?q#part");
    EXPECT_FALSE(plain.tls);
    EXPECT_EQ(plain.host, "fe80::1");
    EXPECT_EQ(plain.host_header, "[fe80::1]:8080");
    EXPECT_EQ(plain.port, 8080);
    EXPECT_EQ(plain.target, "/?q");
    EXPECT_EQ(parse_web_address("https://a%40b:c@host/").user, "a@b:c");
    for (const auto* bad : {"host/in", "http://", "http://host:0/", "http://host:70000/",
                            "http://ho st/", "file:///etc/passwd"})
        EXPECT_THROW((void)parse_web_address(bad), ApiError) << bad;
}

}  // namespace
}  // namespace basalt::transfer
