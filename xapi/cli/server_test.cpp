#include "xapi/cli/server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "xapi/cli/testing.hpp"

namespace basalt::cli {
namespace {

using ::testing::Contains;
using testing::FakeApi;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::run_xe;
using testing::Seen;

const std::string vm_a = "OpaqueRef:aaaaaaaa-0000-0000-0000-000000000001";
const std::string vm_b = "OpaqueRef:aaaaaaaa-0000-0000-0000-000000000002";
const std::string dom0 = "OpaqueRef:aaaaaaaa-0000-0000-0000-000000000003";
const std::string tmpl = "OpaqueRef:aaaaaaaa-0000-0000-0000-000000000004";
const std::string host = "OpaqueRef:bbbbbbbb-0000-0000-0000-000000000001";

wire::Object vm_record(std::string uuid, std::string name) {
    wire::Object out;
    out.push_back({"uuid", std::move(uuid)});
    out.push_back({"name_label", std::move(name)});
    out.push_back({"name_description", std::string("a VM")});
    out.push_back({"power_state", std::string("Halted")});
    out.push_back({"is_a_template", false});
    out.push_back({"is_control_domain", false});
    out.push_back({"resident_on", host});
    out.push_back({"affinity", std::string(null_ref)});
    out.push_back({"HVM_shadow_multiplier", 1.0});
    out.push_back({"tags", args(std::string("x,y"), std::string("z"))});
    wire::Object config;
    config.push_back({"auto_poweron", std::string("true")});
    config.push_back({"folder", std::string("/a")});
    out.push_back({"other_config", std::move(config)});
    wire::Object operations;
    operations.push_back({"OpaqueRef:task", std::string("start")});
    out.push_back({"current_operations", std::move(operations)});
    return out;
}

wire::Object& with(wire::Object& record, std::string_view name, wire::Value value) {
    for (wire::Member& member : record)
        if (member.name == name) member.value = std::move(value);
    return record;
}

class Cli : public ::testing::Test {
  protected:
    Cli() {
        wire::Object records;
        records.push_back({vm_a, vm_record("uuid-a", "first")});
        records.push_back({vm_b, vm_record("uuid-b", "second")});
        wire::Object control = vm_record("uuid-0", "Control domain");
        with(control, "is_control_domain", true);
        with(control, "power_state", std::string("Running"));
        records.push_back({dom0, std::move(control)});
        wire::Object form = vm_record("uuid-t", "Debian");
        with(form, "is_a_template", true);
        records.push_back({tmpl, std::move(form)});
        answer("VM.get_all_records", records);
        api.answers["VM.get_by_uuid"] = [](const wire::Array& params) -> wire::Value {
            const std::string uuid = shown(params.at(1));
            if (uuid == "uuid-a") return vm_a;
            if (uuid == "uuid-b") return vm_b;
            if (uuid == "uuid-t") return tmpl;
            throw ApiError("UUID_INVALID", {"VM", uuid});
        };
        api.answers["VM.get_record"] = [records](const wire::Array& params) -> wire::Value {
            for (const wire::Member& member : records)
                if (member.name == shown(params.at(1))) return member.value;
            throw ApiError("HANDLE_INVALID", {"VM", shown(params.at(1))});
        };
        api.answers["VM.get_uuid"] = [](const wire::Array& params) -> wire::Value {
            return shown(params.at(1)) == vm_a ? std::string("uuid-a") : std::string("uuid-new");
        };
        wire::Object host_record;
        host_record.push_back({"uuid", std::string("uuid-h")});
        host_record.push_back({"name_label", std::string("node")});
        answer("host.get_record", std::move(host_record));
        answer("session.login_with_password", std::string("OpaqueRef:session"));
        answer("session.logout", wire::Null{});
    }

    void answer(const std::string& method, wire::Value value) {
        api.answers[method] = [value](const wire::Array&) { return value; };
    }

    Seen xe(const std::string& words, std::string typed = "yes") {
        return run_xe(api, words + "\nusername=root\npassword=pw", std::move(typed));
    }

    FakeApi api;
};

TEST_F(Cli, ListsInColumnsAndLogsOut) {
    const Seen seen = xe("vm-list");
    EXPECT_EQ(seen.status, 0);
    EXPECT_EQ(seen.out,
              "uuid ( RO)           : uuid-a\n"
              "     name-label ( RW): first\n"
              "    power-state ( RO): halted\n"
              "\n\n"
              "uuid ( RO)           : uuid-b\n"
              "     name-label ( RW): second\n"
              "    power-state ( RO): halted\n"
              "\n\n"
              "uuid ( RO)           : uuid-0\n"
              "     name-label ( RW): Control domain\n"
              "    power-state ( RO): running\n"
              "\n\n");
    EXPECT_EQ(api.calls.front(), "session.login_with_password(S(root), S(pw), S(1.2), S(cli))");
    EXPECT_EQ(api.calls.back(), "session.logout(S(OpaqueRef:session))");
}

TEST_F(Cli, MinimalIsOneLineForScripts) {
    EXPECT_EQ(xe("vm-list\n--minimal").out, "uuid-a,uuid-b,uuid-0\n");
    EXPECT_EQ(xe("vm-list\nis-control-domain=false\nparams=name-label\n--minimal").out,
              "first,second\n");
    EXPECT_EQ(xe("vm-list\nname-label=nobody\n--minimal").out, "\n");
    EXPECT_EQ(xe("vm-list\nuuid=uuid-a\nparams=tags\n--minimal").out, "x\\,y; z\n");
}

TEST_F(Cli, FiltersKnowMapsAndSets) {
    EXPECT_EQ(xe("vm-list\nother-config:folder=/a\nname-label=first\n--minimal").out, "uuid-a\n");
    EXPECT_EQ(xe("vm-list\nother-config-folder=/b\n--minimal").out, "\n");
    EXPECT_EQ(xe("vm-list\ntags:contains=z\nname-label=second\n--minimal").out, "uuid-b\n");
    EXPECT_EQ(xe("vm-list\nname_label=second\n--minimal").out, "uuid-b\n");
    const Seen wrong = xe("vm-list\nnonsense=1");
    EXPECT_EQ(wrong.err, "Error: Unknown field 'nonsense'\n");
    EXPECT_EQ(wrong.status, 1);
}

TEST_F(Cli, TemplatesHaveAListOfTheirOwn) {
    answer("VM.get_all_records", [] {
        wire::Object records;
        wire::Object form = vm_record("uuid-t", "Debian");
        form.push_back({"is_a_snapshot", false});
        with(form, "is_a_template", true);
        records.push_back({tmpl, std::move(form)});
        return records;
    }());
    EXPECT_EQ(xe("template-list\n--minimal").out, "uuid-t\n");
}

TEST_F(Cli, ParamGetFollowsReferencesAndKeys) {
    EXPECT_EQ(xe("vm-param-get\nuuid=uuid-a\nparam-name=resident-on").out, "uuid-h\n");
    EXPECT_EQ(xe("vm-param-get\nuuid=uuid-a\nparam-name=affinity").out, "<not in database>\n");
    EXPECT_EQ(xe("vm-param-get\nuuid=uuid-a\nparam-name=HVM-shadow-multiplier").out, "1.000\n");
    EXPECT_EQ(xe("vm-param-get\nuuid=uuid-a\nparam-name=other-config").out,
              "auto_poweron: true; folder: /a\n");
    EXPECT_EQ(xe("vm-param-get\nuuid=uuid-a\nparam-name=other-config\nparam-key=folder").out,
              "/a\n");
    EXPECT_EQ(xe("vm-param-get\nuuid=uuid-a\nparam-name=current-operations").out, "start\n");
    const Seen missing = xe("vm-param-get\nuuid=uuid-a\nparam-name=other-config\nparam-key=no");
    EXPECT_EQ(missing.status, 1);
    EXPECT_EQ(missing.err, "Error: Key no not found in map\n");
}

TEST_F(Cli, ParamSetKnowsTypesAndKeys) {
    for (const auto* method :
         {"VM.set_name_label", "VM.set_memory_static_max", "VM.set_is_a_template",
          "VM.remove_from_other_config", "VM.add_to_other_config"})
        answer(method, wire::Null{});
    const Seen seen =
        xe("vm-param-set\nuuid=uuid-a\nname-label=new\nmemory-static-max=1GiB\nis-a-template=yes\n"
           "other-config:folder=/b");
    EXPECT_EQ(seen.err, "");
    const std::string self = "S(OpaqueRef:session), S(" + vm_a + "), ";
    EXPECT_THAT(api.calls, Contains("VM.set_name_label(" + self + "S(new))"));
    EXPECT_THAT(api.calls, Contains("VM.set_memory_static_max(" + self + "I(1073741824))"));
    EXPECT_THAT(api.calls, Contains("VM.set_is_a_template(" + self + "B(true))"));
    EXPECT_THAT(api.calls, Contains("VM.remove_from_other_config(" + self + "S(folder))"));
    EXPECT_THAT(api.calls, Contains("VM.add_to_other_config(" + self + "S(folder), S(/b))"));
    EXPECT_EQ(xe("vm-param-set\nuuid=uuid-a\npower-state=running").err,
              "Error: Field 'power-state' cannot be changed\n");
}

TEST_F(Cli, SetsGainAndLoseItems) {
    answer("VM.add_tags", wire::Null{});
    answer("VM.remove_tags", wire::Null{});
    answer("VM.set_tags", wire::Null{});
    answer("VM.add_to_other_config", wire::Null{});
    EXPECT_EQ(xe("vm-param-add\nuuid=uuid-a\nparam-name=tags\nparam-key=t").status, 0);
    EXPECT_EQ(xe("vm-param-remove\nuuid=uuid-a\nparam-name=tags\nparam-key=z").status, 0);
    EXPECT_EQ(xe("vm-param-clear\nuuid=uuid-a\nparam-name=tags").status, 0);
    EXPECT_EQ(xe("vm-param-add\nuuid=uuid-a\nparam-name=other-config\nkey=v").status, 0);
    const std::string self = "S(OpaqueRef:session), S(" + vm_a + "), ";
    EXPECT_THAT(api.calls, Contains("VM.add_tags(" + self + "S(t))"));
    EXPECT_THAT(api.calls, Contains("VM.remove_tags(" + self + "S(z))"));
    EXPECT_THAT(api.calls, Contains("VM.add_to_other_config(" + self + "S(key), S(v))"));
}

TEST_F(Cli, SelectorsWantOneUnlessToldOtherwise) {
    answer("VM.start", wire::Null{});
    EXPECT_EQ(xe("vm-start\nvm=first").status, 0);
    EXPECT_THAT(api.calls,
                Contains("VM.start(S(OpaqueRef:session), S(" + vm_a + "), B(false), B(false))"));
    EXPECT_EQ(xe("vm-start").err,
              "Error: Multiple matching VMs found. --multiple required to complete the "
              "operation\n");
    EXPECT_EQ(xe("vm-start\nuuid=uuid-t").err, "Error: No matching VMs found\n");
    EXPECT_EQ(xe("vm-start\nvm=nobody").status, 1);
}

TEST_F(Cli, FailuresOfSeveralArePrintedALineEach) {
    api.answers["VM.start"] = [](const wire::Array& params) -> wire::Value {
        if (shown(params.at(1)) == vm_a) throw ApiError("NO_HOSTS_AVAILABLE", {});
        return {};
    };
    const Seen seen = xe("vm-start\n--multiple");
    EXPECT_EQ(seen.status, 1);
    EXPECT_EQ(seen.out, "operation failed on uuid-a: No host can run this VM now.\n");
}

TEST_F(Cli, ErrorsAreExplainedWithTheirParameters) {
    api.answers["VM.start"] = [](const wire::Array&) -> wire::Value {
        throw ApiError("VM_BAD_POWER_STATE", {vm_a, "halted", "running", "more"});
    };
    const Seen seen = xe("vm-start\nvm=first");
    EXPECT_EQ(seen.status, 1);
    EXPECT_EQ(seen.err,
              "The VM is in a power state that does not allow this.\n"
              "vm: uuid-a (first)\nexpected: halted\nactual: running\n<extra>: more\n");
    api.answers["VM.start"] = [](const wire::Array&) -> wire::Value {
        throw ApiError("NEVER_HEARD_OF", {"x"});
    };
    EXPECT_EQ(xe("vm-start\nvm=first").err, "Error code: NEVER_HEARD_OF\n");
}

TEST_F(Cli, CallsComeFromTheTable) {
    answer("VM.pause", wire::Null{});
    answer("network.create", std::string("OpaqueRef:net"));
    answer("network.get_uuid", std::string("uuid-n"));
    EXPECT_EQ(xe("vm-pause\nvm=second").status, 0);
    EXPECT_THAT(api.calls, Contains("VM.pause(S(OpaqueRef:session), S(" + vm_b + "))"));
    const Seen seen = xe("network-create\nname-label=n");
    EXPECT_EQ(seen.out, "uuid-n\n");
    EXPECT_THAT(api.calls, Contains(HasSubstr("name_label:S(n)")));
    EXPECT_EQ(xe("network-create").err,
              "Required parameter not found: name-label\nFor usage run: 'xe help'\n");
}

TEST_F(Cli, InstallClonesAndProvisions) {
    answer("VM.clone", vm_b);
    answer("VM.provision", wire::Null{});
    answer("pool.get_all_records", wire::Object{});
    EXPECT_EQ(xe("vm-install\nnew-name-label=mine\ntemplate=Debian").err,
              "Error: there is no pool\n");
    wire::Object pool;
    pool.push_back({"default_SR", std::string(null_ref)});
    wire::Object pools;
    pools.push_back({"OpaqueRef:pool", std::move(pool)});
    answer("pool.get_all_records", std::move(pools));
    const Seen seen = xe("vm-install\nnew-name-label=mine\ntemplate=Debian");
    EXPECT_EQ(seen.err, "");
    EXPECT_EQ(seen.out, "uuid-new\n");
    EXPECT_THAT(api.calls, Contains("VM.clone(S(OpaqueRef:session), S(" + tmpl + "), S(mine))"));
    EXPECT_EQ(xe("vm-install\nnew-name-label=x\ntemplate=None").err,
              "Error: No templates matched\n");
}

TEST_F(Cli, UninstallAsksFirst) {
    answer("VM.get_power_state", std::string("Halted"));
    answer("VM.destroy", wire::Null{});
    const Seen no = xe("vm-uninstall\nvm=first", "no");
    EXPECT_EQ(no.status, 1);
    EXPECT_THAT(no.out, HasSubstr("VM : uuid-a (first)\nType 'yes' to continue\n"));
    EXPECT_THAT(no.out, HasSubstr("Aborted (you typed: 'no')"));
    EXPECT_THAT(api.calls, Not(Contains(HasSubstr("VM.destroy"))));
    const Seen yes = xe("vm-uninstall\nvm=first", " Yes ");
    EXPECT_EQ(yes.status, 0);
    EXPECT_THAT(yes.out, HasSubstr("All objects destroyed"));
    EXPECT_EQ(xe("vm-uninstall\nvm=first\nforce=true").status, 0);
}

TEST_F(Cli, TransfersHaveATask) {
    answer("VDI.get_by_uuid", std::string("OpaqueRef:vdi"));
    answer("task.create", std::string("OpaqueRef:task"));
    answer("task.destroy", wire::Null{});
    wire::Object task;
    task.push_back({"status", std::string("success")});
    task.push_back({"result", std::string("")});
    answer("task.get_record", task);
    const Seen good = xe("vdi-export\nuuid=uuid-d\nfilename=out.img\nformat=qcow2");
    EXPECT_EQ(good.status, 0);
    ASSERT_EQ(good.transfers.size(), 1U);
    EXPECT_EQ(good.transfers.front(),
              "out.img /export_raw_vdi?vdi=uuid-d&format=qcow2&session_id=OpaqueRef:session&"
              "task_id=OpaqueRef:task");
    with(task, "status", std::string("failure"));
    task.push_back({"error_info", args(std::string("VDI_IN_USE"), std::string("r"))});
    answer("task.get_record", task);
    const Seen bad = xe("vdi-import\nuuid=uuid-d\nfilename=in.img");
    EXPECT_EQ(bad.status, 1);
    EXPECT_THAT(bad.err, HasSubstr("The disk is in use."));
    EXPECT_THAT(api.calls, Contains("task.destroy(S(OpaqueRef:session), S(OpaqueRef:task))"));
}

TEST_F(Cli, BlobsTravelByTheirReference) {
    answer("blob.get_by_uuid", std::string("OpaqueRef:blob"));
    answer("blob.get_uuid", std::string("uuid-blob"));
    answer("VM.create_new_blob", std::string("OpaqueRef:blob"));
    answer("task.create", std::string("OpaqueRef:task"));
    answer("task.destroy", wire::Null{});
    wire::Object task;
    task.push_back({"status", std::string("success")});
    task.push_back({"result", std::string("")});
    answer("task.get_record", task);
    EXPECT_EQ(xe("blob-create\nname=notes\nvm-uuid=uuid-a\npublic=true").out, "uuid-blob\n");
    EXPECT_THAT(api.calls, Contains("VM.create_new_blob(S(OpaqueRef:session), S(" + vm_a +
                                    "), S(notes), S(), B(true))"));
    const Seen taken = xe("blob-get\nuuid=uuid-blob\nfilename=out");
    EXPECT_EQ(taken.status, 0);
    ASSERT_EQ(taken.transfers.size(), 1U);
    EXPECT_THAT(taken.transfers.front(), HasSubstr("out /blob?ref=OpaqueRef:blob&session_id="));
    EXPECT_THAT(xe("blob-create\nname=notes").err, HasSubstr("vm-uuid, host-uuid"));
}

TEST_F(Cli, RecoveryWorksInTheForeignDatabase) {
    answer("session.create_from_db_file", std::string("OpaqueRef:theirs"));
    api.answers["VM.recover"] = [](const wire::Array&) -> wire::Value {
        throw ApiError("VM_REQUIRES_SR", {vm_a, "sr"});
    };
    const Seen failed = xe("vm-recover\nuuid=uuid-a\ndatabase:filename=/f\nforce=true");
    EXPECT_EQ(failed.status, 1);
    EXPECT_THAT(api.calls, Contains("VM.get_by_uuid(S(OpaqueRef:theirs), S(uuid-a))"));
    EXPECT_THAT(api.calls, Contains("VM.recover(S(OpaqueRef:theirs), S(" + vm_a +
                                    "), S(OpaqueRef:session), B(true))"));
    EXPECT_THAT(api.calls, Contains("session.logout(S(OpaqueRef:theirs))"));
    EXPECT_THAT(xe("vm-recover\nuuid=uuid-a").err, HasSubstr("Say which database"));
}

TEST_F(Cli, DiagnosticsSayWhereAVmCanStart) {
    wire::Object hosts;
    wire::Object record;
    record.push_back({"uuid", std::string("uuid-h")});
    record.push_back({"name_label", std::string("node")});
    record.push_back({"hostname", std::string("node.lan")});
    record.push_back({"edition", std::string("free")});
    hosts.push_back({host, record});
    answer("host.get_all_records", hosts);
    answer("host.get_license_params", wire::Object{});
    api.answers["VM.assert_can_boot_here"] = [](const wire::Array&) -> wire::Value {
        throw ApiError("HOST_NOT_ENOUGH_FREE_MEMORY", {"2", "1"});
    };
    EXPECT_THAT(xe("diagnostic-vm-status\nuuid=uuid-a").out,
                HasSubstr("on uuid-h (node): HOST_NOT_ENOUGH_FREE_MEMORY"));
    EXPECT_THAT(xe("diagnostic-license-status").out, HasSubstr("expires: never"));
    answer("Diagnostics.network_stats",
           args(args(std::string("POST"), std::string("/"), std::string("3"))));
    EXPECT_EQ(xe("diagnostic-net-stats\nmethod=POST").out, "POST, /, 3\n");
    EXPECT_THAT(api.calls, Contains("Diagnostics.network_stats(S(OpaqueRef:session), S(" + host +
                                    "), {method:S(POST)})"));
}

TEST_F(Cli, LoginsCanFail) {
    api.answers["session.login_with_password"] = [](const wire::Array&) -> wire::Value {
        throw ApiError("SESSION_AUTHENTICATION_FAILED", {"root", "no"});
    };
    EXPECT_EQ(xe("vm-list").err, "Authentication failed\n");
    EXPECT_EQ(run_xe(api, "vm-list\nusername=\npassword=").err,
              "Username/password must be specified\n");
    EXPECT_EQ(xe("help").status, 0);
    EXPECT_THAT(xe("help\nvm-start").out, HasSubstr("optional params : force, on, paused"));
}

TEST_F(Cli, UnknownCommandsAndSyntax) {
    const Seen seen = xe("vm-fly");
    EXPECT_EQ(seen.err, "Unknown command: vm-fly\nFor usage run: 'xe help'\n");
    EXPECT_EQ(seen.status, 1);
    EXPECT_EQ(xe("command=vm-list").err,
              "Syntax error: the first word must be a command\nFor usage run: 'xe help'\n");
    api.answers["host.management_disable"] = [](const wire::Array&) -> wire::Value {
        throw ApiError("NOT_IMPLEMENTED", {"host.management_disable"});
    };
    answer("session.slave_local_login_with_password", std::string("OpaqueRef:local"));
    answer("session.local_logout", wire::Null{});
    EXPECT_THAT(xe("host-management-disable").err, HasSubstr("The server does not do this yet."));
}

TEST_F(Cli, AForwardedCommandKeepsItsSession) {
    const Seen seen = run_xe(api, "session_id=OpaqueRef:theirs\r\nvm-list\r\n--minimal\r\n");
    EXPECT_EQ(seen.out, "uuid-a,uuid-b,uuid-0\n");
    EXPECT_THAT(api.calls, Not(Contains(HasSubstr("session."))));
}

}  // namespace
}  // namespace basalt::cli
