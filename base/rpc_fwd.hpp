#pragma once
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

/// The names of base/rpc.hpp, for headers that only pass its values on: what reads a message costs
/// a unit half a second of the compiler's time.
namespace basalt::rpc {

using Json = nlohmann::json;
using Progress = std::function<void(double)>;

/// First parameter of the INTERNAL_ERROR of a call whose outcome is unknown.
constexpr std::string_view connection_lost = "connection lost";

struct Frame;
struct Request;
struct Reply;
class Channel;
class Handler;
class Peer;

}  // namespace basalt::rpc
