#include "xapi/db/store/commit_text.hpp"

#include <charconv>
#include <stdexcept>

namespace basalt::db {

namespace {

constexpr std::string_view heading = "basalt-commit 1 ";

[[noreturn]] void fail(const char* what) {
    throw std::invalid_argument(std::string("commit text: ") + what);
}

template <class N>
void append_number(std::string& out, N number) {
    char digits[24];
    const auto end = std::to_chars(std::begin(digits), std::end(digits), number).ptr;
    out.append(digits, end);
}

std::string_view take(std::string_view& text, char end) {
    const std::size_t at = text.find(end);
    if (at == std::string_view::npos) fail("a part is missing");
    const std::string_view part = text.substr(0, at);
    text.remove_prefix(at + 1);
    return part;
}

template <class N>
N take_number(std::string_view& text, char end) {
    const std::string_view part = take(text, end);
    N number{};
    const auto result = std::from_chars(part.data(), part.data() + part.size(), number);
    if (result.ec != std::errc{} || result.ptr != part.data() + part.size()) fail("not a number");
    return number;
}

Change take_change(std::string_view& text) {
    Change change;
    change.class_name = take(text, ' ');
    const auto ref = Uuid::parse(take(text, ' '));
    if (!ref) fail("not a reference");
    change.ref = *ref;
    change.serial = take_number<std::uint64_t>(text, ' ');
    change.created = take_number<std::uint64_t>(text, ' ');
    const std::string_view json = take(text, '\n');
    if (json != "-") change.json = std::string(json);
    return change;
}

}  // namespace

std::string encode_commit(const CommitRecord& record) {
    std::size_t size = 96;
    for (const Change& change : record.changes)
        size += 112 + (change.json ? change.json->size() : 0);
    std::string out;
    out.reserve(size);
    out += heading;
    append_number(out, record.epoch);
    out += ' ';
    append_number(out, record.generation);
    out += ' ';
    append_number(out, record.time_s);
    out += ' ';
    append_number(out, record.changes.size());
    out += '\n';
    for (const Change& change : record.changes) {
        out += change.class_name;
        out += ' ';
        const std::size_t at = out.size();
        out.resize(at + 36);
        change.ref.write(out.data() + at);
        out += ' ';
        append_number(out, change.serial);
        out += ' ';
        append_number(out, change.created);
        out += ' ';
        out += change.json ? std::string_view(*change.json) : std::string_view("-");
        out += '\n';
    }
    return out;
}

CommitRecord decode_commit(std::string_view text) {
    if (!text.starts_with(heading)) fail("another format");
    text.remove_prefix(heading.size());
    CommitRecord record;
    record.epoch = take_number<std::uint64_t>(text, ' ');
    record.generation = take_number<std::uint64_t>(text, ' ');
    record.time_s = take_number<std::int64_t>(text, ' ');
    const auto count = take_number<std::size_t>(text, '\n');
    for (std::size_t i = 0; i < count; ++i)
        record.changes.push_back(take_change(text));
    if (!text.empty()) fail("more than announced");
    return record;
}

}  // namespace basalt::db
