#pragma once
#include <functional>
#include <string>
#include <vector>

#include "xapi/cli/invocation.hpp"

namespace basalt::cli {

/// Which VMs a command may work on beside ordinary ones.
struct VmScope {
    bool control_domains = false;
    bool templates = false;
};

/// The objects that the parameters select: `vm=`, `uuid=`, or any field; parameters of the command
/// itself are no filters. Throws CommandError: nothing matches, or several without --multiple.
Task<std::vector<std::string>> select_vms(Invocation& run, VmScope scope = {});
Task<std::vector<std::string>> select_hosts(Invocation& run);
Task<std::vector<std::string>> select_srs(Invocation& run);

/// Runs `work` for each object; when several were selected, what fails is printed a line each and
/// the command ends with status 1.
using ObjectWork = std::function<Task<void>(std::string ref)>;
Task<void> for_each_object(Invocation& run, std::string class_name, std::vector<std::string> refs,
                           ObjectWork work);

/// The only pool.
Task<std::string> the_pool(Invocation& run);
/// The pool's coordinator.
Task<std::string> the_coordinator(Invocation& run);

}  // namespace basalt::cli
