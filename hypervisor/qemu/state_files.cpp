#include "hypervisor/qemu/state_files.hpp"

#include <sys/stat.h>

#include <array>
#include <filesystem>
#include <system_error>

#include "base/durable_file.hpp"
#include "base/encoding.hpp"
#include "hypervisor/qemu/descriptor.hpp"
#include "idl/errors.hpp"

namespace basalt::hv::qemu {

namespace fs = std::filesystem;
using agent::StateKind;

namespace {

constexpr std::array kinds = {StateKind::nvram, StateKind::tpm};

const char* ending_of(StateKind kind) {
    return kind == StateKind::nvram ? ".fd" : ".tpm";
}

std::string told_path(const std::string& path) {
    return path + ".told";
}

template <class Work>
auto translated(const std::string& path, Work work) {
    try {
        return work();
    } catch (const std::system_error& error) {
        throw err::internal_error(path + ": " + error.what());
    }
}

bool is_changed(const std::string& bytes, const std::string& told_digest) {
    return !bytes.empty() && sha256_hex(bytes) != told_digest;
}

}  // namespace

std::string StateFiles::path(const std::string& vm, StateKind kind) const {
    return folder_ + "/" + vm + ending_of(kind);
}

void StateFiles::prepare(const std::string& vm, StateKind kind) const {
    const std::string file = path(vm, kind);
    if (fs::exists(file)) return;
    translated(file, [&] {
        fs::create_directories(folder_);
        write_durably(file, kind == StateKind::nvram ? read_file(fresh_variables_) : std::string());
    });
}

KeptBytes StateFiles::read(const std::string& vm, StateKind kind) const {
    const std::string file = path(vm, kind);
    if (!fs::exists(file)) {
        KeptBytes fresh;
        if (kind == StateKind::nvram) fresh.bytes = read_file(fresh_variables_);
        return fresh;
    }
    const Told known = told(file);
    KeptBytes out{.bytes = read_file(file), .tag = known.tag};
    out.changed = is_changed(out.bytes, known.digest);
    return out;
}

void StateFiles::write(const std::string& vm, StateKind kind, const KeptBytes& state) const {
    const std::string file = path(vm, kind);
    translated(file, [&] {
        fs::create_directories(folder_);
        // In this order: bytes without a note are changed ones, which is safe.
        fs::remove(told_path(file));
        if (state.bytes.empty()) {
            fs::remove(file);
            sync_folder(folder_);
            return;
        }
        write_durably(file, state.bytes);
    });
    if (!state.bytes.empty()) note_told(vm, kind, sha256_hex(state.bytes), state.tag);
}

void StateFiles::note_told(const std::string& vm, StateKind kind, const std::string& digest,
                           const std::string& tag) const {
    const std::string note = told_path(path(vm, kind));
    translated(note, [&] { write_durably(note, digest + " " + tag + "\n"); });
}

std::vector<agent::StateRef> StateFiles::changed() const {
    std::vector<agent::StateRef> out;
    if (!fs::exists(folder_)) return out;
    for (const auto& entry : fs::directory_iterator(folder_)) {
        const fs::path& file = entry.path();
        for (const StateKind kind : kinds)
            if (file.extension() == ending_of(kind) &&
                is_changed(read_file(file), told(file).digest))
                out.push_back({.vm = file.stem(), .kind = kind});
    }
    return out;
}

void StateFiles::remove(const std::string& vm) const {
    for (const StateKind kind : kinds) {
        const std::string file = path(vm, kind);
        for (const std::string& name : {told_path(file), file, file + ".new"})
            fs::remove(name);
    }
}

std::int64_t StateFiles::version(const std::string& vm, StateKind kind) const {
    struct stat facts{};
    if (::stat(path(vm, kind).c_str(), &facts) != 0) return 0;
    return facts.st_mtim.tv_sec * 1'000'000'000 + facts.st_mtim.tv_nsec;
}

StateFiles::Told StateFiles::told(const std::string& path) const {
    // DIGEST TAG, the latter perhaps empty.
    std::string text = read_file(told_path(path));
    if (text.ends_with('\n')) text.pop_back();
    const std::size_t space = text.find(' ');
    if (space == std::string::npos) return {};
    return {.digest = text.substr(0, space), .tag = text.substr(space + 1)};
}

}  // namespace basalt::hv::qemu
