// A kqueue in the simplest words: a list of knotes that obeys kevent_register(), knote_process()
// and knote_fdclose() of Darwin's kern_event.c. It watches nothing: what the descriptors are like,
// and that something has happened to one, it is told. Where a kernel has a choice it knows "maybe".
#pragma once

#include <fcntl.h>
#include <sys/event.h>

#include <cerrno>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

enum class truth { no, maybe, yes };

// What a filter would say of a descriptor now.
struct outlook {
  truth ready = truth::no;
  truth eof = truth::no;
  bool is_told_of = true;     // happens() says when something has happened to it
  bool may_be_reset = false;  // fflags may be ECONNRESET
  std::int64_t data = -1;     // -1: anything above zero; -2: anything
};

// The descriptors as a model of kqueues sees them.
class descriptors_of_model {
 public:
  virtual int attach_error(std::uint64_t fd, std::int16_t filter) const = 0;
  virtual outlook look(std::uint64_t fd, std::int16_t filter) const = 0;

 protected:
  ~descriptors_of_model() = default;
};

struct knote_of_model {
  kevent64_s key;  // flags as events repeat them; the rest as last accepted
  bool is_specific = false;
  bool is_disabled = false;
  bool wants_vanished = false;
  bool has_vanished = false;
  bool is_ending = false;     // its deletion is put off
  bool end_is_due = false;    // of a vanished or ending one
  bool is_due = false;        // TIMER has expired, USER was triggered
  truth pending = truth::no;  // EV_CLEAR: something has happened since it was reported
  bool had_mark = false;      // a low-water mark, ever
  bool is_reported = false;   // by this call
  std::size_t missed = 0;     // calls in a row that reported others though it was active

  bool is(unsigned flags) const { return (key.flags & flags) == flags; }
  bool is_about_descriptor() const {
    return key.filter == EVFILT_READ || key.filter == EVFILT_WRITE || key.filter == EVFILT_EXCEPT;
  }
};

class kqueue_model {
 public:
  explicit kqueue_model(const descriptors_of_model& descriptors) : descriptors_(descriptors) {}

  // One change, whose flags become those of its record. Returns 0 or an errno.
  int apply(kevent64_s& change);

  // A call with room for some has brought these. Returns what is wrong, or nothing.
  std::string take(const std::vector<kevent64_s>& events);

  // Something has happened to a descriptor that its filter hears of.
  void happens(std::uint64_t fd, std::int16_t filter, truth how_sure);
  void closes(std::uint64_t fd);

  // Is there surely something to report?
  bool must_report() const;

 private:
  knote_of_model* find(const kevent64_s& change);
  void attach(const kevent64_s& change);
  int touch(knote_of_model& k, const kevent64_s& change);
  void start_timer(knote_of_model& k, const kevent64_s& change);
  void disturb_others(const kevent64_s& of);
  bool has_others(const knote_of_model& k) const;
  outlook look(const knote_of_model& k) const;
  truth is_active(const knote_of_model& k) const;
  std::string compare(const knote_of_model& k, const kevent64_s& event) const;
  void settle(knote_of_model& k);

  const descriptors_of_model& descriptors_;
  std::list<knote_of_model> knotes_;
};

inline knote_of_model* kqueue_model::find(const kevent64_s& change) {
  const bool is_specific = (change.flags & EV_UDATA_SPECIFIC) != 0;
  for (knote_of_model& k : knotes_) {
    if (k.key.filter == change.filter && k.key.ident == change.ident &&
        k.is_specific == is_specific && (!is_specific || k.key.udata == change.udata))
      return &k;
  }
  return nullptr;
}

inline int kqueue_model::apply(kevent64_s& change) {
  const auto drop = [&change](unsigned flags) {
    change.flags = static_cast<std::uint16_t>(change.flags & ~flags);
  };
  if (change.filter >= 0 || change.filter < -EVFILT_SYSCOUNT) return EINVAL;
  drop(EV_SYSFLAGS);
  const bool adds_dispatch2 = (change.flags & (EV_ADD | EV_DISPATCH2)) == (EV_ADD | EV_DISPATCH2);
  if ((change.flags & EV_VANISHED) != 0 && !adds_dispatch2) return EINVAL;
  if ((change.flags & EV_DELETE) != 0) drop(EV_ADD);
  if ((change.flags & EV_DISABLE) != 0) drop(EV_ENABLE);

  knote_of_model* const k = find(change);
  if (k == nullptr) {
    if ((change.flags & EV_ADD) == 0) return ENOENT;
    const bool is_of_descriptor = change.filter != EVFILT_USER && change.filter != EVFILT_TIMER;
    const int error = is_of_descriptor ? descriptors_.attach_error(change.ident, change.filter) : 0;
    if (error == 0) attach(change);
    if (error != EBADF) drop(EV_VANISHED);
    return error;
  }
  if ((change.flags & EV_DELETE) == 0) return touch(*k, change);
  if (k->is(EV_DISPATCH2) && k->is_disabled && (change.flags & EV_ENABLE) == 0) {
    k->is_ending = true;
    return EINPROGRESS;
  }
  disturb_others(k->key);
  knotes_.remove_if([k](const knote_of_model& each) { return &each == k; });
  return 0;
}

inline void kqueue_model::attach(const kevent64_s& change) {
  knote_of_model k;
  k.key = change;
  k.key.flags = static_cast<std::uint16_t>(change.flags & ~EV_VANISHED);
  k.is_specific = (change.flags & EV_UDATA_SPECIFIC) != 0;
  k.is_disabled = (change.flags & EV_DISABLE) != 0;
  k.wants_vanished = (change.flags & EV_VANISHED) != 0;
  if (change.filter == EVFILT_USER) {
    k.is_due = (change.fflags & NOTE_TRIGGER) != 0;
  } else if (change.filter == EVFILT_TIMER) {
    k.key.flags |= EV_CLEAR;
    if ((change.fflags & NOTE_ABSOLUTE) != 0) k.key.flags |= EV_ONESHOT;
    start_timer(k, change);
  } else {
    k.had_mark = (change.fflags & NOTE_LOWAT) != 0;
    k.pending = look(k).ready;
  }
  knotes_.push_back(k);
  disturb_others(k.key);
}

// The test's timers expire in the past, at once, or when it is long over.
inline void kqueue_model::start_timer(knote_of_model& k, const kevent64_s& change) {
  k.is_due = change.data < 1000;
  k.key.ext[0] = k.key.ext[1] = 0;
}

inline int kqueue_model::touch(knote_of_model& k, const kevent64_s& change) {
  if (k.is_ending || k.has_vanished) {
    if ((change.flags & EV_ENABLE) != 0) k.end_is_due = true;
  } else if (k.key.filter == EVFILT_USER) {
    const std::uint32_t operand = change.fflags & NOTE_FFLAGSMASK;
    const std::uint32_t control = change.fflags & NOTE_FFCTRLMASK;
    if (control == NOTE_FFAND) k.key.fflags &= operand;
    if (control == NOTE_FFOR) k.key.fflags |= operand;
    if (control == NOTE_FFCOPY) k.key.fflags = operand;
    k.key.data = change.data;
    if ((change.fflags & NOTE_TRIGGER) != 0) k.is_due = true;
  } else if (k.key.filter == EVFILT_TIMER) {
    if (((change.fflags ^ k.key.fflags) & NOTE_ABSOLUTE) != 0) return EINVAL;
    k.key.fflags = change.fflags;
    start_timer(k, change);
  } else {
    k.key.fflags = change.fflags;
    k.key.data = change.data;
    k.had_mark = k.had_mark || (change.fflags & NOTE_LOWAT) != 0;
    if (const truth ready = look(k).ready; ready > k.pending) k.pending = ready;
    disturb_others(k.key);
  }
  if (!k.is_specific) k.key.udata = change.udata;
  if ((change.flags & EV_DISABLE) != 0) k.is_disabled = true;
  if ((change.flags & EV_ENABLE) != 0) k.is_disabled = false;
  return 0;
}

// Ours too: a level-triggered knote of the number has it looked at again and again.
inline bool kqueue_model::has_others(const knote_of_model& k) const {
  for (const knote_of_model& each : knotes_)
    if (&each != &k && each.is_about_descriptor() && each.key.ident == k.key.ident) return true;
  return false;
}

// What a knote has to do with a descriptor may make others of the number report early.
inline void kqueue_model::disturb_others(const kevent64_s& of) {
  for (knote_of_model& k : knotes_) {
    const bool is_it = k.key.filter == of.filter &&
                       k.is_specific == ((of.flags & EV_UDATA_SPECIFIC) != 0) &&
                       k.key.udata == of.udata;
    if (!is_it && k.is_about_descriptor() && k.key.ident == of.ident && k.pending == truth::no)
      k.pending = truth::maybe;
  }
}

inline void kqueue_model::happens(std::uint64_t fd, std::int16_t filter, truth how_sure) {
  for (knote_of_model& k : knotes_)
    if (k.key.filter == filter && k.key.ident == fd && k.pending < how_sure) k.pending = how_sure;
}

inline void kqueue_model::closes(std::uint64_t fd) {
  knotes_.remove_if([fd](const knote_of_model& k) {
    return k.is_about_descriptor() && k.key.ident == fd && !k.wants_vanished;
  });
  for (knote_of_model& k : knotes_) {
    if (!k.is_about_descriptor() || k.key.ident != fd || k.has_vanished) continue;
    k.has_vanished = k.end_is_due = true;
  }
}

// With the knote's low-water mark.
inline outlook kqueue_model::look(const knote_of_model& k) const {
  outlook now = descriptors_.look(k.key.ident, k.key.filter);
  const bool has_mark = (k.key.fflags & NOTE_LOWAT) != 0 && k.key.filter == EVFILT_READ;
  if (has_mark && now.eof == truth::no && now.data >= 0 && now.data < k.key.data)
    now.ready = truth::no;
  return now;
}

inline truth kqueue_model::is_active(const knote_of_model& k) const {
  if (k.is_disabled) return truth::no;
  if (k.is_ending || k.has_vanished) return k.end_is_due ? truth::yes : truth::no;
  if (!k.is_about_descriptor()) return k.is_due ? truth::yes : truth::no;
  const outlook now = look(k);
  const truth ready = now.ready;
  if (!k.is(EV_CLEAR) || ready == truth::no) return ready;
  if (!now.is_told_of) return truth::maybe;
  if (k.pending == truth::yes) return ready;
  const bool may_be_early = k.had_mark || now.eof != truth::no || has_others(k);
  return k.pending == truth::maybe || may_be_early ? truth::maybe : truth::no;
}

inline bool kqueue_model::must_report() const {
  for (const knote_of_model& k : knotes_)
    if (is_active(k) == truth::yes) return true;
  return false;
}

inline std::string kqueue_model::compare(const knote_of_model& k, const kevent64_s& event) const {
  if (k.is_ending || k.has_vanished) {
    const auto what = static_cast<unsigned>(k.is_ending ? EV_DELETE : EV_VANISHED);
    if (event.flags != (EV_DISPATCH2 | EV_ONESHOT | what)) return "flags of the end";
    if (event.fflags != 0 || event.data != 0 || event.ext[0] != 0 || event.ext[1] != 0)
      return "the end carries something";
    return "";
  }
  if ((event.flags & ~EV_EOF) != k.key.flags) return "flags";
  if (event.ext[0] != k.key.ext[0] || event.ext[1] != k.key.ext[1]) return "ext";
  const bool eof = (event.flags & EV_EOF) != 0;
  if (k.key.filter == EVFILT_USER) {
    if (eof || event.fflags != k.key.fflags || event.data != k.key.data) return "fflags or data";
  } else if (k.key.filter == EVFILT_TIMER) {
    if (eof || event.fflags != 0 || event.data < 1) return "fflags or data";
  } else {
    const outlook now = look(k);
    if (now.eof != truth::maybe && eof != (now.eof == truth::yes)) return "EV_EOF";
    if (event.fflags != 0 && !(eof && now.may_be_reset && event.fflags == ECONNRESET))
      return "fflags";
    const bool as_told = now.data == -1 ? event.data > 0 : now.data == event.data;
    if (now.data != -2 && !as_told) return "data";
  }
  return "";
}

inline void kqueue_model::settle(knote_of_model& k) {
  const bool was_ending = k.is_ending;
  const bool is_once = k.is(EV_ONESHOT) || k.is_ending || k.has_vanished;
  k.missed = 0;
  k.end_is_due = false;
  if (k.is(EV_CLEAR)) {
    k.pending = truth::no;
    k.is_due = false;
  }
  if (is_once && k.is(EV_DISPATCH2) && !was_ending) {
    k.is_ending = k.is_disabled = true;
  } else if (is_once) {
    knotes_.remove_if([&k](const knote_of_model& each) { return &each == &k; });
  } else if (k.is(EV_DISPATCH)) {
    k.is_disabled = true;
  }
}

inline std::string kqueue_model::take(const std::vector<kevent64_s>& events) {
  for (knote_of_model& k : knotes_) k.is_reported = false;
  for (const kevent64_s& event : events) {
    knote_of_model* const k = find(event);
    if (k == nullptr || k->key.udata != event.udata) return "no knote has this event";
    if (k->is_reported) return "twice in one call";
    if (is_active(*k) == truth::no) return "nothing to report";
    if (std::string wrong = compare(*k, event); !wrong.empty()) return wrong;
    k->is_reported = true;
  }
  for (const kevent64_s& event : events) settle(*find(event));
  for (const kevent64_s& event : events) disturb_others(event);
  for (knote_of_model& k : knotes_) {
    if (k.is_reported) continue;
    // A call may bring less than there is, but not nothing, and each has its turn.
    k.missed = is_active(k) == truth::yes ? k.missed + 1 : 0;
    if (k.missed > (events.empty() ? 0 : 2 * knotes_.size() + 2))
      return "missing: filter " + std::to_string(k.key.filter) + " of " +
             std::to_string(k.key.ident);
    // It may have been looked at, and found to have nothing.
    if (k.is_about_descriptor() && !k.has_vanished && !k.is_disabled && k.pending == truth::yes &&
        look(k).ready != truth::yes)
      k.pending = truth::maybe;
  }
  return "";
}
