#pragma once
#include "idl/cli/tables.hpp"
#include "xapi/cli/command_line.hpp"
#include "xapi/cli/facts.hpp"
#include "xapi/cli/printer.hpp"
#include "xapi/cli/terminal.hpp"

namespace basalt::cli {

/// One command under way: what its function works with. Lives as long as the connection.
struct Invocation {
    Session& session;
    Facts& facts;
    Terminal& terminal;
    Printer& printer;
    const std::string& name;
    const Params& params;
    const Command* command = nullptr;  ///< null: an object's command (NAME-list, ...)
};

/// Ends a command whose messages were printed already.
struct Exit {
    std::int32_t status;
};

}  // namespace basalt::cli
