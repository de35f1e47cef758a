#pragma once
#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace basalt {

/// The one error that crosses rooms and the wire: a XenAPI code and its parameters, in order.
/// Codes are made by the generated constructors in `err::`; nothing else types a code.
class ApiError : public std::exception {
  public:
    ApiError(std::string code, std::vector<std::string> params);

    [[nodiscard]] const std::string& code() const { return code_; }

    [[nodiscard]] const std::vector<std::string>& params() const { return params_; }

    /// `CODE(param, param)`, for logs.
    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

    friend bool operator==(const ApiError& a, const ApiError& b) {
        return a.code_ == b.code_ && a.params_ == b.params_;
    }

  private:
    std::string code_;
    std::vector<std::string> params_;
    std::string text_;
};

/// Turns whatever is being handled into an ApiError: itself, or INTERNAL_ERROR with the text.
/// For the three places that may catch everything: dispatcher, task runner, undo.
[[nodiscard]] ApiError as_api_error(const std::exception_ptr& failure);

/// Whether the failure is Asio's cancellation (operation_aborted).
[[nodiscard]] bool is_cancellation(const std::exception_ptr& failure);

}  // namespace basalt
