#include "xapi/cli/client/options.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <utility>

namespace basalt::cli::client {

namespace {

std::string trimmed(std::string_view text) {
    const auto first = text.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(" \t\r") - first + 1));
}

std::optional<std::string> read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    return std::string(std::istreambuf_iterator<char>(file), {});
}

void read_password_file(const std::string& path, Options& options) {
    const auto text = read_file(path);
    if (!text) throw UsageError("cannot read the password file " + path);
    const auto end = text->find('\n');
    options.user = trimmed(text->substr(0, end));
    if (end == std::string::npos) return;
    options.password = trimmed(text->substr(end + 1, text->find('\n', end + 1) - end - 1));
}

bool truth(std::string_view value) {
    return value.empty() || value == "true" || value == "yes" || value == "1";
}

/// A setting by its long name; false: none of the client's.
bool apply(Options& options, std::string_view name, const std::string& value) {
    if (name == "server")
        options.server = value;
    else if (name == "port")
        options.port = value;
    else if (name == "username")
        options.user = value;
    else if (name == "password")
        options.password = value;
    else if (name == "passwordfile")
        read_password_file(value, options);
    else if (name == "nossl")
        options.tls = !truth(value);
    else if (name == "debug")
        options.debug = truth(value);
    else if (name == "traceparent")
        options.traceparent = value;
    else
        return false;
    return true;
}

std::string_view long_name(std::string_view flag) {
    if (flag == "-s" || flag == "-h") return "server";
    if (flag == "-p") return "port";
    if (flag == "-u") return "username";
    if (flag == "-pw") return "password";
    if (flag == "-pwf") return "passwordfile";
    if (flag == "--traceparent") return "traceparent";
    return {};
}

void apply_words(const std::vector<std::string>& words, Options& options) {
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        if (const std::string_view name = long_name(word); !name.empty()) {
            if (i + 1 == words.size()) throw UsageError(word + " takes a value");
            apply(options, name, words[++i]);
        } else if (word == "--nossl") {
            options.tls = false;
        } else if (word == "--debug") {
            options.debug = true;
        } else if (word == "-version" || word == "--version") {
            options.version = true;
        } else {
            const auto equals = word.find('=');
            const bool own = equals != std::string::npos &&
                             apply(options, word.substr(0, equals), word.substr(equals + 1));
            if (!own) options.words.push_back(word);
        }
    }
}

}  // namespace

std::map<std::string, std::string> parse_settings(const std::string& text) {
    std::map<std::string, std::string> out;
    std::size_t at = 0;
    while (at < text.size()) {
        const auto end = std::min(text.find('\n', at), text.size());
        const std::string_view line = std::string_view(text).substr(at, end - at);
        const auto equals = line.find('=');
        if (equals != std::string_view::npos && !trimmed(line).starts_with('#'))
            out[trimmed(line.substr(0, equals))] = trimmed(line.substr(equals + 1));
        at = end + 1;
    }
    return out;
}

std::vector<std::string> split_extra(const std::string& text) {
    std::vector<std::string> out;
    std::string word;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) {
            word += text[++i];
        } else if (text[i] == ',') {
            out.push_back(std::exchange(word, {}));
        } else {
            word += text[i];
        }
    }
    if (!word.empty()) out.push_back(std::move(word));
    return out;
}

Options parse_options(const std::vector<std::string>& arguments, const Surroundings& surroundings) {
    Options options;
    for (const auto& [name, value] : surroundings.settings)
        apply(options, name, value);
    apply_words(split_extra(surroundings.extra_arguments), options);
    // Extra words come behind the command's own, where the server looks for parameters.
    const std::vector<std::string> behind = std::exchange(options.words, {});
    apply_words(arguments, options);
    options.words.insert(options.words.end(), behind.begin(), behind.end());
    return options;
}

Surroundings surroundings_of_process() {
    Surroundings out;
    if (const char* extra = std::getenv("XE_EXTRA_ARGS")) out.extra_arguments = extra;
    if (const char* home = std::getenv("HOME")) {
        if (const auto text = read_file(std::string(home) + "/.xe"))
            out.settings = parse_settings(*text);
    }
    return out;
}

std::string request_body(const Options& options) {
    std::string out;
    for (const std::string& word : options.words)
        out += word + '\n';
    return out + "username=" + options.user + "\npassword=" + options.password;
}

}  // namespace basalt::cli::client
