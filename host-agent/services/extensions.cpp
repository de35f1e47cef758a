#include "host-agent/services/extensions.hpp"

#include <sys/stat.h>

#include <boost/system/system_error.hpp>

#include "base/json.hpp"
#include "base/subprocess.hpp"
#include "host-agent/services/xmlrpc.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

constexpr Duration longest = std::chrono::hours(1);
constexpr std::size_t shown_bytes = 1000;

bool is_script(const std::string& path) {
    struct stat facts{};
    constexpr mode_t any_execute = S_IXUSR | S_IXGRP | S_IXOTH;
    return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) &&
           (facts.st_mode & any_execute) != 0;
}

[[noreturn]] void refuse(const std::string& output) {
    throw err::extension_protocol_failure(output.substr(0, shown_bytes));
}

XmlRpcAnswer answer_of(const Output& output) {
    if (output.status != 0) refuse(output.err.empty() ? output.out : output.err);
    try {
        return parse_xmlrpc_answer(output.out);
    } catch (const std::invalid_argument&) {
        refuse(output.out);
    }
}

}  // namespace

std::string Extensions::path_of(const std::string& name) const {
    const bool plain =
        !name.empty() && !name.starts_with('.') && !name.contains('/') && !name.contains('\0');
    return plain ? directory_ + "/" + name : std::string();
}

Task<bool> Extensions::has(std::string name) {
    co_return co_await blocking(loop_, [path = path_of(name)] { return is_script(path); });
}

Task<std::string> Extensions::call(std::string name, std::string request) {
    const std::string path = path_of(name);
    const bool there = co_await blocking(loop_, [path] { return is_script(path); });
    if (!there) throw err::message_method_unknown(name);
    const Json call = parse_foreign_json(request);
    if (!call.is_object() || !call.contains("params") || !call.at("params").is_array())
        throw err::invalid_value("call", request.substr(0, shown_bytes));
    Command command;
    command.argv = {path};
    command.directory = "/";
    Output output;
    try {
        output = co_await run_command(loop_, std::move(command), longest,
                                      xmlrpc_call(name, call.at("params")));
    } catch (const boost::system::system_error& error) {
        if (is_cancellation(std::current_exception())) throw;
        refuse(error.what());
    }
    const XmlRpcAnswer answer = answer_of(output);
    if (!answer.success) refuse(answer.contents);
    co_return answer.contents;
}

}  // namespace basalt::agent
