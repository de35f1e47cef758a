#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "idl/runtime/map.hpp"

namespace basalt::domain {

/// The client programs that logged in of late, as they call themselves. Forgotten when the process
/// ends; bounded, as clients choose the texts. Loop only.
class UserAgents {
  public:
    static constexpr std::size_t programs_max = 128;
    static constexpr std::size_t text_bytes_max = 64;

    /// `text` as in a User-Agent header: `NAME/VERSION (more)`. One without a name is not kept;
    /// beyond the bound the program that was not seen for longest goes.
    void note(std::string_view text);
    /// Name -> the version that was seen last.
    [[nodiscard]] xenapi::Map<std::string, std::string> programs() const;

  private:
    struct Program {
        std::string version;
        std::uint64_t seen = 0;
    };

    std::map<std::string, Program> programs_;
    std::uint64_t now_ = 0;  // counts notes
};

}  // namespace basalt::domain
