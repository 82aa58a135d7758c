// The hash table of the knotes that are not about descriptors.
#include "kedge/runtime/kqueue/knote_table.h"

namespace kedge::kqueue {

bool knote_table::has_any(std::int16_t filter) const noexcept {
  for (const knote_record* k : buckets_) {
    while (k != nullptr && k->filter != filter) k = k->chain;
    if (k != nullptr) return true;
  }
  return false;
}

void knote_table::insert(knote_record& k) {
  if (size_ >= buckets_.size()) grow();
  knote_record*& head = buckets_[place(k.filter, k.ident)];
  k.chain = head;
  head = &k;
  ++size_;
}

void knote_table::remove(knote_record& k) noexcept {
  knote_record** link = &buckets_[place(k.filter, k.ident)];
  while (*link != &k) link = &(*link)->chain;
  *link = k.chain;
  --size_;
}

void knote_table::clear() noexcept {
  decltype(buckets_)().swap(buckets_);
  size_ = 0;
}

void knote_table::grow() {
  std::vector<knote_record*> old(buckets_.empty() ? 16 : buckets_.size() * 2);
  old.swap(buckets_);
  for (knote_record* k : old) {
    while (k != nullptr) {
      knote_record* const next = k->chain;
      knote_record*& head = buckets_[place(k->filter, k->ident)];
      k->chain = head;
      head = k;
      k = next;
    }
  }
}

}  // namespace kedge::kqueue
