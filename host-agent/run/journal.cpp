#include "host-agent/run/journal.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace basalt::agent {

using Json = nlohmann::json;

namespace {

// What never changes of an operation, and what does: the second is written at each step.
const std::string operations = "operation";
const std::string states = "operation_state";
const std::string leftover_room = "leftover";
constexpr std::string_view cancelled_word = "cancelled";

std::string state_text(Phase phase, std::size_t step, const Json& result,
                       const std::vector<std::string>& error) {
    Json state = {{"phase", static_cast<int>(phase)}, {"step", step}};
    if (!result.is_null()) state["result"] = result;
    if (!error.empty()) state["error"] = error;
    return state.dump();
}

Entry parse_entry(const std::string& id, const std::string& fixed, const std::string& changing) {
    const Json json = Json::parse(fixed);
    const Json state = Json::parse(changing);
    Entry entry;
    entry.id = id;
    entry.verb = json.at("verb").get<std::string>();
    entry.args = json.at("args");
    entry.term = json.value("term", std::int64_t{0});
    entry.keep = json.value("keep", true);
    entry.plan = json.at("plan").get<plan::Plan>();
    entry.phase = static_cast<Phase>(state.at("phase").get<int>());
    entry.step = state.at("step").get<std::size_t>();
    entry.result = state.value("result", Json());
    entry.error = state.value("error", std::vector<std::string>());
    return entry;
}

bool ended(Phase phase) {
    return phase == Phase::done || phase == Phase::failed;
}

}  // namespace

std::optional<Entry> Journal::find(const std::string& id) const {
    const auto fixed = records_.get(operations, id);
    const auto state = records_.get(states, id);
    if (!fixed || !state) return std::nullopt;
    return parse_entry(id, *fixed, *state);
}

std::vector<Entry> Journal::under_way() const {
    std::vector<Entry> out;
    for (const auto& [id, fixed] : records_.room(operations)) {
        auto entry = find(id);
        if (entry && !ended(entry->phase)) out.push_back(std::move(*entry));
    }
    return out;
}

std::vector<Entry> Journal::kept() const {
    std::vector<Entry> out;
    for (const auto& [id, fixed] : records_.room(operations)) {
        auto entry = find(id);
        if (entry && ended(entry->phase)) out.push_back(std::move(*entry));
    }
    return out;
}

std::vector<Leftover> Journal::leftovers() const {
    std::vector<Leftover> out;
    for (const auto& [id, text] : records_.room(leftover_room)) {
        const Json json = Json::parse(text);
        out.push_back({id, json.value("operation", std::string()), json.at("act").get<plan::Act>(),
                       json.value("error", std::string())});
    }
    return out;
}

std::set<std::string> Journal::left_over_domains() const {
    std::set<std::string> out;
    for (const Leftover& leftover : leftovers())
        if (leftover.act.kind == plan::Kind::destroy) out.insert(leftover.act.vm);
    return out;
}

Task<void> Journal::begin(Entry entry) {
    const Json fixed = {{"verb", entry.verb},
                        {"args", entry.args},
                        {"term", entry.term},
                        {"keep", entry.keep},
                        {"plan", entry.plan}};
    co_await records_.commit(
        {{operations, entry.id, fixed.dump()},
         {states, entry.id, state_text(entry.phase, entry.step, {}, entry.error)}});
}

Task<void> Journal::reach(std::string id, Phase phase, std::size_t step,
                          std::vector<std::string> error) {
    co_await records_.commit({{states, std::move(id), state_text(phase, step, {}, error)}});
}

Task<void> Journal::finish(Entry entry) {
    if (!entry.keep) {
        co_await records_.commit(
            {{operations, entry.id, std::nullopt}, {states, entry.id, std::nullopt}});
        co_return;
    }
    co_await records_.commit(
        {{states, entry.id, state_text(entry.phase, entry.step, entry.result, entry.error)}});
}

Task<void> Journal::acknowledge(std::vector<std::string> ids) {
    std::vector<Records::Change> changes;
    for (const std::string& id : ids) {
        const auto entry = find(id);
        if (!entry || !ended(entry->phase)) continue;
        changes.push_back({operations, id, std::nullopt});
        changes.push_back({states, id, std::nullopt});
    }
    if (!changes.empty()) co_await records_.commit(std::move(changes));
}

Task<void> Journal::add_leftovers(std::vector<Leftover> leftovers) {
    std::vector<Records::Change> changes;
    for (const Leftover& leftover : leftovers) {
        const Json json = {
            {"operation", leftover.operation}, {"act", leftover.act}, {"error", leftover.error}};
        changes.push_back({leftover_room, leftover.id, json.dump()});
    }
    co_await records_.commit(std::move(changes));
}

Task<void> Journal::drop_leftover(std::string id) {
    co_await records_.commit({{leftover_room, std::move(id), std::nullopt}});
}

std::vector<std::string> error_words(const std::exception_ptr& failure) {
    if (is_cancellation(failure)) return {std::string(cancelled_word)};
    const ApiError error = as_api_error(failure);
    std::vector<std::string> words = {error.code()};
    words.insert(words.end(), error.params().begin(), error.params().end());
    return words;
}

void throw_words(const std::vector<std::string>& words) {
    if (!words.empty() && words.front() == cancelled_word)
        throw boost::system::system_error(asio::error::operation_aborted);
    throw ApiError(words.at(0), {words.begin() + 1, words.end()});
}

}  // namespace basalt::agent
