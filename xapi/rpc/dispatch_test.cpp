#include "xapi/rpc/dispatch.hpp"

#include <gtest/gtest.h>

#include "idl/records/role.hpp"
#include "idl/records/session.hpp"
#include "idl/records/subject.hpp"
#include "idl/records/task.hpp"
#include "idl/records/vm.hpp"
#include "xapi/core/expression.hpp"
#include "xapi/rpc/wire_house.hpp"

namespace basalt::server {
namespace {

using testing::WireHouse;
using xenapi::Ref;

const Peer tcp{.address = "192.0.2.7"};

std::string json_request(const std::string& method, const std::string& params,
                         const std::string& headers = {}) {
    const std::string body =
        R"({"jsonrpc":"2.0","method":")" + method + R"(","params":[)" + params + R"(],"id":0})";
    return "POST /jsonrpc HTTP/1.1\r\n" + headers +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string quoted(const std::string& text) {
    return "\"" + text + "\"";
}

struct Office : WireHouse {
    /// The session of somebody with that role.
    Ref<xenapi::Session> session_of(const std::string& role) {
        return database.transact([&](db::Txn& txn) {
            xenapi::Role row;
            row.name_label = role;
            xenapi::Subject subject;
            subject.roles = {txn.insert(row)};
            xenapi::Session session;
            session.subject = txn.insert(subject);
            session.last_active = xenapi::DateTime{core.now_seconds()};
            return txn.insert(session);
        });
    }

    Ref<xenapi::Session> root() {
        xenapi::Session session;
        session.is_local_superuser = true;
        session.last_active = xenapi::DateTime{core.now_seconds()};
        return database.transact([&](db::Txn& txn) { return txn.insert(session); });
    }

    Ref<xenapi::Vm> vm(std::string label) {
        xenapi::Vm row;
        row.name_label = std::move(label);
        return database.transact([&](db::Txn& txn) { return txn.insert(row); });
    }

    std::string call(const std::string& method, const std::string& params,
                     const std::string& headers = {}) {
        const std::string answer = ask(json_request(method, params, headers), tcp);
        return answer.substr(answer.find("\r\n\r\n") + 4);
    }
};

TEST(Dispatch, roles_decide_and_keys_have_their_own) {
    Office office;
    const std::string vm = quoted(office.vm("a").text());
    const std::string reader = quoted(office.session_of("read-only").text());
    const std::string operator_ = quoted(office.session_of("vm-operator").text());
    EXPECT_NE(office.call("VM.get_name_label", reader + "," + vm).find("\"result\":\"a\""),
              std::string::npos);
    EXPECT_EQ(office.call("VM.set_name_label", reader + "," + vm + ",\"b\""),
              R"({"jsonrpc":"2.0","error":{"code":1,"message":"RBAC_PERMISSION_DENIED","data":)"
              R"(["vm.set_name_label","No permission in user session"]},"id":0})");
    EXPECT_NE(office.call("VM.add_tags", operator_ + "," + vm + ",\"t\"").find("\"result\":\"\""),
              std::string::npos);
    const std::string folder =
        office.call("VM.add_to_other_config", operator_ + "," + vm + ",\"folder\",\"/x\"");
    EXPECT_NE(folder.find("\"result\":\"\""), std::string::npos) << folder;
    const std::string other =
        office.call("VM.add_to_other_config", operator_ + "," + vm + ",\"other\",\"x\"");
    EXPECT_NE(other.find("vm.add_to_other_config\""), std::string::npos) << other;
}

TEST(Dispatch, names_in_both_spellings_and_modes) {
    Office office;
    const std::string root = quoted(office.root().text());
    const std::string vm = quoted(office.vm("a").text());
    EXPECT_NE(office.call("VM_get_all", root).find("[\"OpaqueRef:"), std::string::npos);
    EXPECT_NE(office.call("Async.VM.get_all", root)
                  .find("No async mode for this operation (rpc: VM.get_all)"),
              std::string::npos);
    EXPECT_NE(office.call("Async.VM.clone", root).find("\"data\":[\"VM.clone\",\"2\",\"0\"]"),
              std::string::npos);
    EXPECT_NE(office.call("VM.clone", "").find("\"data\":[\"VM.clone\",\"2\",\"-1\"]"),
              std::string::npos);
    EXPECT_NE(office.call("nothing.at_all", "\"OpaqueRef:x\"").find("SESSION_INVALID"),
              std::string::npos);
    EXPECT_NE(office.call("nothing.at_all", root).find("MESSAGE_METHOD_UNKNOWN"),
              std::string::npos);
    EXPECT_NE(office.call("system.isAlive:x", "\"me\"").find("\"result\":\"me\""),
              std::string::npos);
    EXPECT_NE(office.call("VMPP.get_all", root).find("MESSAGE_REMOVED"), std::string::npos);
}

TEST(Dispatch, decoding_comes_before_session_and_role) {
    Office office;
    const std::string vm = quoted(office.vm("a").text());
    const std::string reader = quoted(office.session_of("read-only").text());
    const std::string nobody = quoted("OpaqueRef:nobody");
    const auto code = [&](const std::string& method, const std::string& params) {
        const std::string answer = office.call(method, params);
        const std::size_t at = answer.find("\"message\":\"") + 11;
        return answer.substr(at, answer.find('"', at) - at);
    };
    for (const std::string& who : {nobody, reader})
        EXPECT_EQ(code("VM.set_VCPUs_max", who + "," + vm + ",\"many\""), "INTERNAL_ERROR");
    EXPECT_EQ(code("VM.set_VCPUs_max", nobody + "," + vm + ",\"2\""), "SESSION_INVALID");
    EXPECT_EQ(code("VM.set_VCPUs_max", reader + "," + vm + ",\"2\""), "RBAC_PERMISSION_DENIED");
    // A reference that is none is no matter of decoding.
    EXPECT_EQ(code("VM.set_VCPUs_max", nobody + ",\"x\",\"2\""), "SESSION_INVALID");
}

TEST(Dispatch, the_task_of_an_async_call_fails_for_want_of_a_role) {
    Office office;
    const std::string vm = quoted(office.vm("a").text());
    const std::string reader = quoted(office.session_of("read-only").text());
    const std::string answer = office.call("Async.VM.clone", reader + "," + vm + ",\"b\"");
    EXPECT_NE(answer.find("\"result\":\"OpaqueRef:"), std::string::npos) << answer;
    office.loop.run_for(1min);
    std::size_t seen = 0;
    office.database.each<xenapi::Task>([&](Ref<xenapi::Task>, const xenapi::Task& task) {
        ++seen;
        EXPECT_EQ(task.status, xenapi::TaskStatusType::failure);
        EXPECT_EQ(task.error_info, (std::vector<std::string>{"RBAC_PERMISSION_DENIED", "vm.clone",
                                                             "No permission in user session"}));
    });
    EXPECT_EQ(seen, 1U);
}

TEST(Dispatch, task_headers_reach_the_task) {
    Office office;
    const std::string root = quoted(office.root().text());
    const std::string vm = quoted(office.vm("a").text());
    const std::string made = office.call("Async.VM.clone", root + "," + vm + ",\"b\"",
                                         "x-http-other-config-Origin: here\r\n");
    std::size_t seen = 0;
    office.database.each<xenapi::Task>([&](Ref<xenapi::Task>, const xenapi::Task& task) {
        ++seen;
        EXPECT_EQ(task.name_label, "Async.VM.clone");
        EXPECT_EQ(task.other_config.at("origin"), "here");
        EXPECT_EQ(task.status, xenapi::TaskStatusType::pending);
    });
    EXPECT_EQ(seen, 1U) << made;
    office.loop.run_for(1min);
    office.database.each<xenapi::Task>([&](Ref<xenapi::Task>, const xenapi::Task& task) {
        EXPECT_EQ(task.status, xenapi::TaskStatusType::success);
    });
}

TEST(Dispatch, large_answers_are_whole_in_both_protocols) {
    Office office;
    const std::string root = office.root().text();
    office.database.transact([&](db::Txn& txn) {
        for (int i = 0; i < 200; ++i) {
            xenapi::Vm row;
            row.name_label = "vm \"" + std::to_string(i) + "\" & <b>";
            txn.insert(row);
        }
    });
    const std::string xml =
        "<methodCall><methodName>VM.get_all_records</methodName><params><param><value>" + root +
        "</value></param></params></methodCall>";
    for (int round = 0; round < 2; ++round) {
        const std::string json = office.ask(json_request("VM.get_all_records", quoted(root)), tcp);
        const std::string body = json.substr(json.find("\r\n\r\n") + 4);
        EXPECT_GT(body.size(), 200'000U);
        EXPECT_NE(json.find("content-length: " + std::to_string(body.size()) + "\r\n"),
                  std::string::npos);
        EXPECT_EQ(wire::parse_json(body).find("result")->get<wire::Object>()->size(), 200U);
        const std::string answer = office.ask(
            "POST / HTTP/1.1\r\nContent-Length: " + std::to_string(xml.size()) + "\r\n\r\n" + xml,
            tcp);
        const std::size_t length = answer.size() - answer.find("\r\n\r\n") - 4;
        EXPECT_NE(answer.find("content-length: " + std::to_string(length) + "\r\n"),
                  std::string::npos);
        EXPECT_TRUE(answer.ends_with("</methodResponse>"));
    }
}

TEST(Dispatch, sessions_end_by_idleness_only) {
    Office office;
    const Ref<xenapi::Session> used = office.root();
    const Ref<xenapi::Session> idle = office.root();
    office.loop.run_for(std::chrono::hours(20));
    const bool advanced = office.loop.now().time_since_epoch() >= std::chrono::hours(20);
    if (!advanced) {
        // A quiescent simulated loop does not wait: give it something to wait for.
        spawn(office.loop, "wait", sleep_for(office.loop, std::chrono::hours(20)));
        office.loop.run_for(std::chrono::hours(21));
    }
    office.call("VM.get_all", quoted(used.text()));
    spawn(office.loop, "wait", sleep_for(office.loop, std::chrono::hours(10)));
    office.loop.run_for(std::chrono::hours(11));
    office.sessions.expire();
    EXPECT_NE(office.database.find(used), nullptr);
    EXPECT_EQ(office.database.find(idle), nullptr);
}

TEST(Tasks, one_for_which_nothing_was_done_ends_when_its_maker_has_gone) {
    Office office;
    const auto made_by = [&office](Ref<xenapi::Session> session) {
        return office.database.transact([&](db::Txn& txn) {
            return office.core.tasks->insert(txn, {.name = "an upload", .session = session});
        });
    };
    const auto status_of = [&office](Ref<xenapi::Task> task) {
        return office.database.get(task).status;
    };
    const Ref<xenapi::Session> leaves = office.root();
    const auto waiting = made_by(office.root());
    const auto orphan = made_by(leaves);
    const auto begun = made_by(leaves);
    office.core.tasks->set_progress(begun, 0.5);
    office.database.transact([&](db::Txn& txn) { txn.erase(leaves); });
    const auto expiry = spawn(office.loop, "expiry", office.core.tasks->expire_forever());
    office.loop.run_for(std::chrono::minutes(9));
    EXPECT_EQ(status_of(orphan), xenapi::TaskStatusType::pending) << "its work may yet come";
    office.loop.run_for(std::chrono::minutes(3));
    EXPECT_EQ(status_of(orphan), xenapi::TaskStatusType::failure);
    EXPECT_EQ(status_of(begun), xenapi::TaskStatusType::pending) << "somebody works for it";
    EXPECT_EQ(status_of(waiting), xenapi::TaskStatusType::pending) << "its maker is there";
    expiry->cancel();
    office.loop.run_for(1s);
}

TEST(Dispatch, text_that_is_not_utf8_is_refused) {
    Office office;
    const std::string root = office.root().text();
    EXPECT_NE(
        office.call("VM.get_by_name_label", quoted(root) + ",\"a\xff\"").find("INVALID_VALUE"),
        std::string::npos);
}

TEST(HttpAuth, credentials_in_their_order) {
    Office office;
    bool ran = false;
    office.auth.add(office.router, http_action("put_import"),
                    [&ran](Exchange& exchange, Call& call) -> Task<void> {
                        ran = call.caller().root;
                        return exchange.respond(ok_response(exchange.request(), "t/p", "ok"));
                    });
    const auto put = [&](const std::string& query, const std::string& headers) {
        ran = false;
        return office
            .ask("PUT /import/" + query + " HTTP/1.1\r\n" + headers + "Content-Length: 0\r\n\r\n",
                 tcp)
            .substr(9, 3);
    };
    const std::string good = office.root().text();
    EXPECT_EQ(put("", ""), "401");
    EXPECT_EQ(put("?session_id=" + good, ""), "200");
    EXPECT_TRUE(ran);
    EXPECT_EQ(put("?session_id=" + good, "Cookie: session_id=OpaqueRef:bad\r\n"), "401");
    EXPECT_EQ(put("", "Cookie: session_id=" + good + "\r\n"), "200");
    EXPECT_EQ(put("", "Authorization: Basic cm9vdDp4\r\n"), "200");
    EXPECT_EQ(put("", "Authorization: Basic cm9vdDpiYWQ=\r\n"), "401");
    EXPECT_EQ(put("?session_id=" + office.session_of("read-only").text(), ""), "403");
    EXPECT_FALSE(ran);
}

TEST(HttpAuth, the_pool_s_secret_makes_its_hosts_known) {
    Office office;
    int ran = 0;
    office.auth.add(office.router, http_action("put_host_restore"),
                    [&ran](Exchange& exchange, Call& call) -> Task<void> {
                        ran += call.caller().pool && call.caller().root ? 1 : 0;
                        return exchange.respond(ok_response(exchange.request(), "t/p", "ok"));
                    });
    const auto put = [&](const std::string& query, const std::string& headers = {}) {
        return office
            .ask("PUT /host_restore" + query + " HTTP/1.1\r\n" + headers +
                     "Content-Length: 0\r\n\r\n",
                 tcp)
            .substr(9, 3);
    };
    EXPECT_EQ(put("?pool_secret="), "401") << "a host without a secret has no friends";
    office.core.pool_secret = "one/two";
    const auto sessions = office.database.count(xenapi::class_of<xenapi::Session>());
    EXPECT_EQ(put("", "Cookie: pool_secret=one/two\r\n"), "200");
    EXPECT_EQ(put("?pool_secret=one%2Ftwo"), "200");
    EXPECT_EQ(ran, 2);
    EXPECT_EQ(put("?pool_secret=one"), "401");
    EXPECT_EQ(put("?pool_secret=one/twp", "Authorization: Basic cm9vdDp4\r\n"), "401")
        << "the first found wins";
    EXPECT_EQ(put("?session_id=OpaqueRef:bad", "Cookie: pool_secret=one/two\r\n"), "401");
    EXPECT_EQ(put("", "Cookie: pool_secret=one/two\r\nOrigin: https://elsewhere\r\n"), "401");
    EXPECT_EQ(office.database.count(xenapi::class_of<xenapi::Session>()), sessions)
        << "its session ends with the request";
}

TEST(HttpAuth, a_foreign_page_does_not_ride_on_what_the_browser_adds) {
    Office office;
    office.auth.add(office.router, http_action("connect_console_ws"),
                    [](Exchange& exchange, Call&) {
                        return exchange.respond(ok_response(exchange.request(), "t/p", "ok"));
                    });
    const auto get = [&](const std::string& query, const std::string& headers) {
        return office
            .ask("GET /console" + query + " HTTP/1.1\r\nHost: pool\r\n" + headers + "\r\n", tcp)
            .substr(9, 3);
    };
    const std::string session = office.root().text();
    const std::string query = "?session_id=" + session;
    const std::string cookie = "Cookie: session_id=" + session + "\r\n";
    const std::string basic = "Authorization: Basic cm9vdDp4\r\n";
    const std::string own = "Origin: https://pool\r\n";
    const std::string foreign = "Origin: https://elsewhere\r\n";
    EXPECT_EQ(get("", cookie), "200");
    EXPECT_EQ(get("", cookie + own), "200");
    EXPECT_EQ(get("", basic + own), "200");
    EXPECT_EQ(get("", cookie + foreign), "401");
    EXPECT_EQ(get("", basic + foreign), "401");
    EXPECT_EQ(get("", cookie + "Origin: null\r\n"), "401");
    EXPECT_EQ(get("?session_id=OpaqueRef:bad", cookie + foreign), "401");
    EXPECT_EQ(get(query, foreign), "200");
    EXPECT_EQ(get(query, "Cookie: session_id=OpaqueRef:bad\r\n" + foreign), "200");
}

TEST(HttpAuth, a_given_task_is_ended) {
    Office office;
    const auto task = [&] {
        return office.database.transact(
            [&](db::Txn& txn) { return office.tasks.insert(txn, {.name = "upload"}); });
    };
    const auto status = [&](Ref<xenapi::Task> ref) { return office.database.get(ref).status; };
    office.auth.add(office.router, http_action("put_import"), [](Exchange& exchange, Call&) {
        return exchange.respond(ok_response(exchange.request(), "t/p", "ok"));
    });
    const std::string session = office.root().text();
    const auto put = [&](const std::string& path, Ref<xenapi::Task> ref, const std::string& who) {
        office.ask("PUT " + path + "?session_id=" + who + "&task_id=" + ref.text() +
                       " HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                   tcp);
    };
    const auto done = task();
    put("/import", done, session);
    EXPECT_EQ(status(done), xenapi::TaskStatusType::success);
    const auto refused = task();
    put("/import", refused, "OpaqueRef:bad");
    EXPECT_EQ(status(refused), xenapi::TaskStatusType::failure);
    EXPECT_NE(office
                  .ask("PUT /bundle?session_id=" + session + "&task_id=" + task().text() +
                           " HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                       tcp)
                  .find("task-id: OpaqueRef:"),
              std::string::npos);
    EXPECT_EQ(office.database.get(refused).error_info.front(), "SESSION_INVALID");
    const auto unserved = task();
    put("/bundle", unserved, session);
    EXPECT_EQ(office.database.get(unserved).error_info.front(), "NOT_IMPLEMENTED");
}

TEST(Metrics, are_for_readers_and_for_the_own_socket) {
    Office office;
    office.call("VM.get_all", quoted(office.root().text()));
    const std::string request = "GET /metrics HTTP/1.1\r\n\r\n";
    EXPECT_EQ(office.ask(request, tcp).substr(9, 3), "401");
    const std::string text = office.ask(request, {.unix_socket = true});
    EXPECT_NE(text.find("xapi_calls_total{method=\"VM.get_all\",error=\"\"} 1\n"),
              std::string::npos)
        << text;
}

TEST(Expression, grammar) {
    xenapi::Vm row;
    row.name_label = "a\"b";
    row.is_a_template = true;
    const xenapi::ClassInfo& cls = xenapi::class_of<xenapi::Vm>();
    const auto holds = [&](const char* text) {
        return core::Expression(text).holds(cls, {}, &row);
    };
    EXPECT_TRUE(holds("true"));
    EXPECT_FALSE(holds("not true"));
    EXPECT_TRUE(holds(R"(field "name__label" = "a\"b")"));
    EXPECT_TRUE(holds(R"(field "is_a_template"="true" and not (false or field "tags"="x"))"));
    EXPECT_TRUE(holds(R"(false and false or true)"));
    EXPECT_FALSE(holds(R"(true or true and false)"));  // from the left
    EXPECT_TRUE(holds("field \"tags\" = \"()\""));
    for (const char* bad : {"", "not (", "true true", "field = \"x\"", "\"x\"", "(true", "truex"})
        EXPECT_THROW(core::Expression{bad}, ApiError) << bad;
}

std::size_t occurrences(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
        ++count;
    return count;
}

struct FullOffice : Office {
    FullOffice() {
        xenapi::Vm row;
        row.name_description = std::string(3000, 'd');
        for (int i = 0; i < vms; ++i) {
            row.name_label = "vm " + std::to_string(i);
            database.transact([&](db::Txn& txn) { txn.insert(row); });
        }
        session = quoted(root().text());
    }

    static constexpr int vms = 400;
    std::string session;
};

// Each twice: before and after rows know the lengths of their texts.
TEST(LargeAnswers, are_as_long_as_they_say_and_whole) {
    FullOffice office;
    for (int round = 0; round < 2; ++round) {
        const std::string all = office.call("VM.get_all_records", office.session);
        EXPECT_EQ(wire::parse_json(all).find("result")->get<wire::Object>()->size(), 400U);
        const std::string where =
            office.call("VM.get_all_records_where",
                        office.session +
                            R"(,"field \"name__label\" = \"vm 7\" or not field \"uuid\" = \"x\"")");
        EXPECT_EQ(where, all);
        const std::string from = office.call("event.from", office.session + R"(,["vm"],"",0.0)");
        const wire::Value batch = *wire::parse_json(from).find("result");
        EXPECT_EQ(batch.find("events")->get<wire::Array>()->size(), 400U);
        EXPECT_EQ(batch.find("valid_ref_counts")->find("vm")->get<std::int64_t>()[0], 400);
        EXPECT_EQ(batch.find("token")->get<std::string>()->size(), 41U);
        const std::string ref = office.session.substr(1, office.session.size() - 2);
        const std::string body =
            "<methodCall><methodName>event.from</methodName><params><param><value>" + ref +
            "</value></param><param><value><array><data><value>vm</value></data></array></value>"
            "</param><param><value/></param><param><value><double>0</double></value></param>"
            "</params></methodCall>";
        const std::string answer = office.ask(
            "POST / HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body,
            tcp);
        const std::size_t head = answer.find("\r\n\r\n") + 4;
        EXPECT_NE(answer.find("content-length: " + std::to_string(answer.size() - head) + "\r\n"),
                  std::string::npos);
        EXPECT_EQ(occurrences(answer, "<name>snapshot</name>"), 400U);
        EXPECT_TRUE(answer.ends_with("</methodResponse>"));
        const MethodCall parsed =
            parse_xml_call("<methodCall><methodName>x</methodName>" +
                           answer.substr(answer.find("<params>"), answer.find("</methodResponse>") -
                                                                      answer.find("<params>")) +
                           "</methodCall>");
        EXPECT_EQ(parsed.params[0].find("Value")->find("events")->get<wire::Array>()->size(), 400U);
    }
}

TEST(LargeAnswers, readers_that_never_read_hold_nobody_up) {
    FullOffice office;
    std::vector<std::unique_ptr<Stream>> held;
    const auto connect = [&] {
        auto [near, far] = memory_streams(office.loop);
        office.server.serve(std::move(far), Scheme::http, tcp);
        return std::move(near);
    };
    const std::string request = json_request("VM.get_all_records", office.session);
    for (int i = 0; i < 12; ++i) {
        held.push_back(connect());
        spawn(office.loop, "silent", [](Stream& stream, std::string bytes) -> Task<void> {
            co_await stream.write(bytes);
        }(*held.back(), request));
    }
    office.loop.run_for(500ms);
    const Time began = office.loop.now();
    EXPECT_EQ(wire::parse_json(office.call("VM.get_all_records", office.session))
                  .find("result")
                  ->get<wire::Object>()
                  ->size(),
              400U);
    EXPECT_LT(office.loop.now() - began, 10s);
    EXPECT_GE(office.core.limits.times_exceeded(Limit::answer_stall_time), 3U);
    office.loop.run_for(3min);
    EXPECT_EQ(office.core.limits.times_exceeded(Limit::write_stall_time), 12U);
    EXPECT_EQ(office.server.counts().connections, 0U);
}

TEST(Limits, a_session_has_no_more_than_its_share_of_tasks) {
    Office office;
    office.core.limits.set(Limit::tasks_running_of_session, 3);
    const std::string vm = quoted(office.vm("a").text());
    const std::string greedy = quoted(office.root().text());
    const std::string other = quoted(office.root().text());
    std::vector<std::unique_ptr<Stream>> held;
    for (int i = 0; i < 5; ++i) {
        auto [near, far] = memory_streams(office.loop);
        office.server.serve(std::move(far), Scheme::http, tcp);
        held.push_back(std::move(near));
        spawn(office.loop, "client", [](Stream& stream, std::string bytes) -> Task<void> {
            co_await stream.write(bytes);
        }(*held.back(), json_request("Async.VM.clone", greedy + "," + vm + ",\"copy\"")));
    }
    office.loop.run_for(100ms);  // a clone takes a second
    EXPECT_EQ(office.core.limits.times_exceeded(Limit::tasks_running_of_session), 2U);
    EXPECT_NE(office.call("Async.VM.clone", other + "," + vm + ",\"copy\"").find("result"),
              std::string::npos);
    office.loop.run_for(5s);
    EXPECT_NE(office.call("Async.VM.clone", greedy + "," + vm + ",\"copy\"").find("result"),
              std::string::npos)
        << "what has ended counts no longer";
}

}  // namespace
}  // namespace basalt::server
