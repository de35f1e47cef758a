#include "host-agent/metrics/keeper.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <system_error>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/uuid.hpp"
#include "metrics/codec.hpp"

namespace basalt::agent {

namespace {

namespace fs = std::filesystem;

/// Far more than the greatest that is written.
constexpr std::uintmax_t file_bytes_max = std::uintmax_t{64} << 20;
constexpr const char* suffix = ".rrd";
constexpr const char* half_written = ".new";

std::optional<metrics::Rrd> read_file(const std::string& path) {
    std::error_code failed;
    const std::uintmax_t size = fs::file_size(path, failed);
    if (failed || size > file_bytes_max) return std::nullopt;
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    try {
        return metrics::decode(bytes);
    } catch (const std::runtime_error& error) {
        log::warn("metrics_file_unreadable", {{"file", path}, {"error", error.what()}});
        return std::nullopt;
    }
}

void write_all(int file, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::write(file, bytes.data(), bytes.size());
        if (sent < 0) throw std::system_error(errno, std::system_category(), "write");
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
}

// The old file, or the new one: never a part.
void replace_file(const std::string& path, std::string_view bytes, bool durable) {
    const std::string beside = path + half_written;
    {
        const UniqueFd file(
            ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!file) throw std::system_error(errno, std::system_category(), beside);
        write_all(file.get(), bytes);
        if (durable && ::fdatasync(file.get()) != 0)
            throw std::system_error(errno, std::system_category(), beside);
    }
    fs::rename(beside, path);
}

void make_private_folder(const std::string& path) {
    fs::create_directories(path);
    fs::permissions(path, fs::perms::owner_all);
}

// Half-written files of an earlier hostd, and the oldest beyond what is kept.
void clear_folder(const std::string& path) {
    struct Kept {
        fs::file_time_type written;
        fs::path path;
    };

    std::vector<Kept> kept;
    std::error_code gone;
    for (const auto& entry : fs::directory_iterator(path)) {
        if (entry.path().extension() == half_written) {
            fs::remove(entry.path(), gone);
        } else {
            kept.push_back({entry.last_write_time(gone), entry.path()});
        }
    }
    if (kept.size() <= Keeper::files_max) return;
    std::ranges::sort(kept, std::greater<>(), &Kept::written);
    for (std::size_t i = Keeper::files_max; i < kept.size(); ++i)
        fs::remove(kept[i].path, gone);
    log::info("metrics_files_removed", {{"count", kept.size() - Keeper::files_max}});
}

}  // namespace

std::string Keeper::path(const std::string& folder, const MetricsKey& key) const {
    // It becomes a file's name: whoever asks has checked it, but not all who will.
    if (!Uuid::parse(key.uuid)) throw std::invalid_argument("metrics of no uuid: " + key.uuid);
    return folder + "/" + std::string(text(key.owner)) + "-" + key.uuid + suffix;
}

Task<void> Keeper::start() {
    for (const std::string& folder : {folders_.run, folders_.state}) {
        if (folder.empty()) continue;
        co_await blocking(loop_, [folder] {
            make_private_folder(folder);
            clear_folder(folder);
        });
    }
}

Task<std::optional<metrics::Rrd>> Keeper::load(MetricsKey key) {
    std::vector<std::string> paths;
    for (const std::string& folder : {folders_.run, folders_.state})
        if (!folder.empty()) paths.push_back(path(folder, key));
    co_return co_await blocking(loop_, [paths] {
        std::optional<metrics::Rrd> newest;
        for (const std::string& one : paths) {
            std::optional<metrics::Rrd> found = read_file(one);
            if (found && (!newest || found->updated() > newest->updated()))
                newest = std::move(found);
        }
        return newest;
    });
}

Task<void> Keeper::open(MetricsKey key) {
    if (open_.contains(key)) co_return;
    std::optional<metrics::Rrd> found = co_await load(key);
    if (open_.contains(key)) co_return;
    const bool extremes = extremes_ && key.owner == MetricsOwner::vm;
    open_.emplace(std::move(key), found ? *std::move(found) : metrics::Rrd(extremes));
}

Task<void> Keeper::close(MetricsKey key) {
    const auto found = open_.find(key);
    if (found == open_.end()) co_return;
    std::vector<std::pair<std::string, std::string>> files;
    if (!folders_.state.empty())
        files.emplace_back(path(folders_.state, key), metrics::encode(found->second));
    open_.erase(found);
    co_await write(std::move(files), true);
    if (folders_.run.empty()) co_return;
    co_await blocking(loop_, [file = path(folders_.run, key)] {
        std::error_code gone;
        fs::remove(file, gone);
    });
}

Task<void> Keeper::drop(MetricsKey key) {
    open_.erase(key);
    for (const std::string& folder : {folders_.run, folders_.state}) {
        if (folder.empty()) continue;
        co_await blocking(loop_, [file = path(folder, key)] {
            std::error_code gone;
            fs::remove(file, gone);
        });
    }
}

Task<void> Keeper::write(std::vector<std::pair<std::string, std::string>> files, bool durable) {
    std::string failure = co_await blocking(loop_, [files = std::move(files), durable] {
        for (const auto& [file, bytes] : files) {
            try {
                replace_file(file, bytes, durable);
            } catch (const std::system_error& error) {
                return std::string(error.what());
            }
        }
        return std::string();
    });
    // A full disk must not end the measuring: the next turn tries again.
    if (!failure.empty()) log::error("metrics_not_saved", {{"error", failure}});
}

Task<void> Keeper::save_some() {
    ++round_;
    std::vector<std::pair<std::string, std::string>> run;
    std::vector<std::pair<std::string, std::string>> state;
    std::size_t recorded = 0;
    for (const auto& [key, rrd] : open_) {
        recorded += rrd.recorded_count();
        const std::size_t turn = round_ + std::hash<std::string>()(key.uuid);
        if (!folders_.run.empty() && turn % rounds_between_runs == 0)
            run.emplace_back(path(folders_.run, key), metrics::encode(rrd));
        if (!folders_.state.empty() && turn % rounds_between_states == 0)
            state.emplace_back(path(folders_.state, key), metrics::encode(rrd));
    }
    recorded_ = recorded;
    if (!run.empty()) co_await write(std::move(run), false);
    if (!state.empty()) co_await write(std::move(state), true);
    if (round_ % rounds_between_states == 0) co_await start();
}

Task<void> Keeper::save_all() {
    if (folders_.state.empty()) co_return;
    std::vector<std::pair<std::string, std::string>> files;
    for (const auto& [key, rrd] : open_)
        files.emplace_back(path(folders_.state, key), metrics::encode(rrd));
    co_await write(std::move(files), true);
}

void Keeper::update(const MetricsKey& key, double at, std::string_view life,
                    std::span<const metrics::Sample> samples,
                    const metrics::Rrd::Describe& describe) {
    metrics::Rrd* rrd = find(key);
    if (rrd == nullptr) return;
    const std::size_t before = rrd->recorded_count();
    const std::size_t room = recorded_ < recorded_max ? recorded_max - recorded_ : 0;
    rrd->begin_life(life);
    const std::size_t refused = rrd->update(at, samples, describe, room);
    recorded_ += rrd->recorded_count() - std::min(before, rrd->recorded_count());
    if (refused > 0 && !full_told_)
        log::warn("metrics_full", {{"recorded", recorded_}, {"most", recorded_max}});
    full_told_ = full_told_ || refused > 0;
}

metrics::Rrd* Keeper::find(const MetricsKey& key) {
    const auto found = open_.find(key);
    return found == open_.end() ? nullptr : &found->second;
}

Task<std::optional<metrics::Rrd>> Keeper::read(MetricsKey key) {
    if (const metrics::Rrd* rrd = find(key)) co_return *rrd;
    co_return co_await load(std::move(key));
}

Task<void> Keeper::fill(MetricsKey key, metrics::Rrd past) {
    if (metrics::Rrd* rrd = find(key)) {
        rrd->fill_from(past);
        co_return;
    }
    std::optional<metrics::Rrd> here = co_await load(key);
    // It may have been opened meanwhile.
    if (metrics::Rrd* rrd = find(key)) {
        rrd->fill_from(past);
        co_return;
    }
    if (here) {
        here->fill_from(past);
    } else {
        here = std::move(past);
    }
    if (folders_.state.empty()) co_return;
    std::vector<std::pair<std::string, std::string>> files;
    files.emplace_back(path(folders_.state, key), metrics::encode(*here));
    co_await write(std::move(files), true);
}

std::vector<MetricsKey> Keeper::open_keys() const {
    std::vector<MetricsKey> out;
    for (const auto& [key, rrd] : open_)
        out.push_back(key);
    return out;
}

}  // namespace basalt::agent
