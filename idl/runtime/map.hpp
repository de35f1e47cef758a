#pragma once
#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <stdexcept>
#include <utility>
#include <vector>

namespace basalt::xenapi {

/// A map as a sorted vector of pairs: small, one allocation, iterated in key order.
template <class K, class V>
class Map {
  public:
    using key_type = K;
    using mapped_type = V;
    using value_type = std::pair<K, V>;
    using iterator = typename std::vector<value_type>::iterator;
    using const_iterator = typename std::vector<value_type>::const_iterator;

    Map() = default;

    /// Of equal keys the last wins.
    Map(std::initializer_list<value_type> pairs) {
        for (const auto& pair : pairs)
            insert_or_assign(pair.first, pair.second);
    }

    [[nodiscard]] bool empty() const { return pairs_.empty(); }

    [[nodiscard]] std::size_t size() const { return pairs_.size(); }

    void clear() { pairs_.clear(); }

    void reserve(std::size_t count) { pairs_.reserve(count); }

    [[nodiscard]] iterator begin() { return pairs_.begin(); }

    [[nodiscard]] iterator end() { return pairs_.end(); }

    [[nodiscard]] const_iterator begin() const { return pairs_.begin(); }

    [[nodiscard]] const_iterator end() const { return pairs_.end(); }

    template <class Key>
    [[nodiscard]] const_iterator find(const Key& key) const {
        const auto place = lower(pairs_, key);
        return place != pairs_.end() && place->first == key ? place : pairs_.end();
    }

    template <class Key>
    [[nodiscard]] iterator find(const Key& key) {
        const auto place = lower(pairs_, key);
        return place != pairs_.end() && place->first == key ? place : pairs_.end();
    }

    template <class Key>
    [[nodiscard]] bool contains(const Key& key) const {
        return find(key) != end();
    }

    /// Throws std::out_of_range.
    template <class Key>
    [[nodiscard]] const V& at(const Key& key) const {
        const auto place = find(key);
        if (place == end()) throw std::out_of_range("Map::at");
        return place->second;
    }

    /// The value of `key`, or `fallback`.
    template <class Key>
    [[nodiscard]] V get(const Key& key, V fallback = {}) const {
        const auto place = find(key);
        return place == end() ? std::move(fallback) : place->second;
    }

    V& operator[](const K& key) { return emplace(key, V{}).first->second; }

    /// Leaves an existing value as it is; second: whether the key is new.
    std::pair<iterator, bool> emplace(K key, V value) {
        const auto place = lower(pairs_, key);
        if (place != pairs_.end() && place->first == key) return {place, false};
        return {pairs_.emplace(place, std::move(key), std::move(value)), true};
    }

    void insert_or_assign(K key, V value) {
        const auto place = lower(pairs_, key);
        if (place != pairs_.end() && place->first == key) {
            place->second = std::move(value);
        } else {
            pairs_.emplace(place, std::move(key), std::move(value));
        }
    }

    template <class Key>
    std::size_t erase(const Key& key) {
        const auto place = lower(pairs_, key);
        if (place == pairs_.end() || !(place->first == key)) return 0;
        pairs_.erase(place);
        return 1;
    }

    friend bool operator==(const Map&, const Map&) = default;

  private:
    template <class Pairs, class Key>
    static auto lower(Pairs& pairs, const Key& key) {
        return std::lower_bound(
            pairs.begin(), pairs.end(), key,
            [](const value_type& pair, const Key& k) { return pair.first < k; });
    }

    std::vector<value_type> pairs_;
};

}  // namespace basalt::xenapi
