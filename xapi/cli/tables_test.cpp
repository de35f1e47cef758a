// The tables of xe against the data model: a name that neither knows is a typing error.
#include <gtest/gtest.h>

#include <algorithm>

#include "xapi/cli/commands.hpp"
#include "xapi/cli/facts.hpp"

namespace basalt::cli {
namespace {

/// Walks `a.b.c` through the classes; empty when it exists.
std::string why_no_path(std::string_view class_name, std::string path) {
    const xenapi::ClassInfo* cls = xenapi::find_class(class_name);
    while (!path.empty()) {
        if (cls == nullptr) return "no class behind " + path;
        const auto dot = path.find('.');
        const std::string first = path.substr(0, dot);
        path = dot == std::string::npos ? "" : path.substr(dot + 1);
        const xenapi::FieldInfo* field = cls->field(first);
        if (field == nullptr) return std::string(cls->name) + " has no " + first;
        cls = class_behind(field->type);
    }
    return {};
}

TEST(CliTables, EveryFieldHasASource) {
    std::size_t fields = 0;
    for (const Object& object : objects()) {
        for (const Field& field : object.fields) {
            ++fields;
            std::string source(field.source.substr(0, field.source.find('|')));
            if (source.starts_with('@')) continue;
            if (const auto parens = source.find("()"); parens != std::string::npos) {
                EXPECT_NE(xenapi::find_message(source.substr(0, parens)), nullptr) << source;
                continue;
            }
            EXPECT_EQ(why_no_path(object.class_name, source), "")
                << object.name << " " << field.name;
        }
    }
    EXPECT_EQ(objects().size(), 55U);
    EXPECT_EQ(fields, 989U);
}

TEST(CliTables, WhatUsersMaySetHasAMessage) {
    for (const Object& object : objects()) {
        for (const Field& field : object.fields) {
            const std::string name(object.class_name);
            const std::string of = field_name_of(field);
            if (field.can(able::set) && !(field.tag == Tag::mrw)) {
                EXPECT_NE(xenapi::find_message(name + ".set_" + of), nullptr) << name << " " << of;
            }
            const bool map = field.tag == Tag::mrw || field.tag == Tag::mro;
            if (field.can(able::add) && map && !field.can(able::set_map)) {
                EXPECT_NE(xenapi::find_message(name + ".add_to_" + of), nullptr) << name << of;
            }
        }
    }
}

TEST(CliTables, CallsHaveTheMessagesParameters) {
    for (const Command& command : commands()) {
        EXPECT_NE(command.method.empty(), find_function(command.name) == nullptr)
            << command.name << " needs a call or a function, and one of them";
        if (command.method.empty()) continue;
        const xenapi::MessageInfo* message = xenapi::find_message(command.method);
        ASSERT_NE(message, nullptr) << command.name << " " << command.method;
        EXPECT_LE(command.arguments.size(), message->params.size()) << command.name;
        EXPECT_GE(command.arguments.size(), message->required) << command.name;
    }
    EXPECT_EQ(commands().size(), 387U);
}

TEST(CliTables, ObjectCommandsFollowFromFields) {
    EXPECT_EQ(find_object_command("vm-list").object->name, "vm");
    EXPECT_EQ(find_object_command("host-cpu-param-get").object->name, "host-cpu");
    EXPECT_EQ(find_object_command("sr-param-add").verb, Verb::param_add);
    EXPECT_EQ(find_object_command("certificate-param-set").object, nullptr);
    EXPECT_EQ(find_object_command("nothing-list").object, nullptr);
}

}  // namespace
}  // namespace basalt::cli
