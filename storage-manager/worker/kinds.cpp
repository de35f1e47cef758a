#include "storage-manager/worker/kinds.hpp"

#include "idl/errors.hpp"

namespace basalt::sm {

void Kinds::add(Kind kind) {
    std::string type = kind.facts.type;
    kinds_.insert_or_assign(std::move(type), std::move(kind));
}

Task<std::vector<agent::SmFacts>> Kinds::facts() {
    std::vector<agent::SmFacts> out;
    for (const auto& [type, kind] : kinds_)
        out.push_back(kind.facts);
    co_return out;
}

Task<std::unique_ptr<Driver>> Kinds::make(Sr sr) {
    co_return kind(sr.type).make(sr.uuid, sr.config);
}

Task<void> Kinds::create(Sr sr) {
    return kind(sr.type).create(sr.uuid, sr.config);
}

Task<void> Kinds::destroy(Sr sr) {
    return kind(sr.type).destroy(sr.uuid, sr.config);
}

Task<std::string> Kinds::probe(std::string type, DeviceConfig config) {
    return kind(type).probe(std::move(config));
}

const Kind& Kinds::kind(const std::string& type) const {
    const auto found = kinds_.find(type);
    if (found == kinds_.end()) throw err::sr_unknown_driver(type);
    return found->second;
}

}  // namespace basalt::sm
