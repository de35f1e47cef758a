#include "xapi/transfer/uploads.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "idl/enums.hpp"
#include "idl/errors.hpp"
#include "idl/records/task.hpp"

namespace basalt::transfer {

using server::parameter;

server::ResponseHead early_head(const Call& call, std::string_view type) {
    server::ResponseHead head{.headers = {{"Connection", "close"},
                                          {"Cache-Control", "no-cache, no-store"},
                                          {"content-type", std::string(type)}}};
    if (call.task()) head.headers.emplace_back("Task-id", call.task().text());
    return head;
}

bool is_probe(const server::HttpRequest& request) {
    if (request.content_length == 0) return true;
    return parameter(request, "task_id") == nullptr && request.content_length == unknown_length;
}

bool length_known(const server::HttpRequest& request) {
    return request.content_length && request.content_length != unknown_length;
}

bool truth(const server::HttpRequest& request, std::string_view name, bool otherwise) {
    const std::string* value = parameter(request, name);
    return value == nullptr ? otherwise : *value == "true" || *value == "1";
}

void throw_if_cancelled(const Call& call) {
    if (!call.task()) return;
    const xenapi::Task* row = call.db().find(call.task());
    // One that has ended otherwise belonged to an earlier request that broke off: a browser goes on
    // with a download by asking for the rest under the same address.
    using enum xenapi::TaskStatusType;
    if (row != nullptr && (row->status == cancelling || row->status == cancelled))
        throw err::task_cancelled(call.task());
}

Task<std::size_t> read_upload(server::Exchange& exchange, std::span<char> buffer) {
    try {
        co_return co_await exchange.read_body(buffer);
    } catch (const boost::system::system_error& error) {
        if (error.code() == asio::error::operation_aborted) throw;
        co_return 0;
    }
}

UploadBody::UploadBody(server::Exchange& exchange, Call& call) : exchange_(exchange), call_(call) {
    if (length_known(exchange.request())) expected_ = *exchange.request().content_length;
}

Task<std::size_t> UploadBody::read(std::span<char> buffer) {
    throw_if_cancelled(call_);
    const std::size_t got = co_await read_upload(exchange_, buffer);
    read_ += got;
    if (expected_ > 0) call_.progress(static_cast<double>(read_) / static_cast<double>(expected_));
    co_return got;
}

}  // namespace basalt::transfer
