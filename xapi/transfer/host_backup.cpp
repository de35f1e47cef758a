#include "xapi/transfer/host_backup.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include "base/durable_file.hpp"
#include "base/json.hpp"
#include "base/log.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"
#include "idl/records/host.hpp"
#include "xapi/core/blob_files.hpp"
#include "xapi/core/core.hpp"
#include "xapi/core/hosts.hpp"
#include "xapi/db/store/dump.hpp"
#include "xapi/transfer/archive_reader.hpp"
#include "xapi/transfer/archive_writer.hpp"

namespace basalt::transfer {

namespace {

namespace fs = std::filesystem;
using server::Exchange;

constexpr std::int64_t backup_format = 1;
constexpr std::size_t about_bytes_max = 65536;
constexpr std::size_t pem_bytes_max = 262144;
constexpr std::size_t database_bytes_max = std::size_t{1} << 30;
const std::string about_name = "backup.json";
const std::string database_name = "database.xml";
const std::string certificate_name = "certificate.pem";
const std::string files_prefix = "files/";
constexpr std::array kept_folders = {"blobs", "certificates", "crls"};

/// Beside the store, under a name that the next start removes; gone with its scope.
class Scratch {
  public:
    Scratch(Call& call, const std::string& store)
        : path_(store + ".scratch-" + call.core().new_uuid()) {}

    ~Scratch() { ::unlink(path_.c_str()); }

    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

std::string read_file(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::system_error(errno, std::generic_category(), path.string());
    return {std::istreambuf_iterator<char>(in), {}};
}

/// `FOLDER/NAME` of all that lies beside the database.
std::vector<std::string> names_beside(const std::string& files) {
    std::vector<std::string> out;
    for (const char* folder : kept_folders) {
        std::error_code absent;
        for (const auto& entry : fs::directory_iterator(fs::path(files) / folder, absent))
            if (entry.is_regular_file() && entry.path().extension() != ".new")
                out.push_back(std::string(folder) + "/" + entry.path().filename().string());
    }
    std::ranges::sort(out);
    return out;
}

/// Never a path, nor a place beside its own.
bool is_beside(const std::string& name) {
    const std::size_t slash = name.find('/');
    if (slash == std::string::npos) return false;
    const std::string folder = name.substr(0, slash);
    const std::string file = name.substr(slash + 1);
    const auto plain = [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
    };
    return std::ranges::contains(kept_folders, folder) && !file.empty() && file.size() <= 255 &&
           file.front() != '.' && std::ranges::all_of(file, plain);
}

/// The machine's own settings, which no database restores.
Json settings_of(const xenapi::Host& host) {
    return {{"hostname", host.hostname},
            {"timezone", host.timezone},
            {"iscsi_iqn", host.iscsi_iqn},
            {"syslog_destination", host.logging.get(std::string("syslog_destination"))},
            {"console_idle_seconds", host.console_idle_timeout}};
}

/// One change a setting: a machine that cannot have one may have the others.
std::vector<agent::HostChange> changes_of(const Json& settings) {
    std::vector<agent::HostChange> out;
    const auto text = [&](const char* key, auto member) {
        const std::string value = text_member(settings, key);
        if (value.empty()) return;
        agent::HostChange change;
        change.*member = value;
        out.push_back(std::move(change));
    };
    text("hostname", &agent::HostChange::hostname);
    text("timezone", &agent::HostChange::timezone);
    text("iscsi_iqn", &agent::HostChange::iscsi_iqn);
    text("syslog_destination", &agent::HostChange::syslog_destination);
    const auto idle = settings.find("console_idle_seconds");
    if (idle != settings.end() && idle->is_number_integer()) {
        agent::HostChange change;
        change.console_idle_seconds = idle->get<std::int64_t>();
        out.push_back(std::move(change));
    }
    return out;
}

server::ResponseHead head_of(const Call& call) {
    server::ResponseHead head{.headers = {{"Connection", "close"},
                                          {"Cache-Control", "no-cache, no-store"},
                                          {"content-type", "application/octet-stream"}}};
    if (call.task()) head.headers.emplace_back("Task-id", call.task().text());
    return head;
}

// -- out ------------------------------------------------------------------------------------------

/// Reads a file of the archive on a pool thread; answers with what is ready to be sent.
Task<std::string> added(Loop& loop, std::shared_ptr<ArchiveWriter> archive, std::string name,
                        std::string path) {
    co_return co_await blocking(loop, [archive, name, path] {
        archive->add(name, read_file(path));
        return archive->take();
    });
}

Task<void> back_up(Exchange& exchange, Call& call, std::shared_ptr<const DatabaseFiles> files) {
    core::Core& core = call.core();
    Loop& loop = core.loop;
    // What the caller has been told before must be in it.
    co_await call.db().durable(call.db().published());
    const xenapi::Host host = call.db().get(core.this_host);
    const Json about = {{"format", backup_format},
                        {"host", files->host_uuid},
                        {"time", core.now_seconds()},
                        {"settings", settings_of(host)}};
    const Scratch dump(call, files->store);
    co_await blocking(loop,
                      [store = files->store, to = dump.path()] { db::write_dump(store, to); });
    const auto archive = std::make_shared<ArchiveWriter>(Compression::none);
    co_await exchange.begin(head_of(call), true);
    const std::string first = co_await blocking(loop, [archive, text = about.dump(2)] {
        archive->add(about_name, text);
        return archive->take();
    });
    co_await exchange.write(first);
    std::vector<std::pair<std::string, std::string>> parts = {{database_name, dump.path()}};
    if (!core.identity.pem_path.empty())
        parts.emplace_back(certificate_name, core.identity.pem_path);
    const std::vector<std::string> beside =
        co_await blocking(loop, [folder = core.files] { return names_beside(folder); });
    for (const std::string& name : beside)
        parts.emplace_back(files_prefix + name, core.files + "/" + name);
    for (const auto& [name, path] : parts) {
        const std::string piece = co_await added(loop, archive, name, path);
        co_await exchange.write(piece);
    }
    const std::string last = co_await blocking(loop, [archive] {
        archive->finish();
        return archive->take();
    });
    co_await exchange.write(last);
    log::info("host_backed_up", {{"parts", parts.size()}});
}

// -- in -------------------------------------------------------------------------------------------

/// What an archive has, looked at and not yet in place.
struct Backup {
    Json about;
    bool has_database = false;
    std::string certificate;
    std::vector<std::string> beside;  // `FOLDER/NAME`, each waiting as NAME.new
};

void check_about(const Json& about, const std::string& host) {
    const auto format = about.find("format");
    if (!about.is_object() || format == about.end() || !format->is_number_integer())
        throw err::restore_script_failed("it is no backup of a host");
    if (format->get<std::int64_t>() > backup_format) throw err::restore_incompatible_version();
    if (text_member(about, "host") != host) throw err::restore_target_mgmt_if_not_in_backup();
}

void lay_beside(const std::string& files, const std::string& name, const std::string& content) {
    const fs::path path = fs::path(files) / (name + ".new");
    fs::create_directories(path.parent_path());
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    out.close();
    if (!out) throw std::system_error(EIO, std::generic_category(), path.string());
}

void write_whole(const std::string& path, const std::string& content) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
    out.write(content.data(), static_cast<std::streamsize>(content.size()));
    out.close();
    if (!out) throw std::system_error(EIO, std::generic_category(), path);
}

Task<void> take_entry(Call& call, ArchiveReader& reader, std::string name, std::string scratch,
                      Backup& backup) {
    core::Core& core = call.core();
    Loop& loop = core.loop;
    if (name == database_name) {
        const std::string text = co_await reader.content(database_bytes_max);
        co_await blocking(loop, [&scratch, &text] { write_whole(scratch, text); });
        backup.has_database = true;
    } else if (name == certificate_name) {
        backup.certificate = co_await reader.content(pem_bytes_max);
    } else if (name.starts_with(files_prefix) && is_beside(name.substr(files_prefix.size()))) {
        const std::string rest = name.substr(files_prefix.size());
        const std::string content = co_await reader.content(core::blob_bytes_max);
        backup.beside.push_back(rest);
        co_await blocking(loop,
                          [&core, &rest, &content] { lay_beside(core.files, rest, content); });
    } else {
        throw err::restore_script_failed("it has a file of the name " + name.substr(0, 100));
    }
}

Task<void> read_backup(Call& call, ArchiveReader& reader, std::string scratch, std::string host,
                       Backup& backup) {
    const auto first = co_await reader.next();
    if (!first || first->name != about_name)
        throw err::restore_script_failed("it is no backup of a host");
    backup.about = parse_foreign_json(co_await reader.content(about_bytes_max));
    check_about(backup.about, host);
    for (;;) {
        const auto entry = co_await reader.next();
        if (!entry) break;
        co_await take_entry(call, reader, entry->name, scratch, backup);
    }
    if (!backup.has_database) throw err::restore_script_failed("it has no database");
}

/// The listeners use it at once; what they refuse is taken back.
Task<void> present(core::Core& core, std::string pem) {
    const core::Core::Identity& identity = core.identity;
    if (pem.empty() || identity.pem_path.empty()) co_return;
    const std::string before = co_await blocking(core.loop, [&identity, &pem] {
        std::string old = read_file(identity.pem_path);
        identity.write(pem);
        return old;
    });
    std::string refusal;
    try {
        identity.reload();
    } catch (const std::runtime_error& error) {
        refusal = error.what();
    }
    if (refusal.empty()) co_return;
    co_await blocking(core.loop, [&identity, &before] { identity.write(before); });
    throw err::restore_script_failed("its certificate: " + refusal);
}

void put_in_place(const std::string& files, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        const fs::path path = fs::path(files) / name;
        rename_durably(path.string() + ".new", path);
    }
}

void forget_laid(const std::string& files, const std::vector<std::string>& names) {
    std::error_code gone;
    for (const std::string& name : names)
        fs::remove(fs::path(files) / (name + ".new"), gone);
}

Task<void> set_machine(Call& call, Json settings) {
    core::Core& core = call.core();
    for (agent::HostChange& change : changes_of(settings)) {
        try {
            co_await core.hosts->agent(core.this_host)
                .host_change(call.operation(), {std::move(change)});
        } catch (const ApiError& error) {
            log::warn("setting_not_restored", {{"error", error.what()}});
        }
    }
}

Task<void> put_back(Call& call, std::shared_ptr<const DatabaseFiles> files, const Backup& backup,
                    std::string dump) {
    core::Core& core = call.core();
    Loop& loop = core.loop;
    const auto contents = co_await blocking(loop, [&dump, &files] {
        auto out = std::make_shared<db::StoreContents>(db::read_dump(dump));
        db::check_contents(*out, files->host_uuid);
        return out;
    });
    // Key and listeners first: they alone may still refuse.
    co_await present(core, backup.certificate);
    co_await blocking(loop, [&core, &backup, &contents, &files] {
        put_in_place(core.files, backup.beside);
        db::stage_restore(*contents, files->store);
    });
    const auto settings = backup.about.find("settings");
    if (settings != backup.about.end() && settings->is_object())
        co_await set_machine(call, *settings);
}

Task<void> restore(Exchange& exchange, Call& call, std::shared_ptr<const DatabaseFiles> files) {
    if (exchange.request().chunked) throw err::not_implemented("chunked uploads");
    core::Core& core = call.core();
    const Scratch dump(call, files->store);
    // Clients send nothing before they are told to.
    co_await exchange.begin(head_of(call), true);
    ArchiveReader reader(
        core.loop, [&exchange](std::span<char> buffer) { return exchange.read_body(buffer); });
    Backup backup;
    std::exception_ptr failure;
    try {
        co_await read_backup(call, reader, dump.path(), files->host_uuid, backup);
        co_await put_back(call, files, backup, dump.path());
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        forget_laid(core.files, backup.beside);
        std::rethrow_exception(failure);
    }
    log::info("host_restored", {{"files", backup.beside.size()}});
    files->restart();
}

}  // namespace

void add_host_backup_routes(server::Router& router, server::HttpAuth& auth, DatabaseFiles given) {
    const auto files = std::make_shared<const DatabaseFiles>(std::move(given));
    auth.add(router, server::http_action("get_host_backup"),
             [files](Exchange& exchange, Call& call) { return back_up(exchange, call, files); });
    auth.add(router, server::http_action("put_host_restore"),
             [files](Exchange& exchange, Call& call) { return restore(exchange, call, files); });
}

}  // namespace basalt::transfer
