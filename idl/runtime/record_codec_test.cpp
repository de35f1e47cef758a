#include "idl/runtime/record_codec.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <set>

#include "base/error.hpp"
#include "idl/errors.hpp"
#include "idl/records.hpp"
#include "idl/runtime/event_batch.hpp"
#include "idl/runtime/record_text.hpp"

namespace basalt::xenapi {

namespace {

using wire::Value;

std::string read_file(const std::string& name) {
    std::ifstream file("idl/testdata/" + name);
    EXPECT_TRUE(file.is_open()) << name;
    return {std::istreambuf_iterator<char>(file), {}};
}

template <class T>
std::string json(const T& value) {
    std::string out;
    wire::JsonWriter writer{out};
    type_ops<T>().write_json(&value, writer);
    return out;
}

template <class T>
std::string xml(const T& value) {
    std::string out;
    wire::XmlWriter writer{out};
    type_ops<T>().write_xml(&value, writer);
    return out;
}

template <class T>
T read(const Value& from) {
    T value{};
    type_ops<T>().read(from, &value);
    return value;
}

/// "CODE|param|param" of what `work` throws.
template <class Work>
std::string thrown(Work work) {
    try {
        work();
    } catch (const ApiError& error) {
        std::string out = error.code();
        for (const std::string& param : error.params())
            out += "|" + param;
        return out;
    }
    return "nothing";
}

template <class T>
std::string failure(const Value& from) {
    return thrown([&] { (void)read<T>(from); });
}

TEST(Writers, escape_a_special_byte_wherever_it_stands) {
    const std::pair<char, std::pair<const char*, const char*>> cases[] = {
        {'"', {"\\\"", "&quot;"}},  {'\\', {"\\\\", "\\"}},        {'\n', {"\\n", "\n"}},
        {'\x01', {"\\u0001", ""}},  {'\x7f', {"\\u007f", "\x7f"}}, {'<', {"<", "&lt;"}},
        {'\x80', {"\x80", "\x80"}}, {'\xff', {"\xff", "\xff"}},    {' ', {" ", " "}}};
    for (const auto& [c, escaped] : cases)
        for (std::size_t size = 1; size < 20; ++size)
            for (std::size_t at = 0; at < size; ++at) {
                std::string text(size, 'a');
                text[at] = c;
                const std::string before(at, 'a');
                const std::string after(size - at - 1, 'a');
                EXPECT_EQ(json(text), '"' + before + escaped.first + after + '"');
                EXPECT_EQ(xml(text), "<value>" + before + escaped.second + after + "</value>");
            }
}

TEST(Record, vm_is_the_recorded_answer_in_both_protocols) {
    Vm vm;
    read_record(class_of<Vm>(), wire::parse_json(read_file("vm_record.json")), &vm,
                RecordMode::full);
    EXPECT_EQ(vm.name_description, "a <b> & \"c\" é中");
    EXPECT_EQ(vm.memory_static_max, 1073741824);
    EXPECT_EQ(vm.power_state, VmPowerState::halted);
    EXPECT_EQ(json(vm), read_file("vm_record.json"));
    EXPECT_EQ(xml(vm), read_file("vm_record.xml"));
}

/// Something in every field, special bytes among it.
std::shared_ptr<void> filled(const ClassInfo& cls) {
    auto record = cls.record.create();
    const Uuid uuid = Uuid::from_words(0x0123456789abcdef, 0xfedcba9876543210);
    const Value texts[] = {std::string("a \"b\" <c> & d\\e\n, and as long as few are"),
                           std::string("s"), ref_text(uuid)};
    const Value numbers[] = {std::int64_t{-42}, 2.5, 3.0, true,
                             wire::DateTimeText{"20260131T01:02:03Z"}};
    const Value map{wire::Object{{"k\"<", texts[0]}, {"l", texts[1]}}};
    const Value refs{wire::Object{{"r", texts[2]}}};
    for (const FieldInfo& field : cls.fields) {
        const auto fits = [&](const Value& value) {
            return thrown([&] { field.type->read(value, field.in(record.get())); }) == "nothing";
        };
        const Value sets[] = {wire::Array{texts[0], texts[1]}, wire::Array{texts[2]}};
        // The first that fits; enumerations keep their default, and so do their sets.
        (void)(std::ranges::any_of(numbers, fits) || std::ranges::any_of(texts, fits) ||
               std::ranges::any_of(sets, fits) || fits(map) || fits(refs));
    }
    return record;
}

TEST(Record, the_quick_text_is_that_of_the_writers) {
    for (const ClassInfo& cls : classes())
        for (const auto& record : {cls.record.create(), filled(cls)}) {
            std::string slow = "before";
            wire::JsonWriter json_writer(slow);
            write_record(cls, record.get(), json_writer);
            std::string quick = "before";
            append_json_record(cls, record.get(), quick);
            EXPECT_EQ(quick, slow) << cls.name;
            slow = quick = "before";
            wire::XmlWriter xml_writer(slow);
            write_record(cls, record.get(), xml_writer);
            append_xml_record(cls, record.get(), quick);
            EXPECT_EQ(quick, slow) << cls.name;
        }
}

TEST(Record, numbers_are_the_same_in_the_quick_text) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    for (const double number : {0.0, -0.0, 1.0, -1.0, 0.1, 999999999999999.0, 1e15, 1e16, 1e300,
                                5e-324, 1.0 / 3, infinity, -infinity, std::nan("")}) {
        Vm vm;
        vm.HVM_shadow_multiplier = number;
        vm.memory_static_max = std::numeric_limits<std::int64_t>::min();
        for (std::size_t size = 0; size < 70; ++size) {
            vm.name_label = std::string(size, 'x');
            vm.name_description = std::string(size, 'x') + "\t<" + std::string(70 - size, 'y');
            std::string quick;
            append_json_record(class_of<Vm>(), &vm, quick);
            EXPECT_EQ(quick, json(vm));
            quick.clear();
            append_xml_record(class_of<Vm>(), &vm, quick);
            EXPECT_EQ(quick, xml(vm));
        }
    }
}

TEST(Json, both_parsers_read_the_same) {
    // What only one of them takes, and what is read in another way by one of them.
    EXPECT_EQ(
        wire::parse_json(R"([-0, 0.0, -0.0, 1e2, 18446744073709551615, -9223372036854775808])"),
        Value(wire::Array{std::int64_t{0}, 0.0, -0.0, 100.0, 18446744073709551615.0,
                          std::numeric_limits<std::int64_t>::min()}));
    EXPECT_EQ(wire::parse_json("\xef\xbb\xbf{\"a\":null} \n"),
              Value(wire::Object{{"a", wire::Null{}}}));
    EXPECT_EQ(wire::parse_json(R"({"a\nb":"\u00e4\ud83d\ude00\"","a":[true,false,[]],"":{}})"),
              Value(wire::Object{{"a\nb", std::string("ä😀\"")},
                                 {"a", wire::Array{true, false, wire::Array{}}},
                                 {"", wire::Object{}}}));
    for (const char* bad : {"", "{", "[1,]", "nul", "[NaN]", "\"\xff\"", "\"\\ud800\"", "[1] x",
                            "1e999", "{\"a\":1,}", "\"\n\"", "[01]"})
        EXPECT_THROW((void)wire::parse_json(bad), std::exception) << bad;
}

TEST(Record, host_is_the_recorded_answer) {
    Host host;
    const std::string recorded = read_file("host_record.json");
    read_record(class_of<Host>(), wire::parse_json(recorded), &host, RecordMode::full);
    EXPECT_EQ(json(host), recorded);
}

TEST(Record, every_class_survives_its_stored_form) {
    for (const ClassInfo& cls : classes()) {
        const auto record = cls.record.create();
        std::string text;
        write_stored(cls, record.get(), text);
        const auto back = cls.record.create();
        std::string unknown;
        read_stored(cls, text, back.get(), unknown);
        EXPECT_TRUE(cls.record.equal(record.get(), back.get())) << cls.name << " " << text;
        EXPECT_EQ(unknown, "");
    }
}

TEST(Record, what_is_stored_leaves_out_what_a_fresh_record_has) {
    for (const ClassInfo& cls : classes()) {
        const auto record = filled(cls);
        std::string text;
        write_stored(cls, record.get(), text);
        const auto back = cls.record.create();
        std::string unknown;
        read_stored(cls, text, back.get(), unknown);
        for (const FieldInfo& field : cls.fields) {
            const bool kept = field.type->equal(field.in(record.get()), field.in(back.get()));
            EXPECT_TRUE(kept || !field.stored()) << cls.name << " " << field.name;
        }
    }
    Vm vm;
    std::string text;
    write_stored(class_of<Vm>(), &vm, text);
    // Not what is something, even when it is the default.
    EXPECT_NE(text.find(R"("generation_id":"0:0")"), std::string::npos);
    EXPECT_NE(text.find(R"("HVM_shadow_multiplier":1.0)"), std::string::npos);
    EXPECT_EQ(text.find("name_label"), std::string::npos);
    EXPECT_EQ(text.find("other_config"), std::string::npos);
    EXPECT_EQ(text.find("affinity"), std::string::npos);
    EXPECT_EQ(text.find("memory_target"), std::string::npos);
    // To empty what was something is something.
    vm.generation_id.clear();
    vm.has_vendor_device = false;
    text.clear();
    write_stored(class_of<Vm>(), &vm, text);
    EXPECT_NE(text.find(R"("generation_id":"")"), std::string::npos);
    EXPECT_NE(text.find(R"("has_vendor_device":false)"), std::string::npos);
}

TEST(Record, stored_form_keeps_unknown_fields_and_odd_floats) {
    VmMetrics odd;
    const ClassInfo& cls = class_of<Vm>();
    Vm vm;
    vm.name_label = "x";
    vm.HVM_shadow_multiplier = std::numeric_limits<double>::infinity();
    std::string text;
    write_stored(cls, &vm, text, R"({"from_the_future":{"a":[1,2.5,null]}})");
    Vm back;
    std::string unknown;
    read_stored(cls, text, &back, unknown);
    EXPECT_EQ(back, vm);
    EXPECT_EQ(unknown, R"({"from_the_future":{"a":[1,2.5,null]}})");
}

TEST(Record, constructor_takes_what_clients_may_set) {
    const ClassInfo& cls = class_of<Vm>();
    Vm vm;
    EXPECT_EQ(thrown([&] {
                  read_record(cls, wire::parse_json(R"({"name_label":"x"})"), &vm,
                              RecordMode::constructor);
              }),
              "INTERNAL_ERROR|Server_helpers.Dispatcher_FieldNotFound(\"user_version\")");
    Network network;
    read_record(
        class_of<Network>(),
        wire::parse_json(
            R"({"name_label":"n","uuid":"mine","nonsense":1,"MTU":"9000","other_config":{}})"),
        &network, RecordMode::constructor);
    EXPECT_EQ(network.name_label, "n");
    EXPECT_EQ(network.MTU, 9000);
    EXPECT_EQ(network.uuid, "");
}

TEST(Decode, errors_have_the_recorded_texts) {
    EXPECT_EQ(failure<OnCrashBehaviour>(Value{std::string("bogus")}),
              "INTERNAL_ERROR|Failure(\"Unknown tag/contents\")");
    EXPECT_EQ(failure<std::string>(Value{std::int64_t{5}}),
              "INTERNAL_ERROR|Failure(\"Expected string, got 'I(5)'\")");
    EXPECT_EQ(failure<std::int64_t>(Value{std::string("notanint")}),
              "INTERNAL_ERROR|Failure(\"Int64.of_string\")");
    EXPECT_EQ(failure<std::string>(wire::parse_json(R"({"a":"b"})")),
              "INTERNAL_ERROR|Failure(\"Expected string, got '{a:S(b)}'\")");
    EXPECT_EQ(failure<Ref<Vm>>(Value{std::string("OpaqueRef:nonsense")}),
              "HANDLE_INVALID|VM|OpaqueRef:nonsense");
    EXPECT_EQ(failure<bool>(Value{std::string("true")}),
              "INTERNAL_ERROR|Failure(\"Expected bool, got 'S(true)'\")");
}

TEST(Decode, numbers_come_as_texts_too) {
    EXPECT_EQ(read<std::int64_t>(Value{std::string("-9223372036854775808")}),
              std::numeric_limits<std::int64_t>::min());
    EXPECT_EQ(read<std::int64_t>(Value{std::string("0x1F")}), 31);
    EXPECT_EQ(failure<std::int64_t>(Value{std::string("9223372036854775808")}),
              "INTERNAL_ERROR|Failure(\"Int64.of_string\")");
    EXPECT_EQ(failure<std::int64_t>(Value{std::string("")}),
              "INTERNAL_ERROR|Failure(\"Int64.of_string\")");
    EXPECT_EQ(read<double>(Value{std::int64_t{3}}), 3.0);
    EXPECT_EQ(read<double>(Value{std::string("1e3")}), 1000.0);
    EXPECT_TRUE(std::isnan(read<double>(Value{std::string("NaN")})));
}

TEST(Decode, enumerations_take_any_case_but_two) {
    EXPECT_EQ(read<VmPowerState>(Value{std::string("hALTED")}), VmPowerState::halted);
    EXPECT_EQ(failure<BondMode>(Value{std::string("LACP")}),
              "INTERNAL_ERROR|Failure(\"Unknown tag/contents\")");
}

TEST(Decode, references_may_be_null_in_two_ways) {
    EXPECT_TRUE(read<Ref<Vm>>(Value{std::string()}).null());
    EXPECT_TRUE(read<Ref<Vm>>(Value{std::string("OpaqueRef:NULL")}).null());
    const std::string text = "OpaqueRef:790644c2-3e09-672e-600d-a1e47d5f9f24";
    EXPECT_EQ(read<Ref<Vm>>(Value{text}).text(), text);
}

TEST(Encode, scalars_as_recorded) {
    EXPECT_EQ(xml(1.0), "<value><double>1</double></value>");
    EXPECT_EQ(json(1.0), "1.0");
    EXPECT_EQ(json(0.1), "0.1");
    EXPECT_EQ(json(std::nan("")), "NaN");
    EXPECT_EQ(xml(std::string("a<b>&\"c\"\x01\n")),
              "<value>a&lt;b&gt;&amp;&quot;c&quot;\n</value>");
    EXPECT_EQ(json(std::string("a\"\\\n\x01/")), "\"a\\\"\\\\\\n\\u0001/\"");
    EXPECT_EQ(xml(DateTime{}),
              "<value><dateTime.iso8601>19700101T00:00:00Z</dateTime.iso8601></value>");
    EXPECT_EQ(xml(std::vector<std::string>{}), "<value><array><data></data></array></value>");
    EXPECT_EQ(xml(Map<std::string, std::string>{}), "<value><struct></struct></value>");
}

TEST(Encode, event_batch_counts_every_class_in_the_known_order) {
    EventBatch batch;
    batch.valid_ref_counts = {{class_of<Vm>().index, 7}};
    batch.token = "00000000000000000319,00000000000000000000";
    const std::string text = json(batch);
    EXPECT_TRUE(text.starts_with(
        R"({"events":[],"valid_ref_counts":{"vdi_nbd_server_info":0,"user":0,"tunnel":0,"task":0,)"))
        << text;
    EXPECT_NE(text.find(R"("vmss":0,"vmpp":0,"vm":7,"vlan":0)"), std::string::npos);
    EXPECT_TRUE(text.ends_with(
        R"("caller":0,"bond":0},"token":"00000000000000000319,00000000000000000000"})"));
    EXPECT_NE(xml(batch).find("<member><name>vm</name><value><i4>7</i4></value></member>"),
              std::string::npos);
}

TEST(Database, texts_that_expressions_compare) {
    EXPECT_EQ(type_ops<std::vector<std::string>>().db_text(
                  std::make_unique<std::vector<std::string>>().get()),
              "()");
    const std::vector<std::string> tags{"a", "it's"};
    EXPECT_EQ(type_ops<std::vector<std::string>>().db_text(&tags), R"(('a' 'it\'s'))");
    const Map<std::string, std::string> config{{"k", "v"}, {"a", "b"}};
    EXPECT_EQ((type_ops<Map<std::string, std::string>>().db_text(&config)),
              "(('a' 'b') ('k' 'v'))");
    const bool yes = true;
    EXPECT_EQ(type_ops<bool>().db_text(&yes), "true");
}

TEST(Collections, add_and_remove) {
    std::vector<std::string> tags;
    const TypeOps& set = type_ops<std::vector<std::string>>();
    set.set_add(&tags, Value{std::string("t")});
    set.set_add(&tags, Value{std::string("t")});
    EXPECT_THAT(tags, testing::ElementsAre("t"));
    set.set_remove(&tags, Value{std::string("t")});
    EXPECT_TRUE(tags.empty());
    Map<std::string, std::string> map;
    const TypeOps& ops = type_ops<Map<std::string, std::string>>();
    EXPECT_TRUE(ops.map_add(&map, Value{std::string("k")}, Value{std::string("v")}));
    EXPECT_FALSE(ops.map_add(&map, Value{std::string("k")}, Value{std::string("v")}));
    ops.map_remove(&map, Value{std::string("k")});
    ops.map_remove(&map, Value{std::string("k")});
    EXPECT_TRUE(map.empty());
}

TEST(Model, counts_are_those_of_the_facts) {
    std::size_t visible = 0;
    std::size_t internal = 0;
    std::size_t messages = 0;
    std::size_t custom = 0;
    std::set<std::string_view> names;
    for (const ClassInfo& cls : classes()) {
        for (const FieldInfo& field : cls.fields)
            ++(field.internal_only ? internal : visible);
        for (const MessageInfo& message : cls.messages) {
            custom += message.kind == MessageKind::custom ? 1U : 0U;
            names.insert(message.wire_name);
            EXPECT_EQ(find_message(message.wire_name), &message);
        }
        messages += cls.messages.size();
    }
    EXPECT_EQ(classes().size(), 73U);
    EXPECT_EQ(visible, 922U);
    EXPECT_EQ(internal, 29U + 2U) << "the facts', VDI.provisional and VM.left_over_on";
    EXPECT_EQ(messages, 2258U);
    EXPECT_EQ(names.size(), 2258U);
    EXPECT_EQ(custom, 678U);
    EXPECT_EQ(err::errors().size(), 634U);
}

TEST(Model, messages_carry_their_rules) {
    const MessageInfo* start = find_message("VM.start");
    ASSERT_NE(start, nullptr);
    EXPECT_EQ(find_message("VM_start"), start);
    EXPECT_EQ(find_message("vm.start"), nullptr);
    EXPECT_EQ(start->roles, 0b11111);
    EXPECT_TRUE(start->async);
    EXPECT_EQ(start->params.size(), 3U);
    EXPECT_EQ(start->life.since(), "rio");
    EXPECT_EQ(find_message("pool.is_slave")->where, Where::emergency);
    EXPECT_EQ(find_message("session.login_with_password")->required, 2);
    EXPECT_EQ(find_message("session.change_password")->roles, 0);
    EXPECT_TRUE(find_message("VMPP.create")->removed());
    const auto& keys = find_message("host.add_to_other_config")->key_roles;
    ASSERT_FALSE(keys.empty());
    EXPECT_TRUE(keys[1].matches("XenCenter.CustomFields.x"));
    EXPECT_FALSE(keys[0].matches("folders"));
}

TEST(Model, relations_join_two_fields) {
    const FieldInfo* vbds = class_of<Vm>().field("VBDs");
    ASSERT_NE(vbds->opposite(), nullptr);
    EXPECT_EQ(vbds->side, RelationSide::mirror);
    EXPECT_EQ(vbds->opposite(), class_of<Vbd>().field("VM"));
    EXPECT_EQ(vbds->opposite()->side, RelationSide::stored);
    EXPECT_EQ(vbds->type->item->class_index, class_of<Vbd>().index);
    EXPECT_EQ(relations().size(), 62U);
}

TEST(Errors, constructors_take_typed_values) {
    const ApiError error =
        err::vm_bad_power_state(Ref<Vm>{}, "running", wire_text(VmPowerState::halted));
    EXPECT_EQ(error.code(), "VM_BAD_POWER_STATE");
    EXPECT_THAT(error.params(), testing::ElementsAre("OpaqueRef:NULL", "running", "Halted"));
    EXPECT_EQ(err::vm_bad_power_state(Ref<Vm>{}, "running", VmPowerState::halted), error);
    EXPECT_EQ(err::not_implemented("VM.x").code(), "NOT_IMPLEMENTED");
    EXPECT_NE(err::find_error("VM_BAD_POWER_STATE"), nullptr);
    EXPECT_EQ(err::find_error("NO_SUCH"), nullptr);
    EXPECT_EQ(err::hosts_failed_to_enable_caching({"a", "b"}).params().size(), 2U);
}

}  // namespace

}  // namespace basalt::xenapi
