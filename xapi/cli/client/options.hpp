#pragma once
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace basalt::cli::client {

/// Nothing in the arguments can be done; the text says why.
class UsageError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

struct Options {
    std::string server;  ///< empty: this host, by its unix socket first
    std::string port;    ///< empty: the usual one
    std::string user = "root";
    std::string password = "null";
    std::string traceparent;
    bool tls = true;
    bool debug = false;
    bool version = false;
    std::vector<std::string> words;  ///< for the server, the command first
};

/// What stands around the command line.
struct Surroundings {
    std::string extra_arguments;                  ///< XE_EXTRA_ARGS: comma separated, `\,` escapes
    std::map<std::string, std::string> settings;  ///< of ~/.xe
};

/// The arguments win over XE_EXTRA_ARGS, that over ~/.xe. Reads password files. Throws UsageError.
[[nodiscard]] Options parse_options(const std::vector<std::string>& arguments,
                                    const Surroundings& surroundings);

/// From the environment and the user's home.
[[nodiscard]] Surroundings surroundings_of_process();
[[nodiscard]] std::map<std::string, std::string> parse_settings(const std::string& text);
[[nodiscard]] std::vector<std::string> split_extra(const std::string& text);

/// The body of the request.
[[nodiscard]] std::string request_body(const Options& options);

}  // namespace basalt::cli::client
