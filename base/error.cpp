#include "base/error.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

namespace basalt {

ApiError::ApiError(std::string code, std::vector<std::string> params)
    : code_(std::move(code)), params_(std::move(params)) {
    text_ = code_ + "(";
    for (const std::string& param : params_) {
        if (text_.back() != '(') text_ += ", ";
        text_ += param;
    }
    text_ += ")";
}

ApiError as_api_error(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const ApiError& error) {
        return error;
    } catch (const std::exception& error) {
        return {"INTERNAL_ERROR", {error.what()}};
    }
}

bool is_cancellation(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const boost::system::system_error& error) {
        return error.code() == boost::asio::error::operation_aborted;
    } catch (const std::exception&) {
        return false;
    }
}

}  // namespace basalt
