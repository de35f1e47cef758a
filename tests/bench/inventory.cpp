#include "tests/bench/inventory.hpp"

#include <format>
#include <functional>
#include <stdexcept>
#include <thread>

namespace basalt::bench {

namespace {

constexpr int workers = 16;
constexpr int guests_up_seconds = 120;

using Make = std::function<void(Client& client, int number)>;

void in_parallel(const Target& target, const std::string& session, int count, const Make& make) {
    std::vector<std::exception_ptr> failures(workers);
    {
        std::vector<std::jthread> threads;
        for (int worker = 0; worker < workers; ++worker)
            threads.emplace_back([&, worker] {
                try {
                    Client client(target);
                    client.use_session(session);
                    for (int i = worker; i < count; i += workers)
                        make(client, i);
                } catch (...) {
                    failures[static_cast<std::size_t>(worker)] = std::current_exception();
                }
            });
    }
    for (const auto& failure : failures)
        if (failure) std::rethrow_exception(failure);
}

/// As VM.create takes it, from a record that is there.
Json vm_like(const Json& record) {
    Json vm = record;
    vm["is_a_template"] = false;
    vm["is_control_domain"] = false;
    vm["affinity"] = "OpaqueRef:NULL";
    vm["memory_static_max"] = vm["memory_dynamic_max"] = vm["memory_dynamic_min"] = "67108864";
    vm["memory_static_min"] = "16777216";
    vm["VCPUs_max"] = vm["VCPUs_at_startup"] = "2";
    vm["name_description"] = "made by a benchmark, as long as descriptions are";
    vm["HVM_boot_policy"] = "BIOS order";
    vm["HVM_boot_params"] = {{"order", "cdn"}};
    vm["PV_bootloader"] = "";
    vm["platform"] = Json::object();
    for (const char* key :
         {"acpi", "apic", "device-model", "nx", "pae", "secureboot", "viridian", "vga", "videoram"})
        vm["platform"][key] = "true";
    vm["other_config"] = Json::object();
    vm["tags"] = Json::array();
    return vm;
}

}  // namespace

void Inventory::add_vms(const Target& target, const std::string& session, int count) {
    Client client(target);
    client.use_session(session);
    const Json known = client.call("VM.get_all_records");
    if (known.empty()) throw std::runtime_error("there is no VM to begin with");
    const Json vm = vm_like(*known.begin());
    const std::size_t first = vms.size();
    vms.resize(first + static_cast<std::size_t>(count));
    in_parallel(target, session, count, [&](Client& mine, int number) {
        Json record = vm;
        record["name_label"] = std::format("virtual machine {}", first + number);
        vms[first + static_cast<std::size_t>(number)] =
            mine.call("VM.create", {record}).get<std::string>();
    });
}

void Inventory::add_devices(const Target& target, const std::string& session) {
    Client client(target);
    client.use_session(session);
    std::string sr;
    const Json srs = client.call("SR.get_all_records");
    for (const auto& [ref, record] : srs.items())
        if (record.at("content_type") != "iso" && !record.at("PBDs").empty()) sr = ref;
    const Json networks = client.call("network.get_all");
    if (sr.empty() || networks.empty()) throw std::runtime_error("no SR, or no network");
    const auto disk = [&](Client& mine, const std::string& vm, const std::string& device) {
        const Json vdi = mine.call("VDI.create", {{{"name_label", "disk " + device},
                                                   {"name_description", ""},
                                                   {"SR", sr},
                                                   {"virtual_size", "8589934592"},
                                                   {"type", "user"},
                                                   {"sharable", false},
                                                   {"read_only", false},
                                                   {"other_config", Json::object()}}});
        mine.call("VBD.create", {{{"VM", vm},
                                  {"VDI", vdi},
                                  {"userdevice", device},
                                  {"bootable", device == "0"},
                                  {"mode", "RW"},
                                  {"type", "Disk"},
                                  {"unpluggable", true},
                                  {"empty", false},
                                  {"other_config", Json::object()},
                                  {"qos_algorithm_type", ""},
                                  {"qos_algorithm_params", Json::object()}}});
    };
    in_parallel(target, session, static_cast<int>(vms.size()), [&](Client& mine, int number) {
        const std::string& vm = vms[static_cast<std::size_t>(number)];
        disk(mine, vm, "0");
        disk(mine, vm, "1");
        mine.call("VIF.create", {{{"device", "0"},
                                  {"network", networks.front()},
                                  {"VM", vm},
                                  {"MAC", ""},
                                  {"MTU", "1500"},
                                  {"other_config", Json::object()},
                                  {"qos_algorithm_type", ""},
                                  {"qos_algorithm_params", Json::object()}}});
    });
}

void Inventory::start_vms(const Target& target, const std::string& session) {
    in_parallel(target, session, static_cast<int>(vms.size()), [&](Client& mine, int number) {
        mine.call("VM.start", {vms[static_cast<std::size_t>(number)], false, false});
    });
    Client client(target);
    client.use_session(session);
    const auto all_have = [&](const char* method) {
        return client.call(method, {}).size() >= vms.size();
    };
    for (int seconds = 0; !all_have("console.get_all") || !all_have("VM_guest_metrics.get_all");
         ++seconds) {
        if (seconds == guests_up_seconds) throw std::runtime_error("the guests do not come up");
        std::this_thread::sleep_for(std::chrono::seconds(1));
    }
}

}  // namespace basalt::bench
