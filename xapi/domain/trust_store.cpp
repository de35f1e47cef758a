#include "xapi/domain/trust_store.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "base/durable_file.hpp"
#include "base/wait.hpp"
#include "idl/errors.hpp"

namespace basalt::domain {

namespace {

namespace fs = std::filesystem;

constexpr const char* unfinished = ".new";

void write_in_one_step(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    write_durably(path, text, 0644);
}

}  // namespace

std::string TrustStore::folder(Kind kind) const {
    if (core_.files.empty()) throw err::internal_error("this pool keeps no files");
    return core_.files + (kind == Kind::certificate ? "/certificates" : "/crls");
}

Task<void> TrustStore::write(Kind kind, std::string name, std::string pem) {
    const fs::path path = fs::path(folder(kind)) / name;
    co_await blocking(core_.loop, [path, pem] { write_in_one_step(path, pem); });
}

Task<bool> TrustStore::remove(Kind kind, std::string name) {
    const fs::path path = fs::path(folder(kind)) / name;
    co_return co_await blocking(core_.loop, [path] { return fs::remove(path); });
}

Task<bool> TrustStore::has(Kind kind, std::string name) {
    const fs::path path = fs::path(folder(kind)) / name;
    co_return co_await blocking(core_.loop, [path] { return fs::exists(path); });
}

Task<std::vector<std::string>> TrustStore::names(Kind kind) {
    co_return co_await blocking(core_.loop, [path = folder(kind)] {
        std::vector<std::string> out;
        std::error_code absent;
        for (const auto& entry : fs::directory_iterator(path, absent))
            if (entry.path().extension() != unfinished) out.push_back(entry.path().filename());
        std::ranges::sort(out);
        return out;
    });
}

Task<std::vector<std::string>> TrustStore::texts(Kind kind, std::vector<std::string> names) {
    co_return co_await blocking(core_.loop, [path = fs::path(folder(kind)), names] {
        std::vector<std::string> out;
        for (const std::string& name : names) {
            std::ifstream file(path / name, std::ios::binary);
            using Bytes = std::istreambuf_iterator<char>;
            if (file) out.emplace_back(Bytes(file), Bytes());
        }
        return out;
    });
}

}  // namespace basalt::domain
