// The figures of docs/performance.md: xapi as it ships, filled through its API, under load, beside
// a server that does nothing.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <format>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/bench/daemons.hpp"
#include "tests/bench/echo_server.hpp"
#include "tests/bench/inventory.hpp"
#include "tests/bench/load.hpp"
#include "tests/bench/table.hpp"

namespace {

using namespace basalt::bench;
using Clock = std::chrono::steady_clock;

constexpr int repeats = 4;
constexpr int connection_counts[] = {1, 8, 64};

std::string load_average() {
    std::ifstream file("/proc/loadavg");
    std::string one;
    std::string five;
    file >> one >> five;
    return one + " " + five;
}

/// The one with the least CPU time of several runs: others on the machine only ever add to it, for
/// xapi and for the server that does nothing alike.
Figures least_of(const Load& load) {
    std::vector<Figures> runs;
    for (int i = 0; i < repeats; ++i)
        runs.push_back(run(load));
    return *std::ranges::min_element(runs, {}, &Figures::cpu_us);
}

struct Bench {
    explicit Bench(std::filesystem::path programs, double calibration)
        : table(calibration), daemons(std::move(programs)) {}

    [[nodiscard]] Target target(Transport transport) const {
        return {transport, daemons.unix_path(),
                transport == Transport::tls ? daemons.https_port() : daemons.http_port()};
    }

    [[nodiscard]] Target echo_target(Transport transport) const {
        return {transport, daemons.folder() / "echo.sock",
                transport == Transport::tls ? echo->https_port() : echo->http_port()};
    }

    /// CPU a call of the server that does nothing, for answers of about that size.
    double echo_us(Transport transport, int connections, std::size_t bytes, double seconds = 0.3) {
        const std::string request = echo_request(bytes);
        const auto key = std::tuple(transport, connections, bytes / 512);
        if (const auto known = echoes.find(key); known != echoes.end()) return known->second;
        const Figures row =
            least_of({.target = echo_target(transport),
                      .server = echo->pid(),
                      .connections = connections,
                      .seconds = seconds,
                      .request = [&](std::size_t) -> const std::string& { return request; }});
        return echoes[key] = row.cpu_us;
    }

    Figures measure(const std::string& request, Transport transport, int connections,
                    double seconds = 0.3) {
        return least_of({.target = target(transport),
                         .server = daemons.xapi(),
                         .connections = connections,
                         .seconds = seconds,
                         .request = [&](std::size_t) -> const std::string& { return request; }});
    }

    Table table;
    Daemons daemons;
    std::unique_ptr<EchoServer> echo;
    std::map<std::tuple<Transport, int, std::size_t>, double> echoes;
    std::string session;
    Inventory inventory;
    std::uint64_t renamed = 0;  // a name that is there already would not be written
};

std::string how(Protocol protocol, Transport transport) {
    return std::string(protocol == Protocol::json ? "json " : "xml ") +
           std::string(name_of(transport));
}

constexpr Transport transports[] = {Transport::unix_socket, Transport::tcp, Transport::tls};
constexpr Protocol protocols[] = {Protocol::json, Protocol::xml};

void small_calls(Bench& bench) {
    bench.table.heading("Small calls; CPU is the server's, a call");
    const std::string& session = bench.session;
    const std::string& vm = bench.inventory.vms.front();
    const std::pair<std::string, std::vector<Json>> calls[] = {
        {"pool.get_all", {session}},
        {"VM.get_name_label", {session, vm}},
        {"VM.get_record", {session, vm}},
        {"session.login_with_password", {"root", "", "1.0", "bench"}},
    };
    for (const auto& [name, params] : calls)
        for (const Transport transport : transports) {
            // Over the network a login is a matter of PAM's, not of the server's.
            const bool login = name.starts_with("session.");
            if (login && transport != Transport::unix_socket) continue;
            for (const Protocol protocol : protocols)
                for (const int connections : connection_counts) {
                    if (login && connections > 1) continue;
                    const Figures row =
                        bench.measure(request_text(protocol, name, params), transport, connections);
                    const double echo = bench.echo_us(transport, connections, row.answer_bytes);
                    bench.table.call(name, how(protocol, transport), connections, row, echo);
                    if (name != "VM.get_record" || protocol != Protocol::json) continue;
                    if (connections == 1)
                        bench.table.aim(Better::less, 8, row.cpu_us - echo, "us over echo");
                    if (connections == 8 && transport != Transport::tcp)
                        bench.table.aim(Better::less, transport == Transport::tls ? 22 : 15,
                                        row.cpu_us, "us");
                }
        }
    // So many logins have ended older sessions.
    bench.session = Client(bench.target(Transport::unix_socket)).login();
}

void large_calls(Bench& bench, double aim_json_ms, double aim_xml_ms, double aim_events_ms) {
    const std::size_t vms = bench.inventory.vms.size();
    bench.table.heading(std::format("Large answers with {} VMs", vms));
    const std::string& session = bench.session;
    for (const Protocol protocol : protocols) {
        const double aim = protocol == Protocol::json ? aim_json_ms : aim_xml_ms;
        const std::string list = request_text(protocol, "VM.get_all_records", {session});
        for (const Transport transport : {Transport::unix_socket, Transport::tls})
            for (const int connections : {1, 8}) {
                const Figures row = bench.measure(list, transport, connections, 1);
                bench.table.call(std::format("VM.get_all_records, {} kB", row.answer_bytes / 1000),
                                 how(protocol, transport), connections, row,
                                 bench.echo_us(transport, connections, row.answer_bytes, 1));
                if (transport == Transport::unix_socket && connections == 1 && aim > 0)
                    bench.table.aim(Better::less, aim, row.p50_ms, "ms");
            }
        const std::string events =
            request_text(protocol, "event.from", {session, Json::array({"*"}), "", 30.0});
        const Figures row = bench.measure(events, Transport::unix_socket, 1, 1);
        bench.table.call(std::format("event.from, {} kB", row.answer_bytes / 1000),
                         how(protocol, Transport::unix_socket), 1, row,
                         bench.echo_us(Transport::unix_socket, 1, row.answer_bytes, 1));
        if (protocol == Protocol::json && aim_events_ms > 0)
            bench.table.aim(Better::less, aim_events_ms, row.p50_ms, "ms");
    }
}

void writes(Bench& bench, int delay_ms) {
    bench.table.heading(
        delay_ms == 0
            ? std::string("Durable writes (VM.set_name_label)")
            : std::format("Durable writes, each sync of the disk {} ms longer", delay_ms));
    for (const int connections : connection_counts) {
        std::string request;
        const Figures row =
            least_of({.target = bench.target(Transport::unix_socket),
                      .server = bench.daemons.xapi(),
                      .connections = connections,
                      .seconds = 1,
                      .request = [&](std::size_t n) -> const std::string& {
                          const auto& vms = bench.inventory.vms;
                          return request = request_text(Protocol::json, "VM.set_name_label",
                                                        {bench.session, vms[n % vms.size()],
                                                         "n" + std::to_string(++bench.renamed)});
                      }});
        bench.table.call("VM.set_name_label", how(Protocol::json, Transport::unix_socket),
                         connections, row);
        if (connections == 64 && delay_ms == 0)
            bench.table.aim(Better::more, 20000, row.calls_per_second, "/s");
    }
}

void connecting(Bench& bench) {
    const std::string request = request_text(Protocol::json, "system.isAlive:", {"x"});
    const std::string nothing = echo_request(100);
    for (const bool resume : {false, true}) {
        bench.table.heading(std::string("A new TLS connection for each call (system.isAlive:), ") +
                            (resume ? "of clients that resume their session" : "whole handshakes"));
        const auto measure = [&](Target target, pid_t server, int connections,
                                 const std::string& text) {
            target.resume = resume;
            return run_connecting(
                {.target = target,
                 .server = server,
                 .connections = connections,
                 .seconds = 2,
                 .request = [&text](std::size_t) -> const std::string& { return text; }});
        };
        for (const int connections : {1, 8, 64}) {
            const Figures row =
                measure(bench.target(Transport::tls), bench.daemons.xapi(), connections, request);
            const Figures echo =
                measure(bench.echo_target(Transport::tls), bench.echo->pid(), connections, nothing);
            bench.table.call("connect and call", "json tls", connections, row, echo.cpu_us);
            if (connections == 8 && !resume)
                bench.table.aim(Better::more, 1000, row.calls_per_second, "/s");
        }
    }
}

/// Lists everything without pause on connections of its own, until it goes.
class Listing {
  public:
    Listing(const Bench& bench, int connections) {
        for (int i = 0; i < connections; ++i)
            threads_.emplace_back(
                [this, target = bench.target(Transport::unix_socket),
                 request = request_text(Protocol::json, "VM.get_all_records", {bench.session})] {
                    Client client(target);
                    while (!stop_) {
                        client.post(request);
                        ++answers_;
                    }
                });
    }

    ~Listing() { stop_ = true; }

    Listing(const Listing&) = delete;
    Listing& operator=(const Listing&) = delete;

    [[nodiscard]] int answers() const { return answers_; }

  private:
    std::atomic<bool> stop_ = false;
    std::atomic<int> answers_ = 0;
    std::vector<std::jthread> threads_;
};

/// From the request that changes a name to the event that tells of it, at another client.
std::vector<double> event_delays(Bench& bench, int count) {
    Client writer(bench.target(Transport::unix_socket));
    Client watcher(bench.target(Transport::unix_socket));
    writer.use_session(bench.session);
    watcher.use_session(bench.session);
    const std::string& vm = bench.inventory.vms.front();
    const Json only = Json::array({"vm/" + vm});
    std::string token = watcher.call("event.from", {only, "", 0.0}).at("token").get<std::string>();
    std::vector<double> took;
    for (int i = 0; i < count; ++i) {
        Clock::time_point changed;
        std::jthread change([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
            changed = Clock::now();
            writer.call("VM.set_name_label", {vm, std::format("changed {} {}", count, i)});
        });
        const Json batch = watcher.call("event.from", {only, token, 30.0});
        const auto heard = Clock::now();
        change.join();
        token = batch.at("token").get<std::string>();
        took.push_back(std::chrono::duration<double, std::milli>(heard - changed).count());
    }
    return took;
}

void events(Bench& bench) {
    bench.table.heading("From a change's request to its event at another client, disk included");
    const auto report = [&](const std::string& name, bool judged) {
        const Figures row = summary(event_delays(bench, 400), 1, 0);
        bench.table.figure(name + ", p50", row.p50_ms, "ms");
        bench.table.figure(name + ", p99", row.p99_ms, "ms");
        if (judged) bench.table.aim(Better::less, 5, row.p99_ms, "ms");
    };
    report("change to event", false);
    const Listing listing(bench, 1);
    report("change to event while all VMs are listed", true);
}

void memory(Bench& bench, double aim_mb, const std::string& what) {
    bench.table.heading("Memory with " + what);
    const pid_t xapi = bench.daemons.xapi();
    const auto report = [&](const std::string& when) {
        const double mb = memory_mb(xapi, "VmRSS");
        bench.table.figure("xapi " + when, mb, "MB");
        if (aim_mb > 0) bench.table.aim(Better::less, aim_mb, mb, "MB", false);
    };
    report("before");
    {
        const Listing listing(bench, 8);
        double most = 0;
        for (const auto end = Clock::now() + std::chrono::seconds(30);
             listing.answers() < 40 && Clock::now() < end;) {
            most = std::max(most, memory_mb(xapi, "VmRSS"));
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        bench.table.figure("xapi during 8 parallel listings, at most", most, "MB");
        if (aim_mb > 0) bench.table.aim(Better::less, aim_mb, most, "MB", false);
    }
    report("afterwards");
    bench.table.figure("hostd", memory_mb(bench.daemons.hostd(), "VmRSS"), "MB");
}

void restart(Bench& bench, int delay_ms = 0) {
    bench.daemons.stop_xapi();
    const double seconds = bench.daemons.start_xapi(delay_ms);
    bench.table.figure(
        std::format("start of xapi with {} VMs, to the first login", bench.inventory.vms.size()),
        seconds * 1000, "ms");
    if (delay_ms == 0 && bench.inventory.vms.size() >= 5000)
        bench.table.aim(Better::less, 1000, seconds * 1000, "ms");
    bench.session = Client(bench.target(Transport::unix_socket)).login();
}

/// Turns of xapi's loop that worked for more than a millisecond, by what they belonged to.
void long_turns(Bench& bench) {
    Client client(bench.target(Transport::unix_socket));
    client.use_session(bench.session);
    const std::string text = client.get("/metrics");
    constexpr std::string_view turns = "xapi_loop_turn_seconds_count ";
    constexpr std::string_view name = "xapi_loop_long_turns_total{";
    bench.table.heading("Turns of the loop since xapi's last start");
    std::istringstream lines(text);
    double all = 0;
    double long_ones = 0;
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(turns)) all = std::stod(line.substr(turns.size()));
        if (!line.starts_with(name)) continue;
        const double count = std::stod(line.substr(line.rfind(' ')));
        bench.table.figure(
            "over 1 ms of work: " + line.substr(name.size(), line.rfind('}') - name.size()), count,
            "turns");
        long_ones += count;
    }
    // The kernel's copying and the machine's own pauses are in them too: in those of both servers.
    const auto rate = [](double long_turns, pid_t process) {
        return long_turns / std::max(cpu_seconds(process), 0.01);
    };
    bench.table.figure("all", all, "turns");
    bench.table.figure("over 1 ms of work, all", long_ones, "turns");
    bench.table.aim(Better::less, 0, long_ones, "turns", false);
    bench.table.figure("the same, a second of xapi's processor time",
                       rate(long_ones, bench.daemons.xapi()), "turns");
    bench.table.figure("and of the server that does nothing, since its start",
                       rate(static_cast<double>(bench.echo->turns().over_1ms), bench.echo->pid()),
                       "turns");
}

// Their guests' first words included.
void starts(Bench& bench) {
    const double before = cpu_seconds(bench.daemons.xapi());
    bench.inventory.start_vms(bench.target(Transport::unix_socket), bench.session);
    const double spent = cpu_seconds(bench.daemons.xapi()) - before;
    bench.table.figure("VM.start until 5,000 run, xapi's CPU a start",
                       spent / static_cast<double>(bench.inventory.vms.size()) * 1e3, "ms");
}

struct Sections {
    std::set<std::string> wanted;

    [[nodiscard]] bool has(const std::string& name) const {
        return wanted.empty() || wanted.contains(name);
    }
};

void run_all(const std::filesystem::path& programs, const Sections& sections) {
    const double calibration = calibration_gb_per_second();
    std::printf("calibration: SHA-256 %.2f GB/s on one core; load %s\n", calibration,
                load_average().c_str());
    Bench bench(programs, calibration);
    bench.table.figure("start of xapi without a store, to the first login",
                       bench.daemons.start_xapi() * 1000, "ms");
    bench.echo = std::make_unique<EchoServer>(bench.daemons.folder() / "echo.sock",
                                              bench.daemons.folder() / "xapi/tls.pem");
    const Target local = bench.target(Transport::unix_socket);
    bench.session = Client(local).login();
    bench.table.figure("xapi without VMs", memory_mb(bench.daemons.xapi(), "VmRSS"), "MB");
    bench.inventory.add_vms(local, bench.session, 1000);
    if (sections.has("calls")) small_calls(bench);
    if (sections.has("connect")) connecting(bench);
    if (sections.has("writes")) writes(bench, 0);
    if (sections.has("large")) large_calls(bench, 5, 0, 0);
    long_turns(bench);
    bench.inventory.add_vms(local, bench.session, 4000);
    if (sections.has("large")) large_calls(bench, 20, 30, 40);
    if (sections.has("events")) events(bench);
    long_turns(bench);
    bench.table.heading("Start");
    restart(bench);
    if (sections.has("memory")) memory(bench, 60, "5,000 VMs");
    if (sections.has("writes"))
        for (const int delay_ms : {2, 8}) {
            restart(bench, delay_ms);
            writes(bench, delay_ms);
        }
    if (sections.has("devices")) {
        restart(bench);
        starts(bench);
        bench.inventory.add_devices(local, bench.session);
        restart(bench);
        memory(bench, 100, "2 VBDs, 2 VDIs, a VIF, consoles and guest metrics each, all running");
    }
    std::printf("\ncalibration at the end: %.2f GB/s; load %s\n", calibration_gb_per_second(),
                load_average().c_str());
    bench.table.verdict();
}

/// `--load METHOD PROTOCOL TRANSPORT CONNECTIONS SECONDS VMS`: one call over and over, for whoever
/// wants to look at the server meanwhile.
int run_one(const std::filesystem::path& programs, const std::vector<std::string>& words) {
    Bench bench(programs, calibration_gb_per_second());
    bench.daemons.start_xapi();
    const Target local = bench.target(Transport::unix_socket);
    bench.session = Client(local).login();
    bench.inventory.add_vms(local, bench.session, std::stoi(words.at(6)));
    const std::string& method = words.at(1);
    std::vector<Json> params = {bench.session};
    if (method == "event.from") params.insert(params.end(), {Json::array({"*"}), "", 0.0});
    if (method.starts_with("VM.get_record") || method.starts_with("VM.get_name"))
        params.emplace_back(bench.inventory.vms.front());
    const Protocol protocol = words.at(2) == "json" ? Protocol::json : Protocol::xml;
    const auto transport = *std::ranges::find(transports, words.at(3), name_of);
    const std::string one = request_text(protocol, method, params);
    std::string fresh;
    std::printf("xapi is process %d\n", bench.daemons.xapi());
    std::fflush(stdout);
    const Figures row = run({.target = bench.target(transport),
                             .server = bench.daemons.xapi(),
                             .connections = std::stoi(words.at(4)),
                             .seconds = std::stod(words.at(5)),
                             .request = [&](std::size_t n) -> const std::string& {
                                 if (method != "VM.set_name_label") return one;
                                 const auto& vms = bench.inventory.vms;
                                 return fresh = request_text(protocol, method,
                                                             {bench.session, vms[n % vms.size()],
                                                              "n" + std::to_string(n)});
                             }});
    bench.table.call(method, how(protocol, transport), std::stoi(words.at(4)), row);
    return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const auto here = std::filesystem::read_symlink("/proc/self/exe").parent_path();
        if (argc > 1 && std::string_view(argv[1]) == "--load")
            return run_one(here / "../../bin", {argv + 1, argv + argc});
        run_all(here / "../../bin", {std::set<std::string>(argv + 1, argv + argc)});
        return EXIT_SUCCESS;  // a missed aim is a figure, too
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return EXIT_FAILURE;
    }
}
