// Values by name, in the order in which they were added.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "lorasb/core/check.hpp"

namespace lorasb {

/// A value stays at its address for as long as the set lives, also when others are added and when the set is moved. Finding a
/// name takes logarithmic time.
template <class T>
class NamedSet {
 public:
  using Entry = std::pair<std::string, T>;

  /// Throws ErrorId::duplicate_name.
  T& add(std::string name, T value) {
    require(index_.find(name) == index_.end(), ErrorId::duplicate_name, "NamedSet::add: ", in_quotes(name), " is there already");
    Entry& entry = entries_.emplace_back(std::move(name), std::move(value));
    index_.emplace(entry.first, &entry.second);
    return entry.second;
  }
  NamedSet() = default;
  NamedSet(const NamedSet& other) {
    for (const auto& [name, value] : other) add(name, value);
  }
  NamedSet(NamedSet&&) noexcept = default;
  NamedSet& operator=(NamedSet other) noexcept {
    entries_.swap(other.entries_);
    index_.swap(other.index_);
    return *this;
  }

  bool contains(std::string_view name) const { return find(name) != nullptr; }
  /// Null when there is no value of that name.
  const T* find(std::string_view name) const {
    const auto it = index_.find(name);
    return it == index_.end() ? nullptr : it->second;
  }
  T* find(std::string_view name) { return const_cast<T*>(std::as_const(*this).find(name)); }

  /// Throws ErrorId::unknown_name with the first names that there are.
  const T& at(std::string_view name) const {
    const T* const value = find(name);
    if (value == nullptr)
      throw Error(ErrorId::unknown_name, concat("NamedSet::at: no ", in_quotes(name), "; there are: ", first_names()));
    return *value;
  }
  T& at(std::string_view name) { return const_cast<T&>(std::as_const(*this).at(name)); }

  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }

 private:
  std::string first_names() const {
    std::string all;
    std::size_t shown = 0;
    for (const auto& [name, value] : entries_) {
      if (shown++ == 10) return concat(all, ", ... (", size(), " in all)");
      if (!all.empty()) all += ", ";
      all += in_quotes(name);
    }
    return all.empty() ? "none" : all;
  }

  std::deque<Entry> entries_;
  std::map<std::string_view, T*, std::less<>> index_;  // of names in entries_
};

}  // namespace lorasb
