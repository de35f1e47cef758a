#pragma once
#include <nlohmann/json_fwd.hpp>

#include "base/rpc.hpp"
#include "storage-manager/api/storage.hpp"

/// The values that pass between hostd and a worker, beside the agent's own.
namespace basalt::sm {

void to_json(nlohmann::json& json, const Image& value);
void from_json(const nlohmann::json& json, Image& value);
void to_json(nlohmann::json& json, const Attachment& value);
void from_json(const nlohmann::json& json, Attachment& value);

/// An answer that may be larger than a frame travels in a sealed memory file.
rpc::Reply large_reply(const nlohmann::json& value);
nlohmann::json read_large(const rpc::Reply& reply);

}  // namespace basalt::sm
