#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "xapi/db/types.hpp"

namespace basalt::db {

/// Rows in order of creation, as they were at one moment. Taken without touching each row: pages of
/// rows are shared with the table, which copies a page before it changes what others hold. Any
/// thread may read what it holds.
class Rows {
  public:
    Rows() = default;
    explicit Rows(std::vector<RowPtr> rows);

    [[nodiscard]] std::size_t size() const { return size_; }

    void each(FunctionRef<void(const RowPtr&)> f) const;
    /// They live as long as this does.
    [[nodiscard]] std::vector<const Row*> pointers() const;

  private:
    friend class RowPages;

    /// Null where a row was erased.
    using Page = std::vector<RowPtr>;

    std::vector<std::shared_ptr<const Page>> pages_;
    std::size_t size_ = 0;
};

/// The rows of a table, each at a place of its own. Loop only.
class RowPages {
  public:
    [[nodiscard]] std::size_t size() const { return places_ - gaps_; }

    void each(FunctionRef<void(const RowPtr&)> f) const;
    /// Costs a page for every 64 rows, and the copy of each page that is changed afterwards.
    [[nodiscard]] Rows snapshot();

    /// The place it has from now on.
    std::size_t add(RowPtr row);
    void replace(std::size_t place, RowPtr row);
    void erase(std::size_t place);
    /// Whether erased rows hold most of the places.
    [[nodiscard]] bool sparse() const;
    /// Places count from 0 again, in the same order: `moved` is told each row's. Costs as much as
    /// there are rows.
    void close_gaps(FunctionRef<void(const Row&, std::size_t place)> moved);

  private:
    struct Page {
        std::shared_ptr<Rows::Page> rows;
        bool shared = false;  ///< a snapshot may hold it; asking its count would race with the end
                              ///< of one on another thread
    };

    /// The page of that place, to be changed.
    [[nodiscard]] Rows::Page& own_page(std::size_t place);

    std::vector<Page> pages_;
    std::size_t places_ = 0;
    std::size_t gaps_ = 0;
};

}  // namespace basalt::db
