// The way of a call from its wire parameters through a thunk to an implementation and back.
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include "base/error.hpp"
#include "idl/api/vm_api.hpp"
#include "idl/apis.hpp"

namespace basalt {

class Call {};

}  // namespace basalt

namespace basalt::xenapi {

namespace {

class FakeVm : public VmApi {
  public:
    basalt::Task<Ref<Vm>> clone(Call& /*call*/, VmClone params) override {
        seen = params.new_name;
        co_return params.vm;
    }

    basalt::Task<void> start(Call& /*call*/, VmStart params) override {
        seen = params.force ? "forced" : "not forced";
        co_return;
    }

    std::string seen;
};

const MessageInfo& message(std::string_view name) {
    return *find_message(name);
}

std::string call(const Apis& apis, std::string_view name, std::vector<wire::Value> args) {
    Call call;
    std::string out;
    asio::io_context loop;
    const Thunk thunk = thunks()[static_cast<std::size_t>(message(name).thunk)];
    asio::co_spawn(loop, thunk(apis, call, args),
                   [&out](const std::exception_ptr& failure, Reply reply) {
                       if (failure) {
                           out = as_api_error(failure).code();
                           return;
                       }
                       wire::JsonWriter writer{out};
                       reply.write_json(writer);
                   });
    loop.run();
    return out;
}

TEST(Api, thunks_decode_call_and_erase) {
    FakeVm vm;
    Apis apis;
    apis.use(vm);
    const std::string ref = "OpaqueRef:790644c2-3e09-672e-600d-a1e47d5f9f24";
    EXPECT_EQ(call(apis, "VM.clone", {{ref}, {std::string("copy")}}), "\"" + ref + "\"");
    EXPECT_EQ(vm.seen, "copy");
    EXPECT_EQ(call(apis, "VM.start", {{ref}, {false}, {true}}), "\"\"");
    EXPECT_EQ(vm.seen, "forced");
}

TEST(Api, what_is_overridden_is_known) {
    FakeVm vm;
    Apis apis;
    EXPECT_EQ(apis.implemented.count(), 0U);
    apis.use(vm);
    EXPECT_EQ(apis.implemented.count(), 2U);
    EXPECT_TRUE(apis.implements(message("VM.clone")));
    EXPECT_FALSE(apis.implements(message("VM.copy")));
    EXPECT_FALSE(apis.implements(message("VM.get_all")));
}

TEST(Api, default_bodies_answer_not_implemented) {
    const Apis apis;
    EXPECT_THROW((void)call(apis, "host.list_methods", {}), ApiError);
    std::size_t custom = 0;
    for (std::size_t i = 0; i < thunks().size(); ++i) {
        const MessageInfo* info = thunk_messages()[i];
        EXPECT_EQ(static_cast<std::size_t>(info->thunk), i);
        custom += info->kind == MessageKind::custom ? 1U : 0U;
    }
    EXPECT_EQ(custom, 678U);
}

}  // namespace

}  // namespace basalt::xenapi
