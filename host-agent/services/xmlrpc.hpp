#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

/// XML-RPC as scripts beside us speak it, from and to JSON.
namespace basalt::agent {

/// A call of `method` with the members of `params`, an array.
std::string xmlrpc_call(const std::string& method, const nlohmann::json& params);

/// What a script answered: the XenAPI envelope of Status, Value, ErrorDescription.
struct XmlRpcAnswer {
    bool success = false;
    std::string contents;  ///< the value, or the description of the failure, as JSON text
};

/// Throws std::invalid_argument for what is no response.
XmlRpcAnswer parse_xmlrpc_answer(const std::string& text);

}  // namespace basalt::agent
