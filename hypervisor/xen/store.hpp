#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/api/hypervisor.hpp"

/// Xen's store, a small tree of texts through which the control domain and guests tell each other
/// things. All of this blocks: call it off the loop.
namespace basalt::hv::xen {

/// Values by their paths below some node. A node that only has others below it is not in it.
using Nodes = std::map<std::string, std::string>;

/// Reads what lies below `folders` (`data`, `attr`) of the domain's own part, as far as it is no
/// more than any agent writes: guests write there. A domain that is not there has nothing.
Nodes read_guest_nodes(DomId dom, const std::vector<std::string>& folders);

/// Makes the domain's part ready for what agents write and libxl does not foresee, and puts
/// `nodes` there. Throws INTERNAL_ERROR.
void prepare_guest_nodes(DomId dom, const Nodes& nodes);

/// How the store calls the domain's own part.
std::string path_of_domain(DomId dom);
/// The domain whose part a path leads into; pure. Nullopt for other paths.
std::optional<DomId> domain_of_path(const std::string& path);

}  // namespace basalt::hv::xen
