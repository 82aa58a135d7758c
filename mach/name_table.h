// name_table<T>: a table of objects by port name, whose objects stay in their place.
//
// The memory of the last few objects that were erased is kept and used again: waiting for room in a
// queue is frequent, and must not allocate in the steady state.
//
// Threads: the caller locks. T has a constructor (mach_port_name_t, Args...).
#pragma once

#include <mach/mach.h>

#include <cstddef>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

namespace kedge::mach {

template <class T>
class name_table {
 public:
  name_table() = default;
  name_table(const name_table&) = delete;
  name_table& operator=(const name_table&) = delete;

  bool empty() const noexcept { return objects_.empty(); }
  // Returns the object of `name`, or null.
  T* find(mach_port_name_t name) noexcept {
    if (empty()) return nullptr;
    const auto found = objects_.find(name);
    return found != objects_.end() ? &*found->second : nullptr;
  }
  // Returns any object. Requires that the table is not empty.
  T& any() noexcept { return *objects_.begin()->second; }
  // Returns the object of `name`. Makes it as T(name, args...) if there is none. Throws
  // std::bad_alloc.
  template <class... Args>
  T& find_or_make(mach_port_name_t name, Args&&... args) {
    if (T* const found = find(name)) return *found;
    spares_.reserve(most_spares);
    if (spares_.empty()) {
      return *objects_.try_emplace(name, std::in_place, name, std::forward<Args>(args)...)
                  .first->second;
    }
    node spare = std::move(spares_.back());
    spares_.pop_back();
    spare.key() = name;
    spare.mapped().emplace(name, std::forward<Args>(args)...);
    return *objects_.insert(std::move(spare)).position->second;
  }
  // Destroys the object of `name`. Requires that there is one.
  void erase(mach_port_name_t name) noexcept {
    node erased = objects_.extract(name);
    erased.mapped().reset();
    if (spares_.size() < spares_.capacity()) spares_.push_back(std::move(erased));
  }
  // Returns whether f is true for an object. `f` adds and erases none.
  template <class F>
  bool any_of(F f) const {
    for (const auto& [name, object] : objects_) {
      if (f(*object)) return true;
    }
    return false;
  }
  // Calls f on every object. `f` adds and erases none.
  template <class F>
  void for_each(F f) {
    for (auto& [name, object] : objects_) f(*object);
  }

 private:
  static constexpr std::size_t most_spares = 8;

  using map = std::unordered_map<mach_port_name_t, std::optional<T>>;
  using node = typename map::node_type;

  map objects_;
  std::vector<node> spares_;
};

}  // namespace kedge::mach
