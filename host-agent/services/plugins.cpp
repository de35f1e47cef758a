#include "host-agent/services/plugins.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <boost/system/system_error.hpp>
#include <csignal>
#include <cstring>
#include <format>
#include <pugixml.hpp>

#include "base/subprocess.hpp"
#include "idl/errors.hpp"

namespace basalt::agent {

namespace {

// Callers bring their own limit and cancel; this one only keeps a forgotten script from staying for
// good.
constexpr Duration longest = std::chrono::hours(24);
constexpr int signal_base = 128;
constexpr std::size_t shown_bytes = 1000;  // of what is too long to be an answer

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '&')
            out += "&amp;";
        else if (c == '<')
            out += "&lt;";
        else if (c == '>')
            out += "&gt;";
        else if (c == '\r')
            out += "&#13;";
        else
            out += c;
    }
    return out;
}

std::string value_of(const std::string& text) {
    return "<value><string>" + escaped(text) + "</string></value>";
}

[[noreturn]] void refuse(const std::string& reason, const std::string& output,
                         const std::string& detail) {
    throw err::xenapi_plugin_failure(reason, output, detail);
}

// XML-RPC: a value without a type is a text.
std::string text_of(const pugi::xml_node& value) {
    const pugi::xml_node typed = value.find_child(
        [](const pugi::xml_node& child) { return child.type() == pugi::node_element; });
    return (typed ? typed : value).text().get();
}

pugi::xml_node member(const pugi::xml_node& record, std::string_view name) {
    for (const pugi::xml_node& entry : record.children("member"))
        if (entry.child("name").text().get() == name) return entry.child("value");
    return {};
}

[[noreturn]] void raise_failure(const pugi::xml_node& description, const std::string& output) {
    std::vector<std::string> words;
    for (const pugi::xml_node& word : description.child("array").child("data").children("value"))
        words.push_back(text_of(word));
    if (words.empty()) refuse("unexpected XMLRPC result", output, "");
    const std::string code = words.front();
    words.erase(words.begin());
    // The plug-in's own code and parameters: the only ones that are not of the data model.
    throw ApiError(code, std::move(words));
}

bool is_plugin(const std::string& path) {
    struct stat facts{};
    constexpr mode_t any_execute = S_IXUSR | S_IXGRP | S_IXOTH;
    return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) &&
           (facts.st_mode & any_execute) != 0;
}

void check_status(const Output& output) {
    if (output.status == 0) return;
    const char* signal =
        output.status > signal_base ? sigabbrev_np(output.status - signal_base) : nullptr;
    refuse(signal != nullptr ? std::format("signal: SIG{}", signal) : "non-zero exit", output.out,
           output.err);
}

}  // namespace

std::string plugin_call_text(const std::string& function, const std::string& session,
                             const PluginArgs& args) {
    std::string members;
    for (const auto& [name, value] : args)
        members += "<member><name>" + escaped(name) + "</name>" + value_of(value) + "</member>";
    return "<?xml version='1.0'?><methodCall><methodName>" + escaped(function) +
           "</methodName><params><param>" + value_of(session) + "</param><param><value><struct>" +
           members + "</struct></value></param></params></methodCall>";
}

std::string parse_plugin_response(const std::string& output) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(
        output.data(), output.size(), pugi::parse_default | pugi::parse_ws_pcdata_single);
    if (!parsed) refuse("failed to parse plugin output", output, parsed.description());
    const pugi::xml_node response = document.child("methodResponse");
    if (const pugi::xml_node fault = response.child("fault")) {
        const pugi::xml_node record = fault.child("value").child("struct");
        refuse("fault", text_of(member(record, "faultCode")),
               text_of(member(record, "faultString")));
    }
    const pugi::xml_node record =
        response.child("params").child("param").child("value").child("struct");
    const std::string status = text_of(member(record, "Status"));
    if (status == "Success") return text_of(member(record, "Value"));
    if (status == "Failure") raise_failure(member(record, "ErrorDescription"), output);
    refuse("unexpected XMLRPC result", output, "");
}

/// A running call: its group of processes, gone with it unless something was left running there.
class Plugins::Group {
  public:
    explicit Group(Plugins& plugins)
        : plugins_(plugins), name_("call-" + std::to_string(++plugins.last_)) {
        ++plugins_.running_;
        if (!plugins_.groups_) return;
        for (const std::string& old : std::set(plugins_.used_))
            if (plugins_.groups_->processes(old).empty()) drop(old);
        plugins_.used_.insert(name_);
        joins_ =
            plugins_.groups_->make(name_, {plugins_.limits_.memory_bytes_max,
                                           plugins_.limits_.pids_max, plugins_.limits_.cpu_weight});
    }

    Group(const Group&) = delete;
    Group& operator=(const Group&) = delete;

    ~Group() {
        --plugins_.running_;
        if (!plugins_.groups_) return;
        if (!ended_) plugins_.groups_->kill(name_);
        if (plugins_.groups_->processes(name_).empty()) drop(name_);
    }

    /// The same command, run within the group.
    [[nodiscard]] std::vector<std::string> inside(std::vector<std::string> command) const {
        if (joins_.empty()) return command;
        std::vector<std::string> out = {"/bin/sh", "-c", join_and_run, "plugin"};
        out.insert(out.end(), joins_.begin(), joins_.end());
        out.emplace_back("--");
        out.insert(out.end(), command.begin(), command.end());
        return out;
    }

    /// It came to its end by itself: what it left running may stay.
    void ended() { ended_ = true; }

  private:
    // A process joins by itself, before it becomes the plug-in: nothing of it runs outside.
    static constexpr const char* join_and_run =
        R"(while [ "$1" != -- ]; do echo 0 > "$1" || exit 126; shift; done; shift; exec "$@")";

    void drop(const std::string& name) {
        plugins_.groups_->remove(name);
        plugins_.used_.erase(name);
    }

    Plugins& plugins_;
    std::string name_;
    std::vector<std::string> joins_;
    bool ended_ = false;
};

Task<std::string> Plugins::call(std::string plugin, std::string function, PluginArgs args,
                                std::string session) {
    if (plugin.empty() || plugin.starts_with('.') || plugin.contains('/') || plugin.contains('\0'))
        throw err::xenapi_missing_plugin(plugin);
    const std::string path = directory_ + "/" + plugin;
    const bool there = co_await blocking(loop_, [path] { return is_plugin(path); });
    if (!there) throw err::xenapi_missing_plugin(plugin);
    if (running_ >= limits_.running_max) refuse("too many plug-ins run", "", "");

    Group group(*this);
    Command command;
    command.argv = group.inside({path, plugin_call_text(function, session, args)});
    command.directory = "/";
    Output output;
    try {
        output = co_await run_command(loop_, std::move(command), longest);
    } catch (const boost::system::system_error& error) {
        if (is_cancellation(std::current_exception())) throw;
        refuse("could not be started", "", error.what());
    }
    group.ended();
    if (std::max(output.out.size(), output.err.size()) > limits_.output_bytes_max)
        refuse("too much output", output.out.substr(0, shown_bytes), "");
    check_status(output);
    co_return parse_plugin_response(output.out);
}

}  // namespace basalt::agent
