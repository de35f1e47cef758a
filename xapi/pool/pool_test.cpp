#include <gtest/gtest.h>

#include <boost/system/system_error.hpp>

#include "base/sim_loop.hpp"
#include "xapi/pool/client.hpp"
#include "xapi/pool/loan.hpp"
#include "xapi/pool/splice.hpp"
#include "xapi/rpc/server.hpp"
#include "xapi/rpc/testing.hpp"

namespace basalt::pool {
namespace {

Task<void> read_all(Stream& stream, std::string& out) {
    std::string buffer(100, '\0');
    for (;;) {
        const std::size_t got = co_await stream.read_some(buffer);
        if (got == 0) co_return;
        out.append(buffer, 0, got);
    }
}

// A server that answers only once the client has said all it has to say.
Task<void> answer_at_the_end(Stream& stream, std::string& heard) {
    co_await read_all(stream, heard);
    co_await stream.write("answer");
    stream.close();
}

TEST(Splice, an_upload_ends_and_its_answer_still_comes) {
    SimLoop loop(1);
    auto [client, client_side] = memory_streams(loop);
    auto [server_side, server] = memory_streams(loop);
    std::string heard;
    std::string answer;
    const auto joined = spawn(loop, "splice", splice(loop, *client_side, *server_side));
    spawn(loop, "server", answer_at_the_end(*server, heard));
    spawn(loop, "client",
          server::testing::exchange_bytes(std::move(client), std::string(1'000'000, 'x'), answer));
    loop.run_for(1min);
    EXPECT_EQ(heard.size(), 1'000'000U);
    EXPECT_EQ(answer, "answer");
    EXPECT_TRUE(joined->finished());
    EXPECT_FALSE(joined->failure());
}

Task<void> hold(Loop& loop, Stream& stream, std::unique_ptr<Stream>* out) {
    Loan loan(loop, stream);
    *out = loan.stream();
    co_await loan.given_back();
}

TEST(Loan, the_lender_waits_until_the_borrower_is_done) {
    SimLoop loop(2);
    auto [near, far] = memory_streams(loop);
    std::unique_ptr<Stream> borrowed;
    const auto lender = spawn(loop, "lender", hold(loop, *near, &borrowed));
    loop.run_for(1s);
    EXPECT_FALSE(lender->finished());
    std::string heard;
    const auto reading = spawn(loop, "reader", read_all(*borrowed, heard));
    spawn(loop, "writer", far->write("bytes"));
    loop.run_for(1s);
    EXPECT_EQ(heard, "bytes");
    borrowed->close();
    loop.run_for(1s);
    EXPECT_TRUE(reading->finished());
    EXPECT_TRUE(lender->finished());
}

TEST(Loan, a_lender_that_is_cancelled_takes_the_stream_back) {
    SimLoop loop(3);
    auto [near, far] = memory_streams(loop);
    std::unique_ptr<Stream> borrowed;
    const auto lender = spawn(loop, "lender", hold(loop, *near, &borrowed));
    std::string heard;
    loop.run_for(1s);
    const auto reading = spawn(loop, "reader", read_all(*borrowed, heard));
    loop.run_for(1s);
    lender->cancel();
    loop.run_for(1s);
    EXPECT_TRUE(lender->finished());
    EXPECT_TRUE(reading->finished()) << "before the stream that it read went";
    near.reset();
    const auto late = spawn(loop, "late", borrowed->write("x"));
    loop.run_for(1s);
    EXPECT_TRUE(late->failure());
}

Task<void> read_answer(std::unique_ptr<Stream> stream, AnswerHead& head, std::string& body) {
    AnswerReader reader(std::move(stream));
    head = co_await reader.head();
    body = co_await reader.body(head.content_length.value_or(0));
}

TEST(AnswerReader, passes_interim_answers_over_and_knows_the_length) {
    SimLoop loop(4);
    auto [near, far] = memory_streams(loop);
    AnswerHead head;
    std::string body;
    const auto job = spawn(loop, "read", read_answer(std::move(near), head, body));
    spawn(loop, "write",
          far->write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
                     "hello and more"));
    loop.run_for(1s);
    EXPECT_TRUE(job->finished());
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.content_length, 5U);
    EXPECT_EQ(head.text, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    EXPECT_EQ(body, "hello");
}

TEST(AnswerReader, refuses_what_is_no_answer) {
    for (const char* text :
         {"HTTP/1.1 two OK\r\n\r\n", "SSH-2.0-x\r\n\r\n",
          "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n", "HTTP/1.1 200 OK\r\n"}) {
        SimLoop loop(5);
        auto [near, far] = memory_streams(loop);
        AnswerHead head;
        std::string body;
        const auto job = spawn(loop, "read", read_answer(std::move(near), head, body));
        spawn(loop, "write", far->write(text));
        loop.run_for(1s);
        far->close();
        loop.run_for(1s);
        EXPECT_TRUE(job->failure()) << text;
    }
}

}  // namespace
}  // namespace basalt::pool
