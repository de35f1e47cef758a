#pragma once
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

/// Structured lines: `time level event key=value ...` on standard error.
/// error = we broke, warn = someone else did, info = a state change.
namespace basalt::log {

struct Field {
    std::string_view key;
    std::string value;

    Field(std::string_view name, std::string text) : key(name), value(std::move(text)) {}

    Field(std::string_view name, std::string_view text) : key(name), value(text) {}

    Field(std::string_view name, const char* text) : key(name), value(text) {}

    template <class N>
        requires std::is_arithmetic_v<N>
    Field(std::string_view name, N number) : key(name), value(std::to_string(number)) {}
};

using Fields = std::initializer_list<Field>;

enum class Level { debug, info, warn, error, off };

/// Call once in main, before threads exist.
void set_level(Level level);
void debug(std::string_view event, Fields fields = {});
void info(std::string_view event, Fields fields = {});
void warn(std::string_view event, Fields fields = {});
void error(std::string_view event, Fields fields = {});

/// A text that must not reach a log: prints as ***.
class Secret {
  public:
    Secret() = default;

    explicit Secret(std::string text) : text_(std::move(text)) {}

    [[nodiscard]] const std::string& reveal() const { return text_; }

  private:
    std::string text_;
};

}  // namespace basalt::log
