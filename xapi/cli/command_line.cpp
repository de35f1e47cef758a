#include "xapi/cli/command_line.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace basalt::cli {

namespace {

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out;
}

std::vector<std::string> lines_of(std::string_view body) {
    std::vector<std::string> out;
    while (!body.empty()) {
        const auto end = std::min(body.find('\n'), body.size());
        std::string_view line = body.substr(0, end);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (!line.empty()) out.emplace_back(line);
        body.remove_prefix(std::min(end + 1, body.size()));
    }
    return out;
}

std::string_view name_of_switch(std::string_view word) {
    if (word == "-u") return "username";
    if (word == "-pw") return "password";
    if (word == "-s" || word == "-h") return "server";
    if (word == "-p") return "port";
    return {};
}

void add_word(const std::vector<std::string>& words, std::size_t& at, Params& params) {
    const std::string& word = words[at];
    if (word.starts_with("--")) {
        const auto equals = word.find('=');
        params.add(word.substr(2, equals - 2),
                   equals == std::string::npos ? "true" : word.substr(equals + 1));
    } else if (word.starts_with('-') && word.find('=') == std::string::npos) {
        const std::string_view name = name_of_switch(word);
        if (name.empty()) throw SyntaxError("unknown switch " + word);
        if (at + 1 == words.size()) throw SyntaxError(word + " takes a value");
        params.add(std::string(name), words[++at]);
    } else {
        const auto equals = word.find('=');
        params.add(word.substr(0, equals),
                   equals == std::string::npos ? "" : word.substr(equals + 1));
    }
}

}  // namespace

const std::string* Params::find(std::string_view name) const {
    const auto place = std::ranges::find(pairs_, name, &Pair::first);
    return place == pairs_.end() ? nullptr : &place->second;
}

const std::string& Params::need(std::string_view name) const {
    const std::string* value = find(name);
    if (value == nullptr) throw MissingParameter(std::string(name));
    return *value;
}

std::string Params::get(std::string_view name, std::string_view otherwise) const {
    const std::string* value = find(name);
    return value == nullptr ? std::string(otherwise) : *value;
}

bool Params::truth(std::string_view name, bool otherwise) const {
    const std::string* value = find(name);
    return value == nullptr ? otherwise : parse_truth(name, *value);
}

wire::Object Params::map(std::string_view name) const {
    wire::Object out;
    for (const auto& [key, value] : pairs_) {
        if (key.size() > name.size() && key.starts_with(name) && key[name.size()] == ':')
            out.push_back({key.substr(name.size() + 1), value});
    }
    return out;
}

CommandLine parse_command_line(std::string_view body) {
    std::vector<std::string> words = lines_of(body);
    CommandLine out;
    constexpr std::string_view forwarded = "session_id=";
    if (!words.empty() && words.front().starts_with(forwarded)) {
        out.session = words.front().substr(forwarded.size());
        words.erase(words.begin());
    }
    if (words.empty()) throw SyntaxError("no command");
    if (words.front().find('=') != std::string::npos || words.front().starts_with('-'))
        throw SyntaxError("the first word must be a command");
    out.command = words.front();
    Params all;
    for (std::size_t at = 1; at < words.size(); ++at)
        add_word(words, at, all);
    // The client's own come last; earlier ones belong to the command.
    std::vector<Params::Pair> pairs = all.all();
    for (const auto& [name, into] :
         {std::pair{"password", &out.password}, std::pair{"username", &out.user}}) {
        if (!pairs.empty() && pairs.back().first == name) {
            *into = pairs.back().second;
            pairs.pop_back();
        }
    }
    for (auto& [name, value] : pairs)
        out.params.add(std::move(name), std::move(value));
    return out;
}

bool parse_truth(std::string_view name, std::string_view text) {
    constexpr std::array<std::string_view, 5> yes = {"true", "t", "yes", "y", "1"};
    constexpr std::array<std::string_view, 5> no = {"false", "f", "no", "n", "0"};
    const std::string word = lower(text);
    if (std::ranges::contains(yes, word)) return true;
    if (std::ranges::contains(no, word)) return false;
    throw CommandError("Failed to parse parameter '" + std::string(name) +
                       "': expecting 'true' or 'false'");
}

std::int64_t parse_number(std::string_view name, std::string_view text) {
    std::int64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc{} || end != text.data() + text.size())
        throw CommandError("Failed to parse parameter '" + std::string(name) +
                           "': expecting an integer");
    return out;
}

std::int64_t parse_bytes(std::string_view name, std::string_view text) {
    constexpr std::array<std::pair<std::string_view, int>, 5> units = {
        {{"tib", 40}, {"gib", 30}, {"mib", 20}, {"kib", 10}, {"bytes", 0}}};
    std::string_view digits = text;
    int shift = 0;
    const std::string word = lower(text);
    for (const auto& [unit, bits] : units) {
        if (!word.ends_with(unit)) continue;
        digits.remove_suffix(unit.size());
        shift = bits;
        break;
    }
    while (digits.ends_with(' '))
        digits.remove_suffix(1);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc{} || end != digits.data() + digits.size() || number < 0 ||
        number > (INT64_MAX >> shift)) {
        throw CommandError("Failed to parse parameter '" + std::string(name) +
                           "': expecting an integer (possibly with suffix)");
    }
    return number << shift;
}

std::vector<std::string> split_items(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const auto end = std::min(text.find(','), text.size());
        std::string_view item = text.substr(0, end);
        while (item.starts_with(' '))
            item.remove_prefix(1);
        while (item.ends_with(' '))
            item.remove_suffix(1);
        if (!item.empty()) out.emplace_back(item);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

}  // namespace basalt::cli
