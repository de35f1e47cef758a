#include "hypervisor/xen/store.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/error.hpp"
#include "hypervisor/xen/xl.hpp"
#include "idl/errors.hpp"

// A C header without the words that C++ needs.
extern "C" {
#include <xenstore.h>
}

namespace basalt::hv::xen {

namespace {

// More than any agent writes; xe-guest-utilities has some two hundred nodes on a large guest.
constexpr std::size_t nodes_max = 1000;
constexpr std::size_t value_bytes_max = 1024;
constexpr int depth_max = 6;
const std::string domains_folder = "/local/domain/";

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

class Store {
  public:
    Store() : held_(hold_off_forks()), handle_(xs_open(0)) {
        if (!handle_) fail("the Xen store");
    }

    [[noreturn]] static void fail(const std::string& what) {
        throw err::internal_error(what + ": " + std::strerror(errno));
    }

    [[nodiscard]] std::vector<std::string> list(const std::string& path) const {
        unsigned count = 0;
        const std::unique_ptr<char*, Free> names(
            xs_directory(handle_.get(), XBT_NULL, path.c_str(), &count));
        if (!names) return {};
        return {names.get(), names.get() + count};
    }

    [[nodiscard]] std::optional<std::string> read(const std::string& path) const {
        unsigned size = 0;
        const std::unique_ptr<void, Free> value(
            xs_read(handle_.get(), XBT_NULL, path.c_str(), &size));
        if (!value) return std::nullopt;
        return std::string(static_cast<const char*>(value.get()), size);
    }

    void write(const std::string& path, const std::string& value) const {
        if (!xs_write(handle_.get(), XBT_NULL, path.c_str(), value.data(),
                      static_cast<unsigned>(value.size())))
            fail(path);
    }

    /// Makes the node if need be; the domain may then write there.
    void open_to(DomId dom, const std::string& path) const {
        if (!xs_mkdir(handle_.get(), XBT_NULL, path.c_str())) fail(path);
        // The owner of a node may do everything with it; the first entry's word is for all others.
        std::array<xs_permissions, 1> owner{};
        owner[0].id = static_cast<unsigned>(dom);
        owner[0].perms = XS_PERM_NONE;
        if (!xs_set_permissions(handle_.get(), XBT_NULL, path.c_str(), owner.data(), owner.size()))
            fail(path);
    }

  private:
    struct Close {
        void operator()(xs_handle* store) const { xs_close(store); }
    };

    std::shared_lock<std::shared_mutex> held_;
    std::unique_ptr<xs_handle, Close> handle_;
};

void read_below(const Store& store, const std::string& top, const std::string& path, int depth,
                Nodes& out) {
    for (const std::string& name : store.list(top + path)) {
        if (out.size() >= nodes_max || depth >= depth_max) return;
        const std::string below = path + "/" + name;
        auto value = store.read(top + below);
        if (value && !value->empty() && value->size() <= value_bytes_max)
            out.emplace(below.substr(1), std::move(*value));
        read_below(store, top, below, depth + 1, out);
    }
}

}  // namespace

std::string path_of_domain(DomId dom) {
    return domains_folder + std::to_string(dom);
}

std::optional<DomId> domain_of_path(const std::string& path) {
    if (!path.starts_with(domains_folder)) return std::nullopt;
    const char* const begin = path.data() + domains_folder.size();
    const char* const all = path.data() + path.size();
    DomId dom = 0;
    const auto [end, error] = std::from_chars(begin, all, dom);
    if (error != std::errc{} || (end != all && *end != '/')) return std::nullopt;
    return dom;
}

Nodes read_guest_nodes(DomId dom, const std::vector<std::string>& folders) {
    const Store store;
    Nodes out;
    for (const std::string& folder : folders)
        read_below(store, path_of_domain(dom), "/" + folder, 0, out);
    return out;
}

void prepare_guest_nodes(DomId dom, const Nodes& nodes) {
    const Store store;
    const std::string own = path_of_domain(dom) + "/";
    // By these the agents say what can be asked of them; libxl makes some, and lets guests add
    // none.
    for (const char* folder :
         {"vm-data", "messages", "error", "control/feature-balloon", "control/feature-shutdown",
          "control/feature-vcpu-hotplug", "control/feature-hibernate", "control/feature-xs-batcmd"})
        store.open_to(dom, own + folder);
    for (const auto& [path, value] : nodes)
        store.write(own + path, value);
}

}  // namespace basalt::hv::xen
