#include "xapi/cli/printer.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

namespace basalt::cli {

namespace {

constexpr std::size_t piece_bytes = std::size_t{16} * 1024;

}  // namespace

std::string record_text(const Lines& lines) {
    std::size_t width = 0;
    for (const auto& [label, value] : lines)
        width = std::max(width, label.size());
    width += 4;
    std::string out;
    for (const auto& [label, value] : lines) {
        const std::string blanks(width - label.size(), ' ');
        out += out.empty() ? label + blanks : blanks + label;
        out += ": " + value + "\n";
    }
    return out + "\n";
}

std::string minimal_text(const std::vector<std::string>& items) {
    std::string out;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) out += ',';
        for (const char c : items[i]) {
            if (c == ',' || c == '\\') out += '\\';
            out += c;
        }
    }
    return out;
}

Task<void> Printer::records(std::vector<Lines> all) {
    if (minimal_) {
        std::vector<std::string> firsts;
        for (const Lines& lines : all)
            if (!lines.empty()) firsts.push_back(lines.front().second);
        batches_.push_back(std::move(firsts));
        co_return;
    }
    std::vector<std::string> texts;
    for (const Lines& lines : all)
        if (!lines.empty()) texts.push_back(record_text(lines));
    co_await print_all(std::move(texts));
}

Task<void> Printer::items(std::vector<std::string> all) {
    if (minimal_) {
        batches_.push_back(std::move(all));
        co_return;
    }
    co_await print_all(std::move(all));
}

/// The client ends each print with a line feed: what is joined by one looks the same, and a
/// thousand messages are a few.
Task<void> Printer::print_all(std::vector<std::string> texts) {
    std::string piece;
    bool any = false;
    for (const std::string& text : texts) {
        if (any) piece += '\n';
        piece += text;
        any = true;
        if (piece.size() < piece_bytes) continue;
        co_await terminal_.print(std::exchange(piece, {}));
        any = false;
    }
    if (any) co_await terminal_.print(std::move(piece));
}

Task<void> Printer::item(std::string one) {
    std::vector<std::string> all;
    all.push_back(std::move(one));
    co_await items(std::move(all));
}

Task<void> Printer::finish() {
    if (!minimal_) co_return;
    // Scripts that rely on it know the newest result first.
    std::vector<std::string> joined;
    for (const auto& batch : batches_ | std::views::reverse)
        joined.insert(joined.end(), batch.begin(), batch.end());
    co_await terminal_.print(minimal_text(joined));
}

}  // namespace basalt::cli
