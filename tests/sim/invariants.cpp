#include "tests/sim/invariants.hpp"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "idl/records.hpp"
#include "idl/runtime/record_codec.hpp"
#include "idl/runtime/writers.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/domain/networks.hpp"
#include "xapi/domain/placement.hpp"
#include "xapi/domain/vm_rules.hpp"

namespace basalt::testing {

namespace {

using Json = nlohmann::json;
using xenapi::Ref;

class Findings {
  public:
    explicit Findings(SimPool& pool) : pool_(pool) {}

    std::vector<std::string> all() {
        records();
        allowed_operations();
        left_over();
        guests();
        disks();
        images();
        for (std::size_t i = 0; i < pool_.hosts.size(); ++i) {
            network(i);
            plugs(i);
            agent(i);
            memory(i);
        }
        return std::move(found_);
    }

  private:
    void check(bool holds, const std::string& what) {
        if (!holds) found_.push_back(what);
    }

    template <class Set>
    void same(const Set& world, const Set& records, const std::string& what) {
        for (const auto& each : world)
            check(records.contains(each), what + " " + each + " is in the world only");
        for (const auto& each : records)
            check(world.contains(each), what + " " + each + " is in the records only");
    }

    // -- the records by themselves ------------------------------------------------------------

    // name and reference -> the record as clients see it.
    std::map<std::string, Json> rows() {
        std::map<std::string, Json> out;
        for (const xenapi::ClassInfo& cls : xenapi::classes()) {
            if (!cls.in_database) continue;
            pool_.db().each(cls, [&](const db::RowPtr& row) {
                std::string text;
                wire::JsonWriter writer(text);
                xenapi::write_record(cls, row->record.get(), writer);
                out.emplace(std::string(cls.name) + " " + xenapi::ref_text(row->ref),
                            Json::parse(text));
            });
        }
        return out;
    }

    void records() {
        const std::map<std::string, Json> all = rows();
        std::set<std::string> refs;
        for (const auto& [name, row] : all)
            refs.insert(name.substr(name.find(' ') + 1));
        for (const auto& [name, row] : all) {
            each_text(row, [&](const std::string& text) {
                const bool ref = text.starts_with("OpaqueRef:") && text != "OpaqueRef:NULL";
                check(!ref || refs.contains(text), name + " refers to " + text + ", which is gone");
            });
            if (const auto ops = row.find("current_operations"); ops != row.end())
                check(ops->empty(), name + " has current_operations " + ops->dump());
        }
        pool_.db().each<xenapi::Task>([&](Ref<xenapi::Task> ref, const xenapi::Task& task) {
            check(task.status != xenapi::TaskStatusType::pending,
                  "task " + ref.text() + " " + task.name_label + " has not ended");
        });
    }

    static void each_text(const Json& json, const std::function<void(const std::string&)>& f) {
        if (json.is_string()) return f(json.get_ref<const std::string&>());
        if (json.is_object())
            for (const auto& [key, value] : json.items()) {
                f(key);
                each_text(value, f);
            }
        if (json.is_array())
            for (const Json& value : json)
                each_text(value, f);
    }

    void allowed_operations() {
        // Deriving all anew finds nothing to change.
        const std::map<std::string, Json> before = rows();
        pool_.db().derive_all();
        for (const auto& [name, row] : rows())
            if (const auto ops = row.find("allowed_operations"); ops != row.end())
                check(before.at(name).at("allowed_operations") == *ops,
                      name + " " + row.value("name_label", "") + " allowed " +
                          before.at(name).at("allowed_operations").dump() + ", should allow " +
                          ops->dump());
    }

    // -- the world against the records --------------------------------------------------------

    [[nodiscard]] Ref<xenapi::Host> row_of(std::size_t host) const {
        return *pool_.db().by_uuid<xenapi::Host>(pool_.hosts[host]->facts().uuid);
    }

    void guests() {
        std::set<std::string> world;
        for (std::size_t i = 0; i < pool_.hosts.size(); ++i)
            for (const std::string& vm : pool_.hosts[i]->machine().domain_vms())
                world.insert(vm + " on " + row_of(i).text());
        std::set<std::string> known;
        pool_.db().each<xenapi::Vm>([&](Ref<xenapi::Vm>, const xenapi::Vm& vm) {
            if (vm.is_control_domain) return;
            const std::string name = "VM " + vm.name_label;
            if (domain::has_domain(vm)) known.insert(vm.uuid + " on " + vm.resident_on.text());
            check(domain::has_domain(vm) || !vm.resident_on, name + " has no domain, but a host");
            check(!vm.scheduled_to_be_resident_on, name + " is still promised to a host");
            const bool asleep = vm.power_state == xenapi::VmPowerState::suspended;
            const bool image = pool_.db().find(vm.suspend_VDI) != nullptr;
            check(asleep == image, name + (image ? " has an image awake" : " has lost its image"));
            for (const auto vbd : vm.VBDs) {
                const xenapi::Vbd& row = pool_.db().get(vbd);
                check(!row.reserved, name + " still reserves disk " + row.userdevice);
                check(!row.currently_attached || domain::has_domain(vm) || asleep,
                      name + " sleeps with a disk attached");
            }
        });
        same(world, known, "domain of VM");
    }

    // What is kept up with each change must be what a look at every VM tells.
    void memory(std::size_t number) {
        const Ref<xenapi::Host> host = row_of(number);
        const auto kept =
            pool_.get<std::int64_t>("host.compute_free_memory", {wire::Value(host.text())});
        const std::int64_t counted =
            pool_.db().transact([&](db::Txn& txn) { return domain::memory_free_bytes(txn, host); });
        check(kept == counted, "host " + host.text() + " has " + std::to_string(kept) +
                                   " bytes free by the ledger, " + std::to_string(counted) +
                                   " by its VMs");
    }

    void disks() {
        std::set<std::string> world;
        std::map<std::string, std::set<std::string>> needed;
        std::set<std::string> images;
        for (const auto& [name, repository] : pool_.shared->disks->repositories)
            for (const auto& [uuid, disk] : repository.disks) {
                world.insert(uuid);
                for (std::string next = disk.image; !next.empty();
                     next = pool_.shared->disks->images.at(next).backing)
                    images.insert(next);
            }
        std::set<std::string> known;
        pool_.db().each<xenapi::Vdi>([&](Ref<xenapi::Vdi>, const xenapi::Vdi& vdi) {
            known.insert(vdi.uuid);
            check(!vdi.provisional, "disk " + vdi.uuid + " " + vdi.name_label + " is provisional");
            check(!vdi.missing, "disk " + vdi.uuid + " " + vdi.name_label + " is missing");
        });
        same(world, known, "disk");
        for (const auto& [path, image] : pool_.shared->disks->images)
            check(images.contains(path), "image " + path + " belongs to no disk");
    }

    void images() {
        pool_.db().each<xenapi::Vm>([&](Ref<xenapi::Vm>, const xenapi::Vm& vm) {
            const xenapi::Vdi* image = pool_.db().find(vm.suspend_VDI);
            if (image == nullptr) return;
            check(pool_.shared->suspended_in(image->uuid) != nullptr,
                  "the image of " + vm.name_label + " is void");
        });
    }

    void network(std::size_t host) {
        agent::NetworkWant want;
        pool_.db().transact([&](db::Txn& txn) { want = domain::network_want(txn, row_of(host)); });
        std::set<std::string> known;
        for (const agent::BridgeWant& bridge : want.bridges)
            known.insert(bridge.name + " tag " + std::to_string(bridge.vlan_tag));
        std::set<std::string> world;
        for (const auto& [name, bridge] : pool_.hosts[host]->network().bridges())
            world.insert(name + " tag " + std::to_string(bridge.tag));
        same(world, known, "on host " + std::to_string(host) + " bridge");
    }

    void plugs(std::size_t host) {
        std::set<std::string> disks;
        std::set<std::string> ports;
        pool_.db().each<xenapi::Vm>([&](Ref<xenapi::Vm>, const xenapi::Vm& vm) {
            if (!domain::has_domain(vm) || vm.is_control_domain || vm.resident_on != row_of(host))
                return;
            for (const auto vbd : vm.VBDs) {
                const xenapi::Vbd& row = pool_.db().get(vbd);
                if (row.currently_attached && row.VDI) disks.insert(vm.uuid + " " + row.device);
            }
            for (const auto vif : vm.VIFs) {
                const xenapi::Vif& row = pool_.db().get(vif);
                if (row.currently_attached)
                    ports.insert(agent::tap_name({.vif = row.uuid}) + " on " +
                                 pool_.db().get(row.network).bridge);
            }
        });
        std::set<std::string> served;
        for (const auto& [vm, device] : pool_.hosts[host]->disks().plugs())
            served.insert(vm + " " + device);
        same(served, disks, "on host " + std::to_string(host) + " open disk");
        std::set<std::string> plugged;
        for (const auto& [port, bridge] : pool_.hosts[host]->network().port_bridges())
            plugged.insert(port + " on " + bridge);
        same(plugged, ports, "on host " + std::to_string(host) + " port");
    }

    void left_over() {
        pool_.db().each<xenapi::Vm>([&](Ref<xenapi::Vm> ref, const xenapi::Vm& vm) {
            check(vm.left_over_on.null(), "VM " + ref.text() + " is left over on a host");
        });
    }

    void agent(std::size_t host) {
        const std::string name = "host " + std::to_string(host);
        agent::sim::SimHost& machine = *pool_.hosts[host];
        check(machine.agent().runner().running() == 0, name + " still runs an operation");
        for (const agent::Leftover& left : machine.journal().leftovers())
            check(false, name + " has a leftover: " + agent::plan::describe(left.act));
        for (const agent::Entry& entry : machine.journal().under_way())
            check(false, name + " has not ended " + entry.verb + " " + entry.id);
        for (const agent::Entry& entry : machine.journal().kept())
            check(false, name + " still keeps the result of " + entry.verb + " " + entry.id);
        std::set<std::string> remembered;
        for (const auto& [vm, spec] : machine.agent().guests().remembered())
            remembered.insert(vm);
        std::set<std::string> domains;
        for (const std::string& vm : machine.machine().domain_vms())
            domains.insert(vm);
        same(domains, remembered, name + ": remembered VM");
    }

    SimPool& pool_;
    std::vector<std::string> found_;
};

}  // namespace

std::vector<std::string> broken(SimPool& pool) {
    std::vector<std::string> found = Findings(pool).all();
    for (const std::string& seen : pool.seen_broken())
        found.push_back(seen);
    return found;
}

std::string broken_text(SimPool& pool) {
    std::string text;
    for (const std::string& line : broken(pool))
        text += line + "\n";
    return text;
}

}  // namespace basalt::testing
