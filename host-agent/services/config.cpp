#include "host-agent/services/config.hpp"

#define TOML_EXCEPTIONS 1
#include <algorithm>
#include <array>
#include <cerrno>
#include <format>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <set>
#include <stdexcept>
#include <system_error>
#include <toml++/toml.hpp>

#include "base/uuid.hpp"

namespace basalt::agent {

namespace {

/// One [section]: gives out values by key and remembers which were asked for.
class Section {
  public:
    Section(const toml::table& document, std::string name, const std::string& file)
        : name_(std::move(name)), file_(file) {
        const toml::node* node = document.get(name_);
        if (node == nullptr) return;
        table_ = node->as_table();
        if (table_ == nullptr) fail(*node, name_, "is not a section");
    }

    void read(const char* key, std::string& out) {
        if (const toml::node* node = find(key)) {
            const auto text = node->value_exact<std::string>();
            if (!text) fail(*node, path(key), "is not a text");
            out = *text;
        }
    }

    void read(const char* key, std::int64_t& out) {
        if (const toml::node* node = find(key)) {
            const auto number = node->value_exact<std::int64_t>();
            if (!number) fail(*node, path(key), "is not a whole number");
            out = *number;
        }
    }

    void read(const char* key, std::vector<std::string>& out) {
        const toml::node* node = find(key);
        if (node == nullptr) return;
        const toml::array* list = node->as_array();
        if (list == nullptr || list->empty() || !list->is_homogeneous(toml::node_type::string))
            fail(*node, path(key), "is not a list of texts");
        out.clear();
        for (const toml::node& item : *list)
            out.push_back(item.value_or(std::string()));
    }

    void require(const char* key, std::string& out) {
        read(key, out);
        if (out.empty()) throw std::invalid_argument(file_ + ": " + path(key) + " is missing");
    }

    void choose(const char* key, std::string& out, std::initializer_list<const char*> words) {
        read(key, out);
        if (std::ranges::contains(words, out)) return;
        std::string known;
        for (const char* word : words)
            known += std::string(known.empty() ? "" : ", ") + word;
        throw std::invalid_argument(
            std::format("{}: {} is '{}', not one of {}", file_, path(key), out, known));
    }

    [[nodiscard]] std::string path(const std::string& key) const { return name_ + "." + key; }

    void unread(std::vector<std::string>& out) const {
        if (table_ == nullptr) return;
        for (const auto& [key, node] : *table_)
            if (!read_.contains(std::string(key.str())))
                out.push_back(path(std::string(key.str())));
    }

  private:
    const toml::node* find(const char* key) {
        read_.insert(key);
        return table_ == nullptr ? nullptr : table_->get(key);
    }

    [[noreturn]] void fail(const toml::node& node, const std::string& key, const char* what) const {
        throw std::invalid_argument(
            std::format("{}:{}: {} {}", file_, node.source().begin.line, key, what));
    }

    std::string name_;
    const std::string& file_;
    const toml::table* table_ = nullptr;
    std::set<std::string> read_;
};

toml::table parse(std::string_view text, const std::string& file) {
    try {
        return toml::parse(text);
    } catch (const toml::parse_error& error) {
        throw std::invalid_argument(
            std::format("{}:{}: {}", file, error.source().begin.line, error.description()));
    }
}

}  // namespace

Config parse_config(std::string_view text, const std::string& file) {
    const toml::table document = parse(text, file);
    Config config;
    Section host(document, "host", file);
    host.require("uuid", config.host.uuid);
    if (!Uuid::parse(config.host.uuid))
        throw std::invalid_argument(file + ": host.uuid is not a uuid: " + config.host.uuid);
    host.require("hostname", config.host.hostname);
    host.require("state", config.host.state);
    host.read("address", config.host.address);
    host.read("gateway", config.host.gateway);
    host.read("dns", config.host.dns);
    host.read("management", config.host.management);
    host.read("boot_id", config.host.boot_id);
    host.read("boot_time", config.host.boot_time);

    Section hostd(document, "hostd", file);
    config.hostd.socket = config.host.state + "/hostd.sock";
    hostd.read("socket", config.hostd.socket);
    hostd.choose("backend", config.hostd.backend, {"qemu", "xen", "sim"});
    hostd.read("sim_memory_bytes", config.hostd.sim_memory_bytes);
    if (config.hostd.sim_memory_bytes < std::int64_t{1} << 30)
        throw std::invalid_argument(file + ": hostd.sim_memory_bytes is less than 1 GiB");
    hostd.read("pam_dir", config.hostd.pam_dir);
    hostd.read("pam_service", config.hostd.pam_service);
    hostd.read("ovsdb", config.hostd.ovsdb);
    hostd.choose("ovs_datapath", config.hostd.ovs_datapath, {"system", "netdev"});
    hostd.read("network_conf", config.hostd.network_conf);
    hostd.read("plugin_dir", config.hostd.plugin_dir);
    hostd.read("extension_dir", config.hostd.extension_dir);
    hostd.read("etc_dir", config.hostd.etc_dir);
    hostd.read("control", config.hostd.control);
    hostd.read("usb_dir", config.hostd.usb_dir);
    hostd.read("pci_dir", config.hostd.pci_dir);
    hostd.read("certificate", config.hostd.certificate);
    hostd.read("qemu", config.hostd.qemu);
    hostd.read("qsd", config.hostd.qsd);
    hostd.read("run_dir", config.hostd.run_dir);
    hostd.read("console_program", config.hostd.console_program);
    hostd.read("xapi_uid", config.hostd.xapi_uid);
    hostd.read("launcher", config.hostd.launcher);
    hostd.read("uid_first", config.hostd.uid_first);
    if (config.hostd.uid_first < 1000 || config.hostd.uid_first > INT32_MAX)
        throw std::invalid_argument(file + ": hostd.uid_first is no user of a program");
    hostd.read("boot_dir", config.hostd.boot_dir);

    Section storage(document, "storage", file);
    LocalSr local{.type = "file", .location = "", .uuid = ""};
    storage.read("local_sr", local.location);
    storage.read("local_sr_type", local.type);
    storage.read("local_sr_uuid", local.uuid);
    if (!local.location.empty()) config.storage.local_sr = std::move(local);
    storage.read("iso_sr", config.storage.iso_sr);
    storage.read("worker", config.storage.worker);

    for (const Section* section : {&host, &hostd, &storage})
        section->unread(config.unknown);
    return config;
}

Config load_config(const std::string& file) {
    std::ifstream in(file);
    if (!in) throw std::system_error(errno, std::generic_category(), file);
    const std::string text(std::istreambuf_iterator<char>(in), {});
    return parse_config(text, file);
}

std::string network_backend(const std::string& file) {
    std::ifstream in(file);
    std::string word;
    if (!in || !(in >> word)) return "openvswitch";
    if (word == "bridge" || word == "openvswitch") return word;
    throw std::invalid_argument(file + ": '" + word + "' is not one of bridge, openvswitch");
}

}  // namespace basalt::agent
