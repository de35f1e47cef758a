#include "storage-manager/datapath/qemu_transfer.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "base/shown_file.hpp"
#include "base/subprocess.hpp"
#include "idl/errors.hpp"
#include "storage-manager/datapath/chain.hpp"
#include "storage-manager/datapath/changes.hpp"
#include "storage-manager/datapath/contents_version.hpp"
#include "storage-manager/datapath/convert.hpp"
#include "storage-manager/datapath/transfer_cell.hpp"
#include "storage-manager/datapath/vhd.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

constexpr Duration start_limit = 20s;
constexpr Duration transfer_limit = 24h;
constexpr int exit_too_long = 3;

UniqueFd make_file(const fs::path& path) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) throw err::internal_error("cannot write " + path.string());
    return fd;
}

UniqueFd memory_file(const std::string& text) {
    UniqueFd fd(memfd_create("ranges", MFD_CLOEXEC));
    if (!fd || ::pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
        throw err::internal_error("the list of ranges cannot be written");
    return fd;
}

// The last line of a stream. The other side waits for it with an empty buffer: it fits at once.
void say(int fd, const Json& line) {
    const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log::info("transfer_peer_gone", {{"errno", errno}});
}

// A Unix socket that is closed over bytes nobody read resets the other side, which may then miss
// our last line.
void discard_rest(int fd) {
    ::shutdown(fd, SHUT_RD);
    std::array<char, 65536> nowhere{};
    while (::recv(fd, nowhere.data(), nowhere.size(), MSG_DONTWAIT) > 0) {
    }
}

Json error_line(const ApiError& error) {
    Json words = Json::array({error.code()});
    for (const std::string& param : error.params())
        words.push_back(param);
    return {{"error", words}};
}

// g++ 14 fails on some lists of strings inside a coroutine, hence a function of its own.
std::vector<std::string> nbd_args(std::vector<std::string> args, const Attachment& disk) {
    args.insert(args.end(), {"qemu-nbd", "--export-name=disk", "--shared=1"});
    if (disk.read_only) args.emplace_back("--read-only");
    args.push_back(json_filename(disk, disk.read_only));
    return args;
}

// The socket on which a server waits for its one client, and that client.
struct Pair {
    UniqueFd listening;
    UniqueFd client;
};

Pair make_pair(const std::string& path) {
    Pair out{UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
             UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the shape of the call
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    const bool made = path.size() < sizeof address.sun_path &&
                      ::bind(out.listening.get(), generic, sizeof address) == 0 &&
                      ::listen(out.listening.get(), 1) == 0 &&
                      ::connect(out.client.get(), generic, sizeof address) == 0;
    const int error = errno;
    ::unlink(path.c_str());
    if (!made) throw err::internal_error(path + ": " + std::strerror(error));
    return out;
}

// The server greets as soon as it has opened the disk.
bool greeted(int client) {
    char first = 0;
    return ::recv(client, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

// The cell goes with its process, not before.
Task<void> await_end(std::shared_ptr<Process> process, std::shared_ptr<TransferCell> cell,
                     Transfer::Ended then) {
    co_await process->wait();
    cell.reset();
    if (then) then();
}

// How many sockets a process has, or -1 when it is gone.
int sockets_of(pid_t pid) {
    int count = 0;
    try {
        for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
            std::error_code closed_meanwhile;
            const fs::path target = fs::read_symlink(entry.path(), closed_meanwhile);
            if (target.string().starts_with("socket:")) ++count;
        }
    } catch (const fs::filesystem_error&) {
        return -1;
    }
    return count;
}

// qemu-nbd ends with its last client, but overlooks one that hangs up before it has negotiated:
// then only the socket it listens on is left. Twice in a row, as it may be between accepting and
// having.
Task<void> end_without_client(Loop& loop, std::shared_ptr<Process> process,
                              std::shared_ptr<Job> ended) {
    int alone = 0;
    while (alone < 2 && !ended->finished()) {
        co_await sleep_for(loop, 300ms);
        const int sockets =
            co_await blocking(loop, [pid = process->pid()] { return sockets_of(pid); });
        if (sockets < 0) co_return;
        alone = sockets <= 1 ? alone + 1 : 0;
    }
    process->kill(SIGTERM);
}

std::string text_of(int fd) {
    std::string text(4000, '\0');
    const ssize_t got = pread(fd, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
}

Task<void> refuse_base(std::string format) {
    throw err::invalid_value("base", "an image of format " + format + " has none");
    co_return;
}

// A file that goes when its owner does.
class TemporaryFile {
  public:
    explicit TemporaryFile(fs::path path) : path_(std::move(path)) {}

    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    ~TemporaryFile() { ::unlink(path_.c_str()); }

    [[nodiscard]] const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

}  // namespace

// A qemu-nbd with one client: it ends when that client does.
struct QemuTransfer::Server {
    std::shared_ptr<Process> process;
    std::shared_ptr<Job> ended;
    UniqueFd client;
};

struct QemuTransfer::Stream {
    Disk disk;
    std::optional<Disk> base;
    std::string format;
    Ended ended;
    UniqueFd near;  // our end; kept until all is over, so that its end means the disk is closed
};

QemuTransfer::QemuTransfer(RealLoop& loop, fs::path work_folder, std::string stream_program,
                           std::shared_ptr<Confinement> confinement)
    : loop_(loop),
      work_folder_(std::move(work_folder)),
      stream_program_(std::move(stream_program)),
      confinement_(std::move(confinement)) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(work_folder_, ignored))
        hide_files(entry.path().string());
    fs::remove_all(work_folder_, ignored);
    fs::create_directories(work_folder_, ignored);
    ::chmod(work_folder_.c_str(), 0711);  // transfers' users pass through to their folders
}

Task<std::shared_ptr<TransferCell>> QemuTransfer::open_cell() {
    return TransferCell::open(loop_, fresh_path(""), confinement_);
}

Task<void> QemuTransfer::copy(Copy what, rpc::Progress progress) {
    const Image leaf = what.to.chain.front();
    if (what.base) {
        co_await copy_changes(std::move(what), std::move(progress));
    } else {
        const auto cell = co_await open_cell();
        ConvertPaths paths = co_await blocking(loop_, [cell, what] {
            return ConvertPaths{json_filename(cell->show(what.from, true), true),
                                json_filename(cell->show(what.to, false), false),
                                what.to.chain.front().format, what.to_empty, cell->prefix()};
        });
        co_await convert(loop_, std::move(paths), std::move(progress));
    }
    co_await sync_file(loop_, leaf.path);
}

Task<nlohmann::json> QemuTransfer::map(Attachment disk, Window window) {
    const auto cell = co_await open_cell();
    const auto shown = co_await blocking(
        loop_, [cell, disk] { return std::pair{cell->show(disk, true), cell->prefix()}; });
    co_return co_await map_image(loop_, shown.first, {window.offset, window.length, shown.second});
}

// Cut at the end of neither: who works with it knows how long its disk is.
Task<std::vector<Extent>> QemuTransfer::differences(Attachment from, Attachment base,
                                                    Window window) {
    const Layers layers = layers_above_common(from, base);
    const Json from_map = co_await map(std::move(from), window);
    const Json base_map = co_await map(std::move(base), window);
    co_return joined(held_above(from_map, layers.one), held_above(base_map, layers.other),
                     std::numeric_limits<std::uint64_t>::max());
}

Task<void> QemuTransfer::copy_changes(Copy what, rpc::Progress progress) {
    std::string ranges = extent_lines(co_await differences(what.from, *what.base));
    co_await copy_ranges(std::move(ranges), what.from, what.to, std::move(progress));
}

Task<void> QemuTransfer::copy_ranges(std::string ranges, Attachment from_disk, Attachment to_disk,
                                     rpc::Progress progress) {
    from_disk.read_only = true;
    const auto source = co_await start_server(std::move(from_disk));
    const auto target = co_await start_server(std::move(to_disk));
    {
        const UniqueFd lines = memory_file(ranges);
        const UniqueFd from = std::move(source->client);
        const UniqueFd to = std::move(target->client);
        Command command;
        command.argv.push_back(stream_program_);
        command.argv.emplace_back("copy-ranges");
        command.inherit = {{from.get(), 3}, {to.get(), 4}, {lines.get(), 0}};
        co_await run_reporting(loop_, std::move(command), std::move(progress));
    }
    co_await source->ended->wait();
    co_await target->ended->wait();  // it lets go of the image
}

Task<std::string> QemuTransfer::changes(Attachment disk, Attachment base, Window window) {
    disk.read_only = true;
    base.read_only = true;
    co_return block_bits(co_await differences(std::move(disk), std::move(base), window),
                         window.offset, window.length);
}

Task<UniqueFd> QemuTransfer::serve(Attachment disk, Ended ended) {
    std::shared_ptr<Server> server;
    std::exception_ptr failure;
    try {
        server = co_await start_server(std::move(disk));
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        ended();
        std::rethrow_exception(failure);
    }
    spawn(loop_, "nbd server", await_server(server, std::move(ended)));
    co_return std::move(server->client);
}

Task<UniqueFd> QemuTransfer::send(Sent what, Ended ended) {
    auto [near, far] = socket_pair();
    const std::string format = what.format;
    const bool alone = !what.base.has_value();
    auto stream = std::make_shared<Stream>(Stream{std::move(what.disk), std::move(what.base),
                                                  format, std::move(ended), std::move(near)});
    Task<void> body = format == "vhd"               ? send_vhd(stream)
                      : format == "qcow2" && !alone ? send_difference(stream)
                      : !alone                      ? refuse_base(format)
                      : format == "raw"             ? send_raw(stream)
                                                    : send_converted(stream);
    spawn(loop_, "export", finish(stream, std::move(body), false));
    co_return std::move(far);
}

Task<UniqueFd> QemuTransfer::receive(Disk disk, std::string format, Ended ended) {
    auto [near, far] = socket_pair();
    auto stream = std::make_shared<Stream>(
        Stream{std::move(disk), std::nullopt, format, std::move(ended), std::move(near)});
    Task<void> body = format == "raw"   ? receive_raw(stream)
                      : format == "vhd" ? receive_vhd(stream)
                                        : receive_converted(stream);
    spawn(loop_, "import", finish(stream, std::move(body), true));
    co_return std::move(far);
}

// The disk is closed before the other side learns that it is over, so that it may go on with it.
Task<void> QemuTransfer::finish(std::shared_ptr<Stream> stream, Task<void> body, bool answer) {
    std::exception_ptr failure;
    try {
        co_await std::move(body);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    stream->ended();
    if (failure) {
        const ApiError error = as_api_error(failure);
        log::warn("transfer_failed", {{"vdi", stream->disk.vdi}, {"error", error.what()}});
        discard_rest(stream->near.get());
        say(stream->near.get(), error_line(error));
    } else if (answer) {
        say(stream->near.get(), {{"ok", true}});
    }
    stream->near.reset();
}

Task<void> QemuTransfer::send_raw(std::shared_ptr<Stream> stream) {
    Attachment disk = stream->disk.attachment;
    disk.read_only = true;
    std::vector<std::string> mode;
    mode.emplace_back("send-disk");
    mode.push_back(co_await blocking(loop_, [disk] { return contents_version(disk); }));
    const auto server = co_await start_server(std::move(disk));
    const UniqueFd client = std::move(server->client);
    co_await pump({.mode = std::move(mode),
                   .disk = client.get(),
                   .stream = stream->near.get(),
                   .vdi = stream->disk.vdi});
}

Task<void> QemuTransfer::send_vhd(std::shared_ptr<Stream> stream) {
    Attachment disk = stream->disk.attachment;
    disk.read_only = true;
    if (static_cast<std::uint64_t>(stream->disk.size_bytes) > vhd::disk_bytes_max)
        throw err::vdi_too_large(stream->disk.vdi, std::to_string(vhd::disk_bytes_max));
    std::vector<Extent> extents;
    if (stream->base) {
        extents = co_await differences(disk, stream->base->attachment);
    } else {
        extents = data_in(co_await map(disk));
    }
    const auto server = co_await start_server(std::move(disk));
    const UniqueFd client = std::move(server->client);
    std::vector<std::string> mode;
    mode.emplace_back("send-vhd");
    mode.push_back(stream->disk.vdi);
    if (stream->base) mode.push_back(stream->base->vdi);
    co_await pump({.mode = std::move(mode),
                   .disk = client.get(),
                   .stream = stream->near.get(),
                   .input = extent_lines(extents),
                   .vdi = stream->disk.vdi});
}

Task<void> QemuTransfer::send_converted(std::shared_ptr<Stream> stream) {
    const TemporaryFile file(fresh_path(".image"));
    const UniqueFd fd = make_file(file.path());
    const auto cell = co_await open_cell();
    const auto shown = co_await blocking(loop_, [cell, path = file.path().string(), stream] {
        return std::pair{cell->show(stream->disk.attachment, true),
                         ExportTarget{stream->format, cell->show(path, false), cell->prefix()}};
    });
    co_await export_image(loop_, shown.first, shown.second);
    co_await pump({.mode = {"send-file"},
                   .disk = fd.get(),
                   .stream = stream->near.get(),
                   .vdi = stream->disk.vdi});
}

// While it is filled the image lies over the real base, so that zeros which hide something of that
// are written as such.
Task<void> QemuTransfer::send_difference(std::shared_ptr<Stream> stream) {
    const TemporaryFile file(fresh_path(".image"));
    const UniqueFd fd = make_file(file.path());
    const Disk& base = *stream->base;
    {
        const auto cell = co_await open_cell();
        NewDifference what = co_await blocking(loop_, [cell, path = file.path().string(), stream] {
            return NewDifference{cell->show(path, false), stream->base->vdi + ".qcow2",
                                 stream->disk.size_bytes, cell->prefix()};
        });
        co_await create_difference(loop_, std::move(what));
    }
    Attachment image;
    image.chain.push_back({file.path().string(), "qcow2"});
    image.chain.insert(image.chain.end(), base.attachment.chain.begin(),
                       base.attachment.chain.end());
    co_await copy_changes({stream->disk.attachment, image, base.attachment, false}, {});
    co_await pump({.mode = {"send-file"},
                   .disk = fd.get(),
                   .stream = stream->near.get(),
                   .vdi = stream->disk.vdi});
}

Task<void> QemuTransfer::receive_raw(std::shared_ptr<Stream> stream) {
    const auto server = co_await start_server(stream->disk.attachment);
    {
        const UniqueFd client = std::move(server->client);
        co_await pump({.mode = {"receive-disk"},
                       .disk = client.get(),
                       .stream = stream->near.get(),
                       .vdi = stream->disk.vdi});
    }
    co_await server->ended->wait();  // it lets go of the image
    co_await sync_file(loop_, stream->disk.attachment.chain.front().path);
}

// What a client sent is taken apart by a program that has nothing but the two sockets.
Task<void> QemuTransfer::receive_vhd(std::shared_ptr<Stream> stream) {
    const auto server = co_await start_server(stream->disk.attachment);
    std::exception_ptr failure;
    {
        const UniqueFd client = std::move(server->client);
        const auto cell = co_await open_cell();
        auto prefix = co_await blocking(loop_, [cell] { return cell->prefix(); });
        try {
            co_await pump({.prefix = std::move(prefix),
                           .mode = {"receive-vhd"},
                           .disk = client.get(),
                           .stream = stream->near.get(),
                           .vdi = stream->disk.vdi});
        } catch (const ApiError&) {
            failure = std::current_exception();
        }
    }
    // Of a stream that broke off, what has come counts too.
    co_await server->ended->wait();
    co_await sync_file(loop_, stream->disk.attachment.chain.front().path);
    if (failure) std::rethrow_exception(failure);
}

Task<void> QemuTransfer::receive_converted(std::shared_ptr<Stream> stream) {
    const TemporaryFile file(fresh_path(".image"));
    {
        const UniqueFd fd = make_file(file.path());
        co_await pump({.mode = {"receive-file"},
                       .disk = fd.get(),
                       .stream = stream->near.get(),
                       .vdi = stream->disk.vdi});
    }
    co_await receive_image(stream, file.path().string());
    co_await sync_file(loop_, stream->disk.attachment.chain.front().path);
}

// The file may name other files, which nobody opens: what an image holds that differs from another
// is laid over what the disk holds.
Task<void> QemuTransfer::receive_image(std::shared_ptr<Stream> stream, std::string file) {
    const auto cell = co_await open_cell();
    const auto shown = co_await blocking(loop_, [cell, file, stream] {
        return std::pair{cell->show(file, true),
                         ImportTarget{cell->show(stream->disk.attachment, false), cell->prefix()}};
    });
    const ImageFacts facts =
        co_await look_at_image(loop_, shown.first, stream->format, shown.second.prefix);
    if (facts.size_bytes > stream->disk.size_bytes)
        throw err::vdi_too_small(stream->disk.vdi, std::to_string(facts.size_bytes));
    if (!facts.differs)
        co_return co_await import_image(loop_, shown.first, stream->format, shown.second);
    const Attachment image{{{file, stream->format}}, true};
    std::string ranges = extent_lines(held_above(co_await map(image), 1));
    co_await copy_ranges(std::move(ranges), image, stream->disk.attachment, {});
}

Task<void> QemuTransfer::await_server(std::shared_ptr<Server> server, Ended then) {
    co_await server->ended->wait();
    if (then) then();
}

Task<std::shared_ptr<QemuTransfer::Server>> QemuTransfer::start_server(Attachment disk) {
    const auto cell = co_await open_cell();
    Command command;
    command.argv = co_await blocking(
        loop_, [cell, disk] { return nbd_args(cell->prefix(), cell->show(disk, disk.read_only)); });
    Pair pair = make_pair(fresh_path(".nbd").string());
    const UniqueFd complaints(memfd_create("qemu-nbd", MFD_CLOEXEC));
    command.inherit = {{complaints.get(), 2}, {pair.listening.get(), 3}};
    command.env = {"LISTEN_FDS=1"};
    auto server = std::make_shared<Server>();
    server->process = start_process(loop_, command);
    pair.listening.reset();
    server->ended = spawn(loop_, "nbd process", await_end(server->process, cell, {}));
    const Time deadline = loop_.now() + start_limit;
    while (!greeted(pair.client.get()) && !server->ended->finished() && loop_.now() < deadline)
        co_await sleep_for(loop_, 5ms);
    if (greeted(pair.client.get())) {
        server->client = std::move(pair.client);
        spawn(loop_, "nbd client", end_without_client(loop_, server->process, server->ended));
        co_return server;
    }
    server->process->kill(SIGKILL);
    const std::string text = text_of(complaints.get());
    throw_qemu_failure(text.empty() ? "qemu-nbd did not start" : text);
}

Task<void> QemuTransfer::pump(Pump what) {
    Command command;
    command.argv = std::move(what.prefix);
    command.argv.push_back(stream_program_);
    command.argv.insert(command.argv.end(), what.mode.begin(), what.mode.end());
    command.inherit = {{what.disk, 3}, {what.stream, 4}};
    const Output output =
        co_await run_command(loop_, std::move(command), transfer_limit, std::move(what.input));
    if (output.status == exit_too_long) throw err::vdi_too_small(what.vdi, "");
    if (output.status != 0) throw err::vdi_io_error(output.err);
}

fs::path QemuTransfer::fresh_path(const char* ending) {
    return work_folder_ / (loop_.new_uuid().text().substr(0, 13) + ending);
}

}  // namespace basalt::sm
