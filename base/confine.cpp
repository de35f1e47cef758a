#include "base/confine.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <ranges>
#include <set>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/json.hpp"

namespace basalt {

namespace {

// A crash of the machine ends what runs, so that nothing need be durable.
void replace_file(const std::string& path, const std::string& text) {
    const std::string fresh = path + ".new";
    UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd || ::write(fd.get(), text.data(), text.size()) != std::ssize(text) ||
        std::rename(fresh.c_str(), path.c_str()) != 0)
        throw ApiError("INTERNAL_ERROR", {path + ": " + std::strerror(errno)});
}

}  // namespace

std::vector<std::string> confined(const std::string& launcher, const Cell& cell,
                                  const std::vector<std::string>& argv) {
    std::vector<std::string> out = {launcher, "--uid", std::to_string(cell.uid)};
    const auto each = [&out](const char* option, const std::vector<std::string>& values) {
        for (const std::string& value : values) {
            out.emplace_back(option);
            out.push_back(value);
        }
    };
    each("--capability", cell.capabilities);
    each("--group", cell.groups);
    each("--read", cell.readable);
    each("--write", cell.writable);
    if (!cell.pid_file.empty()) each("--pid-file", {cell.pid_file});
    if (cell.file_bytes_max > 0) each("--file-bytes", {std::to_string(cell.file_bytes_max)});
    each("--open-files", {std::to_string(cell.open_files_max)});
    if (cell.all_files) out.emplace_back("--all-files");
    if (cell.network) out.emplace_back("--network");
    if (cell.device_events) out.emplace_back("--device-events");
    out.emplace_back("--");
    out.insert(out.end(), argv.begin(), argv.end());
    return out;
}

pid_t process_of(const std::string& pid_file) {
    std::ifstream in(pid_file);
    pid_t pid = -1;
    std::string started;
    if (!(in >> pid >> started) || pid <= 1) return -1;
    std::ifstream stat_file("/proc/" + std::to_string(pid) + "/stat");
    const std::string stat(std::istreambuf_iterator<char>(stat_file), {});
    // The name in parentheses may hold anything; state and 18 numbers lie between it and the start.
    const auto name_end = stat.rfind(") ");
    if (name_end == std::string::npos) return -1;
    std::vector<std::string> words;
    for (const auto part : std::views::split(std::string_view(stat).substr(name_end + 2), ' '))
        words.emplace_back(part.begin(), part.end());
    constexpr std::size_t start_field = 22 - 3;
    if (words.size() <= start_field || words.front() == "Z" || words.front() == "X") return -1;
    return words[start_field] == started ? pid : -1;
}

Slots::Slots(RealLoop& loop, Range range) : loop_(loop), range_(std::move(range)), queue_(loop) {
    std::ifstream in(range_.file);
    const std::string text(std::istreambuf_iterator<char>(in), {});
    const Json known = Json::parse(text, nullptr, false);
    if (!known.is_object()) return;
    for (const auto& [key, number] : known.items())
        if (number.is_number_unsigned() && number.get<std::size_t>() < range_.count)
            slots_[key].number = number.get<std::size_t>();
}

Task<Slots::Held> Slots::hold(std::string key) {
    const auto lease = co_await queue_.acquire("slots");
    if (!slots_.contains(key)) {
        const std::size_t number = free_number();
        std::erase_if(slots_, [number](const auto& one) { return one.second.number == number; });
        slots_[key].number = number;
        std::exception_ptr failure;
        try {
            co_await blocking(
                loop_, [path = range_.file, content = text()] { replace_file(path, content); });
        } catch (const ApiError&) {
            failure = std::current_exception();
        }
        if (failure) slots_.erase(key);
        if (failure) std::rethrow_exception(failure);
    }
    Slot& slot = slots_.at(key);
    std::shared_ptr<int> use = slot.use.lock();
    if (!use) slot.use = use = std::make_shared<int>();
    co_return Held(range_.uid_first + static_cast<uid_t>(2 * slot.number), std::move(use));
}

// One that nobody ever had, else one whose owner is gone.
std::size_t Slots::free_number() const {
    std::set<std::size_t> known;
    for (const auto& [key, slot] : slots_)
        known.insert(slot.number);
    for (std::size_t number = 0; number < range_.count; ++number)
        if (!known.contains(number)) return number;
    for (const auto& [key, slot] : slots_)
        if (slot.use.expired()) return slot.number;
    throw ApiError("INTERNAL_ERROR", {"no user is left for another guest"});
}

std::string Slots::text() const {
    Json out = Json::object();
    for (const auto& [key, slot] : slots_)
        out[key] = slot.number;
    return out.dump();
}

}  // namespace basalt
