#pragma once
// For the tests of this folder only.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>

#include "base/error.hpp"
#include "base/real_loop.hpp"
#include "base/wait.hpp"

namespace basalt::agent::testing_ {

/// A folder that goes with the test.
class Folder {
  public:
    Folder() {
        std::string name = "/tmp/basalt-services-XXXXXX";
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
        path_ = name;
    }

    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    std::string write(const std::string& name, const std::string& text, unsigned mode = 0644) {
        const std::filesystem::path file = path_ / name;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file) << text;
        ::chmod(file.c_str(), mode);
        return file;
    }

    [[nodiscard]] std::string path() const { return path_; }

  private:
    std::filesystem::path path_;
};

/// Runs one verb on a loop of its own: "ok", or the error.
inline std::string outcome(std::function<Task<void>(RealLoop&)> verb) {
    RealLoop loop(2);
    std::string out = "ok";
    const auto job = spawn(loop, "test",
                           [](RealLoop& l, std::function<Task<void>(RealLoop&)> body,
                              std::string* told) -> Task<void> {
                               try {
                                   co_await body(l);
                               } catch (const ApiError& error) {
                                   *told = error.what();
                               }
                               l.stop();
                           }(loop, std::move(verb), &out));
    loop.run();
    return out;
}

}  // namespace basalt::agent::testing_
