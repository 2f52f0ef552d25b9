// The adapters of a model, by the names of the modules that they adapt.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/low_rank_adapter.hpp"

namespace lorasb {

/// Ordered as added. An adapter stays at its address for as long as nothing is added.
template <Real S>
class AdapterSet {
 public:
  using Entry = std::pair<std::string, LowRankAdapter<S>>;

  /// Throws ErrorId::duplicate_name, and what LowRankAdapter::validate throws.
  LowRankAdapter<S>& add(std::string name, LowRankAdapter<S> adapter) {
    adapter.validate(name);
    require(find(name) == nullptr, ErrorId::duplicate_name, "AdapterSet::add: module \"", name, "\" has an adapter already");
    entries_.emplace_back(std::move(name), std::move(adapter));
    return entries_.back().second;
  }

  const LowRankAdapter<S>* find(std::string_view name) const {
    for (const Entry& entry : entries_)
      if (entry.first == name) return &entry.second;
    return nullptr;
  }
  LowRankAdapter<S>* find(std::string_view name) { return const_cast<LowRankAdapter<S>*>(std::as_const(*this).find(name)); }

  /// Throws ErrorId::unknown_name with the names that there are.
  const LowRankAdapter<S>& at(std::string_view name) const {
    const LowRankAdapter<S>* adapter = find(name);
    if (adapter == nullptr)
      throw Error(ErrorId::unknown_name, concat("AdapterSet::at: no module \"", name, "\"; there are: ", names()));
    return *adapter;
  }
  LowRankAdapter<S>& at(std::string_view name) { return const_cast<LowRankAdapter<S>&>(std::as_const(*this).at(name)); }

  std::size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }

 private:
  std::string names() const {
    std::string all;
    for (const Entry& entry : entries_) all += (all.empty() ? "\"" : ", \"") + entry.first + "\"";
    return all.empty() ? "none" : all;
  }

  std::vector<Entry> entries_;
};

}  // namespace lorasb
