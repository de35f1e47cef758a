// Replays recorded exchanges of the real server, request bytes in, response bytes compared. What
// differs between any two servers is made alike first: references, uuids, times.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <regex>
#include <sstream>

#include "idl/records/console.hpp"
#include "idl/records/task.hpp"
#include "idl/records/vm.hpp"
#include "xapi/rpc/wire_house.hpp"

namespace basalt::server {
namespace {

using testing::read_file;
using testing::wire_directory;
using testing::WireHouse;

const Peer tcp{.address = "192.0.2.7"};

std::string body_of(const std::string& message) {
    const std::size_t at = message.find("\r\n\r\n");
    return at == std::string::npos ? "" : message.substr(at + 4);
}

std::string head_of(const std::string& message) {
    return message.substr(0, message.find("\r\n\r\n"));
}

/// Three recordings had their host's name replaced, so that their announced length is off.
std::string with_true_length(const std::string& message) {
    static const std::regex length("content-length: [0-9]+");
    return std::regex_replace(head_of(message), length,
                              "content-length: " + std::to_string(body_of(message).size()));
}

std::vector<std::string> refs_in(const std::string& text) {
    static const std::regex ref("OpaqueRef:[0-9a-f-]{36}");
    std::vector<std::string> refs;
    for (std::sregex_iterator at(text.begin(), text.end(), ref), end; at != end; ++at)
        refs.push_back(at->str());
    return refs;
}

std::string redacted(std::string text) {
    static const std::regex uuid("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    static const std::regex time("20[0-9]{6}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z");
    std::map<std::string, std::string> names;
    std::string out;
    std::sregex_iterator at(text.begin(), text.end(), uuid);
    std::size_t done = 0;
    for (const std::sregex_iterator end; at != end; ++at) {
        const auto start = static_cast<std::size_t>(at->position());
        out += text.substr(done, start - done);
        const auto name =
            names.try_emplace(at->str(), "<uuid:" + std::to_string(names.size() + 1) + ">").first;
        out += name->second;
        done = start + 36;
    }
    out += text.substr(done);
    return std::regex_replace(out, time, "<time>");
}

void sort_members(pugi::xml_node node) {
    for (const pugi::xml_node child : node)
        sort_members(child);
    if (std::string_view(node.name()) != "struct") return;
    std::vector<pugi::xml_node> members(node.begin(), node.end());
    std::ranges::sort(
        members, {}, [](pugi::xml_node member) { return std::string(member.child_value("name")); });
    for (const pugi::xml_node member : members)
        node.append_move(member);
}

/// The same text with the members of all structs in one order.
std::string in_one_order(const std::string& body) {
    if (body.starts_with("{")) return nlohmann::json::parse(body).dump();
    pugi::xml_document document;
    document.load_string(body.c_str(), pugi::parse_default | pugi::parse_ws_pcdata_single);
    sort_members(document.document_element());
    std::ostringstream out;
    document.document_element().print(out, "", pugi::format_raw);
    return out.str();
}

enum class Order { given, any };

class Replay {
  public:
    WireHouse house;

    void run(const std::string& name, const Peer& peer, Order order = Order::given) {
        SCOPED_TRACE(name);
        const std::string expected = read_file(wire_directory + name + ".resp");
        std::string request = read_file(wire_directory + name + ".req");
        ASSERT_FALSE(request.empty());
        for (const auto& [theirs, ours] : known_)
            for (std::size_t at = 0; (at = request.find(theirs, at)) != std::string::npos;)
                request.replace(at, theirs.size(), ours);
        const std::string actual = house.ask(request, peer);
        learn(expected, actual);
        EXPECT_EQ(with_true_length(actual), head_of(actual));
        std::string ours = body_of(actual);
        std::string theirs = body_of(expected);
        if (order == Order::any) {
            EXPECT_EQ(ours.size(), theirs.size());
            EXPECT_EQ(head_of(actual), with_true_length(expected));
            EXPECT_EQ(redacted(in_one_order(ours)), redacted(in_one_order(theirs)));
            return;
        }
        EXPECT_EQ(redacted(with_true_length(actual)), redacted(with_true_length(expected)));
        EXPECT_EQ(redacted(ours), redacted(theirs));
    }

    void run_unix(const std::string& name, Order order = Order::given) {
        run(name, {.unix_socket = true, .trusted = true}, order);
    }

  private:
    /// What our server called the objects that the recording calls otherwise.
    void learn(const std::string& theirs, const std::string& ours) {
        const std::vector<std::string> a = refs_in(theirs);
        const std::vector<std::string> b = refs_in(ours);
        if (a.size() == 1 && b.size() == 1 && a != b) known_[a.front()] = b.front();
    }

    std::map<std::string, std::string> known_;
};

constexpr const char* vm = "OpaqueRef:790644c2-3e09-672e-600d-a1e47d5f9f24";

void furnish(WireHouse& house) {
    house.load("host", "08-host-get_all_records-jsonrpc");
    house.load("pool", "07-pool-get_all_records-jsonrpc");
    house.load("VM", "05-vm-get_all_records-jsonrpc-dom0only");
    // Sets that mirror a relation follow from its other side, which was not recorded.
    const xenapi::Ref<xenapi::Vm> dom0(
        *xenapi::parse_ref("OpaqueRef:e7eeca62-7126-8c10-8548-836088338c1e"));
    const std::string recorded =
        read_file(wire_directory + "05-vm-get_all_records-jsonrpc-dom0only.resp");
    const std::string consoles = recorded.substr(recorded.find("\"consoles\":"));
    for (const std::string& ref : refs_in(consoles.substr(0, consoles.find(']')))) {
        xenapi::Console console;
        console.VM = dom0;
        house.database.transact([&](db::Txn& txn) {
            txn.insert_as(xenapi::Ref<xenapi::Console>(*xenapi::parse_ref(ref)), console);
        });
    }
    house.core.this_host = xenapi::Ref<xenapi::Host>(
        *xenapi::parse_ref("OpaqueRef:1917dbf0-989c-b009-22e4-edb2dfc48c4b"));
    for (const char* session : {"OpaqueRef:7962e7f9-539c-6c8d-db13-27bd3a4b3fc5",
                                "OpaqueRef:daec0a5f-7f29-08f3-172c-c891250dcb26",
                                "OpaqueRef:0f108459-8b14-e172-9a72-8375b589d77c"})
        house.load_session(session);
}

void add_vms(WireHouse& house) {
    xenapi::Vm other;
    other.name_label = "cap-vm";
    house.database.transact([&](db::Txn& txn) {
        txn.insert_as(xenapi::Ref<xenapi::Vm>(
                          *xenapi::parse_ref("OpaqueRef:a7482c53-2cdc-9d5c-0421-db968f5f5954")),
                      other);
    });
    house.load("VM", "12-vm-get_record-jsonrpc", vm);
}

TEST(WireGolden, logins) {
    Replay replay;
    furnish(replay.house);
    for (const char* name : {"01-login-xmlrpc", "02-login-jsonrpc2", "03-login-jsonrpc1"})
        replay.run_unix(name);
    for (const char* name :
         {"70-tcp-login-2args", "70-tcp-login-3args", "70-tcp-login-ok", "70-tcp-login-fail-xmlrpc",
          "70-tcp-login-fail-jsonrpc1", "70-tcp-login-fail-jsonrpc2", "70-tcp-slave_login-bad"})
        replay.run(name, tcp);
}

TEST(WireGolden, records) {
    Replay replay;
    furnish(replay.house);
    replay.run_unix("01-login-xmlrpc");
    for (const char* name :
         {"04-vm-get_all_records-xmlrpc-dom0only", "05-vm-get_all_records-jsonrpc-dom0only",
          "07-pool-get_all_records-jsonrpc", "07-pool-get_all_records-xmlrpc",
          "08-host-get_all_records-jsonrpc", "08-host-get_all_records-xmlrpc"})
        replay.run_unix(name, Order::any);
    for (const char* name : {"06-pool-get_all-xmlrpc", "09-event-get_current_id-xmlrpc",
                             "09-session-get_all_records-xmlrpc", "09-task-get_all_records-xmlrpc"})
        replay.run_unix(name);
}

TEST(WireGolden, reads_and_writes_of_fields) {
    Replay replay;
    furnish(replay.house);
    for (const char* name : {"10-vm-create-xmlrpc", "11-vm-create-jsonrpc"})
        replay.run_unix(name);
    Replay next;
    furnish(next.house);
    add_vms(next.house);
    next.run_unix("12-vm-get_record-jsonrpc", Order::any);
    next.run_unix("12-vm-get_record-xmlrpc", Order::any);
    for (const char* name : {"13-vm-set_name_label-xmlrpc",
                             "13-vm-set_name_label-jsonrpc",
                             "14-vm-get_all-jsonrpc",
                             "14-vm-get_all-xmlrpc",
                             "15-vm-get_by_name_label",
                             "15-vm-get_by_uuid",
                             "16-vm-get_HVM_shadow_multiplier",
                             "16-vm-get_VCPUs_max",
                             "16-vm-get_is_a_template",
                             "16-vm-get_name_label",
                             "16-vm-get_snapshot_time",
                             "16-vm-get_tags",
                             "17-vm-set_tags",
                             "17-vm-add_tags",
                             "17-vm-add_to_other_config",
                             "17-vm-add_to_other_config-dup",
                             "17-vm-remove_from_other_config",
                             "17-vm-remove_from_other_config-absent",
                             "18-vm-get_all_records_where-bad",
                             "18-vm-get_all_records_where-syntax"})
        next.run_unix(name);
    next.run_unix("16-vm-get_other_config", Order::any);
}

TEST(WireGolden, errors) {
    Replay replay;
    furnish(replay.house);
    add_vms(replay.house);
    for (const char* name : {"20-err-handle_invalid",
                             "20-err-handle_invalid-jsonrpc1",
                             "20-err-handle_invalid-jsonrpc2",
                             "21-err-session_invalid",
                             "21-err-session_invalid-jsonrpc2",
                             "22-err-method_unknown",
                             "22-err-method_unknown-jsonrpc2",
                             "22-err-method_unknown-noclass",
                             "23-err-param_count",
                             "23-err-param_count-jsonrpc2",
                             "23-err-param_count-over",
                             "24-err-enum",
                             "24-err-enum-jsonrpc2",
                             "24-err-type-int",
                             "24-err-type-int-for-string",
                             "24-err-type-struct",
                             "25-err-bad-power-state",
                             "25-err-int-i4",
                             "25-err-memory-constraint",
                             "25-err-uuid_invalid",
                             "25-err-vm-bad-vcpus",
                             "25-err-vm_create-missing"})
        replay.run_unix(name);
}

TEST(WireGolden, async_and_tasks) {
    Replay replay;
    furnish(replay.house);
    add_vms(replay.house);
    replay.run_unix("30-vm-clone-xmlrpc");
    replay.run_unix("30-vm-clone-jsonrpc");
    replay.run_unix("31-async-vm-clone-xmlrpc");
    // Ours can be cancelled from the start, as the API says; the recorded one had not got there.
    replay.house.database.transact([](db::Txn& txn) {
        std::vector<xenapi::Ref<xenapi::Task>> all;
        txn.each<xenapi::Task>(
            [&](xenapi::Ref<xenapi::Task> ref, const xenapi::Task&) { all.push_back(ref); });
        for (const auto ref : all)
            txn.edit(ref).allowed_operations.clear();
    });
    replay.run_unix("32-task-get_record-immediately");
    replay.house.loop.run_for(10s);
    for (const char* name :
         {"32-task-get_record-done-jsonrpc", "32-task-get_record-done-xmlrpc", "32-task-get_result",
          "32-task-get_status", "33-async-vm-clone-jsonrpc", "34-async-fail"})
        replay.run_unix(name);
    replay.house.loop.run_for(10s);
    for (const char* name :
         {"34-task-failed-record-jsonrpc", "34-task-failed-record-xmlrpc", "34-task-get_error_info",
          "35-async-bad-handle", "36-task-create", "36-task-set_status"})
        replay.run_unix(name);
}

TEST(WireGolden, sessions_and_system) {
    Replay replay;
    furnish(replay.house);
    for (const char* name :
         {"48-host-list_methods", "48-jsonrpc-bigid", "48-jsonrpc-floatid", "48-jsonrpc-negid",
          "48-jsonrpc-nullid", "48-jsonrpc-strid", "48-system-isAlive", "49-session-logout",
          "49-after-logout", "49-after-logout-jsonrpc"})
        replay.run_unix(name);
}

TEST(WireGolden, http) {
    Replay replay;
    furnish(replay.house);
    for (const char* name : {"60-404",
                             "60-delete-root",
                             "60-get-jsonrpc",
                             "60-get-root",
                             "60-head-root",
                             "60-options-jsonrpc",
                             "60-options-root",
                             "60-patch",
                             "60-put-root",
                             "61-post-RPC2",
                             "61-post-chunked",
                             "61-post-connclose",
                             "61-post-expect100",
                             "61-post-gzip-accept",
                             "61-post-http10-keepalive",
                             "61-post-json-path",
                             "61-post-nolen",
                             "61-post-xmlrpc-path",
                             "62-badxml",
                             "62-emptyxml",
                             "62-json-at-root",
                             "62-json-batch",
                             "62-json-empty",
                             "62-json-named",
                             "62-json-noid",
                             "62-json-nomethod",
                             "62-json-textxml-ct",
                             "62-xml-nomethod",
                             "63-badversion",
                             "63-bare-lf",
                             "63-garbage",
                             "63-hugeheader"})
        replay.run_unix(name);
    for (const char* name :
         {"71-tcp-audit_log-noauth", "71-tcp-export_metadata-noauth", "71-tcp-get-root",
          "71-tcp-host_backup-noauth", "71-tcp-import-noauth"})
        replay.run(name, tcp);
}

// The recorder read one answer only; both must be there, alike.
TEST(WireGolden, pipelined_requests_are_answered_in_turn) {
    WireHouse house;
    const std::string answer = read_file(wire_directory + "64-pipelined.resp");
    EXPECT_EQ(house.ask(read_file(wire_directory + "64-pipelined.req")), answer + answer);
}

// The words about malformed JSON are those of another parser.
TEST(WireGolden, malformed_json) {
    WireHouse house;
    const std::string expected = read_file(wire_directory + "62-badjson.resp");
    const std::string actual = house.ask(read_file(wire_directory + "62-badjson.req"));
    const auto before_words = [](const std::string& text) {
        return body_of(text).substr(0, body_of(text).find("Json_error("));
    };
    EXPECT_EQ(before_words(actual), before_words(expected));
    EXPECT_EQ(head_of(actual).substr(0, 30), head_of(expected).substr(0, 30));
}

TEST(WireGolden, list_methods_names_all_of_them) {
    WireHouse house;
    const std::string expected = read_file(wire_directory + "48-system-listMethods.resp");
    const std::string actual = house.ask(read_file(wire_directory + "48-system-listMethods.req"));
    EXPECT_EQ(head_of(actual), head_of(expected));
    const auto values = [](const std::string& body) {
        static const std::regex value("<value>[^<]+</value>");
        std::vector<std::string> found;
        for (std::sregex_iterator at(body.begin(), body.end(), value), end; at != end; ++at)
            found.push_back(at->str());
        std::ranges::sort(found);
        return found;
    };
    EXPECT_EQ(values(body_of(actual)), values(body_of(expected)));
}

}  // namespace
}  // namespace basalt::server
