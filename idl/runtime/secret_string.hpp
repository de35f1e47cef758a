#pragma once
#include <string>
#include <utility>

namespace basalt::xenapi {

/// A text that must not reach a log: it prints itself as `***` and is read on purpose only.
class SecretString {
  public:
    SecretString() = default;

    explicit SecretString(std::string text) : text_(std::move(text)) {}

    [[nodiscard]] const std::string& reveal() const { return text_; }

    [[nodiscard]] static std::string text() { return "***"; }

    friend bool operator==(const SecretString&, const SecretString&) = default;

  private:
    std::string text_;
};

}  // namespace basalt::xenapi
