#include "storage-manager/datapath/qemu_transfer.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <boost/system/system_error.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <limits>

#include "base/json.hpp"
#include "base/log.hpp"
#include "base/real_net.hpp"
#include "base/subprocess.hpp"
#include "idl/errors.hpp"
#include "storage-manager/datapath/chain.hpp"
#include "storage-manager/datapath/changes.hpp"
#include "storage-manager/datapath/convert.hpp"

namespace basalt::sm {

namespace fs = std::filesystem;

namespace {

constexpr Duration start_limit = 20s;
constexpr Duration transfer_limit = 24h;
constexpr int exit_too_long = 3;

UniqueFd duplicate(int fd) {
    return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

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

Json error_line(const ApiError& error) {
    Json words = Json::array({error.code()});
    for (const std::string& param : error.params())
        words.push_back(param);
    return {{"error", words}};
}

// g++ 14 fails on some lists of strings inside a coroutine, hence a function of its own.
std::vector<std::string> nbd_args(const std::string& socket, const Attachment& disk) {
    std::vector<std::string> args = {"qemu-nbd", "--socket=" + socket, "--export-name=disk",
                                     "--shared=1"};
    if (disk.read_only) args.emplace_back("--read-only");
    args.push_back(json_filename(disk, disk.read_only));
    return args;
}

Task<void> await_end(std::shared_ptr<Process> process, Transfer::Ended then) {
    co_await process->wait();
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
    UniqueFd client;
};

struct QemuTransfer::Stream {
    Disk disk;
    std::string format;
    Ended ended;
    UniqueFd near;  // our end; kept until all is over, so that its end means the disk is closed
};

QemuTransfer::QemuTransfer(RealLoop& loop, fs::path work_folder, std::string stream_program)
    : loop_(loop),
      work_folder_(std::move(work_folder)),
      stream_program_(std::move(stream_program)) {
    std::error_code ignored;
    fs::remove_all(work_folder_, ignored);
    fs::create_directories(work_folder_, ignored);
}

Task<void> QemuTransfer::copy(Copy what, rpc::Progress progress) {
    const Image leaf = what.to.chain.front();
    if (what.base) {
        co_await copy_changes(std::move(what), std::move(progress));
    } else {
        co_await convert(loop_,
                         {json_filename(what.from, true), json_filename(what.to, false),
                          leaf.format, what.to_empty},
                         std::move(progress));
    }
    co_await sync_file(loop_, leaf.path);
}

Task<void> QemuTransfer::copy_changes(Copy what, rpc::Progress progress) {
    const Layers layers = layers_above_common(what.from, *what.base);
    std::vector<Extent> ours = held_above(co_await map_image(loop_, what.from), layers.one);
    const std::vector<Extent> theirs =
        held_above(co_await map_image(loop_, *what.base), layers.other);
    what.from.read_only = true;
    const auto source = co_await start_server(what.from);
    const auto target = co_await start_server(what.to);
    {
        // What lies beyond the end of the source is of no interest; sm-stream knows where it is.
        const std::string list = extent_lines(
            joined(std::move(ours), theirs, std::numeric_limits<std::uint64_t>::max()));
        const UniqueFd lines = memory_file(list);
        const UniqueFd from = std::move(source->client);
        const UniqueFd to = std::move(target->client);
        Command command;
        command.argv.push_back(stream_program_);
        command.argv.emplace_back("copy-ranges");
        command.inherit = {{from.get(), 3}, {to.get(), 4}, {lines.get(), 0}};
        co_await run_reporting(loop_, std::move(command), std::move(progress));
    }
    co_await source->process->wait();
    co_await target->process->wait();  // it lets go of the image
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
    spawn(loop_, "nbd server", await_end(server->process, std::move(ended)));
    co_return std::move(server->client);
}

Task<UniqueFd> QemuTransfer::send(Disk disk, std::string format, Ended ended) {
    auto [near, far] = socket_pair();
    auto stream = std::make_shared<Stream>(
        Stream{std::move(disk), format, std::move(ended), std::move(near)});
    Task<void> body = format == "raw" ? send_raw(stream) : send_converted(stream);
    spawn(loop_, "export", finish(stream, std::move(body), false));
    co_return std::move(far);
}

Task<UniqueFd> QemuTransfer::receive(Disk disk, std::string format, Ended ended) {
    auto [near, far] = socket_pair();
    auto stream = std::make_shared<Stream>(
        Stream{std::move(disk), format, std::move(ended), std::move(near)});
    Task<void> body = format == "raw" ? receive_raw(stream) : receive_converted(stream);
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
        say(stream->near.get(), error_line(error));
    } else if (answer) {
        say(stream->near.get(), {{"ok", true}});
    }
    stream->near.reset();
}

Task<void> QemuTransfer::send_raw(std::shared_ptr<Stream> stream) {
    Attachment disk = stream->disk.attachment;
    disk.read_only = true;
    const auto server = co_await start_server(std::move(disk));
    const UniqueFd client = std::move(server->client);
    co_await pump("send-disk", client.get(), stream->near.get(), stream->disk.vdi);
}

Task<void> QemuTransfer::send_converted(std::shared_ptr<Stream> stream) {
    const TemporaryFile file(fresh_path(".image"));
    co_await export_image(loop_, stream->disk.attachment, stream->format, file.path().string());
    const UniqueFd fd(::open(file.path().c_str(), O_RDONLY | O_CLOEXEC));
    co_await pump("send-file", fd.get(), stream->near.get(), stream->disk.vdi);
}

Task<void> QemuTransfer::receive_raw(std::shared_ptr<Stream> stream) {
    const auto server = co_await start_server(stream->disk.attachment);
    {
        const UniqueFd client = std::move(server->client);
        co_await pump("receive-disk", client.get(), stream->near.get(), stream->disk.vdi);
    }
    co_await server->process->wait();  // it lets go of the image
    co_await sync_file(loop_, stream->disk.attachment.chain.front().path);
}

Task<void> QemuTransfer::receive_converted(std::shared_ptr<Stream> stream) {
    const TemporaryFile file(fresh_path(".image"));
    {
        const UniqueFd fd = make_file(file.path());
        co_await pump("receive-file", fd.get(), stream->near.get(), stream->disk.vdi);
    }
    co_await import_image(loop_, file.path().string(), stream->format,
                          {stream->disk.attachment, stream->disk.vdi, stream->disk.size_bytes});
    co_await sync_file(loop_, stream->disk.attachment.chain.front().path);
}

Task<std::shared_ptr<QemuTransfer::Server>> QemuTransfer::start_server(Attachment disk) {
    const fs::path path = fresh_path(".nbd");
    const UniqueFd complaints(memfd_create("qemu-nbd", MFD_CLOEXEC));
    Command command;
    command.argv = nbd_args(path.string(), disk);
    command.inherit = {{complaints.get(), 2}};
    auto server = std::make_shared<Server>();
    server->process = start_process(loop_, command);
    const auto ended = spawn(loop_, "nbd process", await_end(server->process, {}));
    const Time deadline = loop_.now() + start_limit;
    while (!server->client && !ended->finished() && loop_.now() < deadline) {
        try {
            const auto stream = co_await connect_unix(loop_, path.string());
            server->client = duplicate(stream->fd());
        } catch (const boost::system::system_error&) {
            // not listening yet
        }
        if (!server->client) co_await sleep_for(loop_, 5ms);
    }
    ::unlink(path.c_str());
    if (server->client) {
        // Our duplicate shares the flags of the stream it came from.
        fcntl(server->client.get(), F_SETFL, fcntl(server->client.get(), F_GETFL) & ~O_NONBLOCK);
        spawn(loop_, "nbd client", end_without_client(loop_, server->process, ended));
        co_return server;
    }
    server->process->kill(SIGKILL);
    const std::string text = text_of(complaints.get());
    throw_qemu_failure(text.empty() ? "qemu-nbd did not start" : text);
}

Task<void> QemuTransfer::pump(std::string mode, int disk, int stream, std::string vdi) {
    Command command;
    command.argv.push_back(stream_program_);
    command.argv.push_back(mode);
    command.inherit = {{disk, 3}, {stream, 4}};
    const Output output = co_await run_command(loop_, std::move(command), transfer_limit);
    if (output.status == exit_too_long) throw err::vdi_too_small(vdi, "");
    if (output.status != 0) throw err::vdi_io_error(output.err);
}

fs::path QemuTransfer::fresh_path(const char* ending) {
    return work_folder_ / (loop_.new_uuid().text().substr(0, 13) + ending);
}

}  // namespace basalt::sm
