#include "xapi/cli/api.hpp"

#include <format>

namespace basalt::cli {

namespace {

/// Records that came as one answer.
class AnsweredRecords final : public Records {
  public:
    explicit AnsweredRecords(wire::Value answer) {
        auto* const records = std::get_if<wire::Object>(&answer.data);
        if (records == nullptr) return;
        for (auto& [ref, record] : *records) {
            refs_.push_back(ref);
            records_.push_back(std::move(record));
        }
    }

    [[nodiscard]] const std::vector<std::string>& refs() const override { return refs_; }

    [[nodiscard]] std::optional<wire::Value> member(std::size_t place,
                                                    std::string_view name) const override {
        const wire::Value* found = records_.at(place).find(name);
        return found == nullptr ? std::nullopt : std::optional(*found);
    }

    [[nodiscard]] wire::Value record(std::size_t place) const override {
        return records_.at(place);
    }

  private:
    std::vector<std::string> refs_;
    std::vector<wire::Value> records_;
};

}  // namespace

Task<std::unique_ptr<Records>> Api::all_records(std::string class_name, std::string session) {
    wire::Value answer = co_await call(class_name + ".get_all_records", args(std::move(session)));
    co_return std::make_unique<AnsweredRecords>(std::move(answer));
}

Task<std::unique_ptr<Records>> Session::all_records(std::string class_name) {
    return api_.all_records(std::move(class_name), ref_);
}

Task<wire::Value> Session::call(std::string method, wire::Array params) {
    params.insert(params.begin(), wire::Value(ref_));
    co_return co_await api_.call(std::move(method), std::move(params));
}

Task<std::string> Session::text(std::string method, wire::Array params) {
    const wire::Value answer = co_await call(std::move(method), std::move(params));
    co_return shown(answer);
}

Task<std::string> Session::by_uuid(std::string class_name, std::string uuid) {
    co_return co_await text(class_name + ".get_by_uuid", args(std::move(uuid)));
}

Task<std::string> Session::uuid_of(std::string class_name, std::string ref) {
    co_return co_await text(class_name + ".get_uuid", args(std::move(ref)));
}

std::string text_member(const wire::Value& record, std::string_view name) {
    const wire::Value* member = record.find(name);
    return member == nullptr ? std::string{} : shown(*member);
}

bool true_member(const wire::Value& record, std::string_view name) {
    const wire::Value* member = record.find(name);
    const bool* value = member == nullptr ? nullptr : member->get<bool>();
    return value != nullptr && *value;
}

wire::Array list_member(const wire::Value& record, std::string_view name) {
    const wire::Value* member = record.find(name);
    const auto* list = member == nullptr ? nullptr : member->get<wire::Array>();
    return list == nullptr ? wire::Array{} : *list;
}

std::string shown(const wire::Value& value) {
    if (const auto* text = value.get<std::string>()) return *text;
    if (const auto* date = value.get<wire::DateTimeText>()) return date->text;
    if (const auto* integer = value.get<std::int64_t>()) return std::to_string(*integer);
    if (const auto* real = value.get<double>()) return std::format("{:.3f}", *real);
    if (const auto* truth = value.get<bool>()) return *truth ? "true" : "false";
    return {};
}

}  // namespace basalt::cli
