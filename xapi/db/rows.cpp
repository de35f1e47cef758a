#include "xapi/db/rows.hpp"

#include <utility>

namespace basalt::db {

namespace {

constexpr std::size_t page_rows = 64;
constexpr std::size_t gaps_kept = 64;

}  // namespace

Rows::Rows(std::vector<RowPtr> rows) : size_(rows.size()) {
    pages_.push_back(std::make_shared<const Page>(std::move(rows)));
}

void Rows::each(FunctionRef<void(const RowPtr&)> f) const {
    for (const auto& page : pages_)
        for (const RowPtr& row : *page)
            if (row) f(row);
}

std::vector<const Row*> Rows::pointers() const {
    std::vector<const Row*> all;
    all.reserve(size_);
    each([&all](const RowPtr& row) { all.push_back(row.get()); });
    return all;
}

void RowPages::each(FunctionRef<void(const RowPtr&)> f) const {
    for (const Page& page : pages_)
        for (const RowPtr& row : *page.rows)
            if (row) f(row);
}

Rows RowPages::snapshot() {
    Rows out;
    out.size_ = size();
    out.pages_.reserve(pages_.size());
    for (Page& page : pages_) {
        page.shared = true;
        out.pages_.push_back(page.rows);
    }
    return out;
}

Rows::Page& RowPages::own_page(std::size_t place) {
    Page& page = pages_[place / page_rows];
    if (page.shared) {
        page.rows = std::make_shared<Rows::Page>(*page.rows);
        page.shared = false;
    }
    return *page.rows;
}

std::size_t RowPages::add(RowPtr row) {
    if (places_ % page_rows == 0) pages_.push_back({std::make_shared<Rows::Page>()});
    own_page(places_).push_back(std::move(row));
    return places_++;
}

void RowPages::replace(std::size_t place, RowPtr row) {
    own_page(place)[place % page_rows] = std::move(row);
}

void RowPages::erase(std::size_t place) {
    own_page(place)[place % page_rows].reset();
    ++gaps_;
}

bool RowPages::sparse() const {
    return gaps_ > gaps_kept && gaps_ > size();
}

void RowPages::close_gaps(FunctionRef<void(const Row&, std::size_t place)> moved) {
    RowPages dense;
    each([&](const RowPtr& row) { moved(*row, dense.add(row)); });
    *this = std::move(dense);
}

}  // namespace basalt::db
