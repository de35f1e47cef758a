// xe: tells a server what the user wants and does as the server says.
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "xapi/cli/client/session.hpp"

namespace {

using namespace basalt::cli;

int run(const std::vector<std::string>& arguments) {
    const client::Options options =
        client::parse_options(arguments, client::surroundings_of_process());
    if (options.version) {
        std::printf("ThinCLI protocol: %d.%d\n", protocol_major, protocol_minor);
        return 0;
    }
    std::string why;
    for (const client::Address& address : client::addresses_of(options)) {
        std::unique_ptr<client::Channel> channel;
        try {
            channel = client::open_channel(address);
        } catch (const std::runtime_error& failure) {
            why += (why.empty() ? "" : "\n") + std::string(failure.what());
            continue;
        }
        return client::Session(options, address, std::move(channel)).run();
    }
    throw std::runtime_error(why);
}

}  // namespace

int main(int argc, char** argv) {
    // A peer that goes away is an error of the write, not the end of the process.
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "%s\n", failure.what());
        return 1;
    }
}
