#include "storage-manager/datapath/convert.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/json.hpp"
#include "base/real_net.hpp"
#include "base/subprocess.hpp"
#include "idl/errors.hpp"
#include "storage-manager/datapath/chain.hpp"

namespace basalt::sm {

namespace {

constexpr Duration convert_limit = 24h;

Attachment one_image(const std::string& file, const std::string& format) {
    return {{{file, format}}, true};
}

// g++ 14 fails on some lists of strings inside a coroutine, hence functions of their own.
// -t writeback: what is written is flushed at the end, which the default would not do.
// -O although the target is there: without it the target's "driver" is taken to be raw.
std::vector<std::string> convert_args(const ConvertPaths& paths) {
    std::vector<std::string> args = {"qemu-img", "convert", "-p", "-n", "-t", "writeback"};
    if (paths.to_empty) args.emplace_back("--target-is-zero");
    args.insert(args.end(), {"-O", paths.to_format, paths.from, paths.to});
    return args;
}

std::vector<std::string> export_args(const Attachment& disk, const std::string& format,
                                     const std::string& file) {
    return {"qemu-img", "convert", "-O", format, json_filename(disk, true), file};
}

std::vector<std::string> import_args(const std::string& file, const std::string& format,
                                     const Attachment& disk) {
    return {"qemu-img",
            "convert",
            "-n",
            "-t",
            "writeback",
            "-O",
            disk.chain.front().format,
            json_filename(one_image(file, format), true),
            json_filename(disk, false)};
}

std::vector<std::string> map_args(const Attachment& disk, const MapPart& part) {
    std::vector<std::string> args = {"qemu-img", "map", "--output=json"};
    if (part.length > 0) {
        args.push_back("--start-offset=" + std::to_string(part.offset));
        args.push_back("--max-length=" + std::to_string(part.length));
    }
    args.push_back(json_filename(disk, true));
    return args;
}

// -u: the base is named, and not looked for.
std::vector<std::string> difference_args(const NewDifference& what) {
    return {"qemu-img", "create",  "-q", "-f",    "qcow2",   "-u",
            "-b",       what.base, "-F", "qcow2", what.file, std::to_string(what.size_bytes)};
}

std::vector<std::string> info_args(const std::string& file, const std::string& format) {
    return {"qemu-img", "info", "--output=json", "-f", format, file};
}

std::vector<std::string> after(std::vector<std::string> prefix, std::vector<std::string> argv) {
    prefix.insert(prefix.end(), argv.begin(), argv.end());
    return prefix;
}

// qemu-img prints "    (12.34/100%)\r" again and again.
void report(const std::string& text, const rpc::Progress& progress) {
    const auto open = text.rfind('(');
    if (progress && open != std::string::npos)
        progress(std::strtod(text.c_str() + open + 1, nullptr) / 100);
}

struct Running {
    std::shared_ptr<Process> process;
    std::unique_ptr<FdStream> out;
    std::unique_ptr<FdStream> err;
};

Running start(RealLoop& loop, Command command) {
    auto [out_near, out_far] = socket_pair();
    auto [err_near, err_far] = socket_pair();
    command.inherit.push_back({out_far.get(), 1});
    command.inherit.push_back({err_far.get(), 2});
    Running running;
    running.process = start_process(loop, command);
    running.out = adopt_stream(loop, std::move(out_near));
    running.err = adopt_stream(loop, std::move(err_near));
    return running;
}

Task<void> watch(Running& running, rpc::Progress progress) {
    std::array<char, 4096> buffer{};
    while (const std::size_t got = co_await running.out->read_some(buffer))
        report(std::string(buffer.data(), got), progress);
}

Task<std::string> complaint(Running& running) {
    std::string text;
    std::array<char, 4096> buffer{};
    while (const std::size_t got = co_await running.err->read_some(buffer))
        if (text.size() < 8192) text.append(buffer.data(), got);
    co_return text;
}

Task<void> reap(std::shared_ptr<Process> process) {
    co_await process->wait();
}

Task<Json> image_info(RealLoop& loop, std::string file, std::string format, Prefix prefix) {
    Command command;
    command.argv = after(std::move(prefix), info_args(file, format));
    const Output output = co_await run_command(loop, std::move(command), 60s);
    if (output.status != 0) throw_qemu_failure(output.err);
    Json info = Json::parse(output.out, nullptr, false);
    if (!info.is_object()) throw err::vdi_io_error("the image cannot be read");
    co_return info;
}

}  // namespace

Task<void> convert(RealLoop& loop, ConvertPaths paths, rpc::Progress progress) {
    Command command;
    command.argv = after(paths.prefix, convert_args(paths));
    return run_reporting(loop, std::move(command), std::move(progress));
}

Task<Json> map_image(RealLoop& loop, Attachment disk, MapPart part) {
    Command command;
    command.argv = after(part.prefix, map_args(disk, part));
    const Output output = co_await run_command(loop, std::move(command), convert_limit);
    if (output.status != 0) throw_qemu_failure(output.err);
    Json map = Json::parse(output.out, nullptr, false);
    if (!map.is_array()) throw err::vdi_io_error("the image's map cannot be read");
    co_return map;
}

Task<void> run_reporting(RealLoop& loop, Command command, rpc::Progress progress) {
    const std::string name = command.argv.front();
    Running running = start(loop, std::move(command));
    std::exception_ptr failure;
    std::string text;
    int status = -1;
    try {
        co_await within(loop, convert_limit, watch(running, std::move(progress)),
                        err::internal_error(name + " took too long"));
        text = co_await complaint(running);
        status = co_await running.process->wait();
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        running.process->kill(SIGKILL);
        co_await asio::this_coro::throw_if_cancelled(false);
        co_await shielded(reap(running.process));
        co_await asio::this_coro::throw_if_cancelled(true);
        std::rethrow_exception(failure);
    }
    if (status != 0) throw_qemu_failure(text);
}

Task<void> export_image(RealLoop& loop, Attachment disk, ExportTarget target) {
    Command command;
    command.argv = after(target.prefix, export_args(disk, target.format, target.file));
    const Output output = co_await run_command(loop, std::move(command), convert_limit);
    if (output.status != 0) throw_qemu_failure(output.err);
}

Task<ImageFacts> look_at_image(RealLoop& loop, std::string file, std::string format,
                               Prefix prefix) {
    const std::string path = file;
    const Json info = co_await image_info(loop, std::move(file), std::move(format), prefix);
    const Json specific =
        info.value("format-specific", Json::object()).value("data", Json::object());
    bool alone = !specific.contains("data-file");
    // A VMDK may be a text that names the files with the data.
    for (const Json& extent : specific.value("extents", Json::array()))
        alone = alone && extent.is_object() && extent.value("filename", std::string()) == path;
    if (!alone) throw err::vdi_io_error("the image refers to another file");
    co_return ImageFacts{
        .size_bytes = info.value("virtual-size", std::int64_t{0}),
        .differs = info.contains("backing-filename") || info.contains("full-backing-filename")};
}

Task<void> import_image(RealLoop& loop, std::string file, std::string format, ImportTarget target) {
    Command command;
    command.argv = after(target.prefix, import_args(file, format, target.disk));
    const Output output = co_await run_command(loop, std::move(command), convert_limit);
    if (output.status != 0) throw_qemu_failure(output.err);
}

Task<void> create_difference(RealLoop& loop, NewDifference what) {
    Command command;
    command.argv = after(what.prefix, difference_args(what));
    const Output output = co_await run_command(loop, std::move(command), 60s);
    if (output.status != 0) throw_qemu_failure(output.err);
}

Task<void> sync_file(RealLoop& loop, std::string path) {
    return blocking(loop, [path = std::move(path)] {
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd || fsync(fd.get()) != 0)
            throw err::vdi_io_error(path + ": " + std::strerror(errno));
    });
}

void throw_qemu_failure(const std::string& text) {
    if (text.find("No space left") != std::string::npos)
        throw backend_failure(Failure::no_space, text);
    if (text.find(" lock") != std::string::npos) throw err::vdi_in_use("", text);
    throw err::vdi_io_error(text);
}

}  // namespace basalt::sm
