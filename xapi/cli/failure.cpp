#include "xapi/cli/failure.hpp"

#include <algorithm>
#include <cctype>

#include "idl/cli/tables.hpp"

namespace basalt::cli {

namespace {

const ErrorParameters* parameters_of(const std::string& code) {
    const auto all = error_parameters();
    const auto place = std::ranges::lower_bound(all, code, {}, &ErrorParameters::code);
    return place != all.end() && place->code == code ? &*place : nullptr;
}

/// VM_NO_VCPUS -> "Vm no vcpus": better than nothing where nobody wrote a line.
std::string line_of_code(const std::string& code) {
    if (const std::string_view text = error_text(code); !text.empty()) return std::string(text);
    std::string out = "The operation failed: ";
    for (const char c : code)
        out += c == '_' ? ' ' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return out + ".";
}

/// The object that a parameter refers to, or the parameter as it is.
Task<std::string> readable(Facts* facts, std::string param, std::string class_hint) {
    if (facts == nullptr || !param.starts_with("OpaqueRef:") || is_null_ref(param)) co_return param;
    std::vector<std::string> classes = {"VM",      "VDI", "SR",  "VBD",  "VIF", "host",
                                        "network", "PIF", "PBD", "task", "pool"};
    if (const auto* cls = xenapi::find_class_any_case(class_hint))
        classes.insert(classes.begin(), std::string(cls->name));
    for (const std::string& name : classes) {
        try {
            std::string text = co_await facts->uuid_and_name(name, param);
            if (text != param) co_return text;
        } catch (const ApiError&) {
            co_return param;  // the session may be what failed
        }
    }
    co_return param;
}

}  // namespace

bool is_known_error(const std::string& code) {
    return parameters_of(code) != nullptr;
}

std::string error_line(const ApiError& error) {
    std::string out = line_of_code(error.code());
    for (const std::string& param : error.params())
        out += " " + param;
    return out;
}

Task<void> print_failure(Terminal& terminal, Facts* facts, ApiError error) {
    const ErrorParameters* known = parameters_of(error.code());
    if (known == nullptr) {
        co_await terminal.error(error.code(), error.params());
        co_return;
    }
    std::string text = line_of_code(error.code()) + "\n";
    const std::size_t count = std::max(known->names.size(), error.params().size());
    for (std::size_t i = 0; i < count; ++i) {
        const std::string name(i < known->names.size() ? known->names[i] : "<extra>");
        std::string value = "<unknown>";
        if (i < error.params().size()) {
            const bool handle = error.code() == "HANDLE_INVALID";
            value = handle ? error.params()[i] : co_await readable(facts, error.params()[i], name);
        }
        text += name + ": " + value + "\n";
    }
    co_await terminal.print_raw_error(std::move(text));
}

}  // namespace basalt::cli
