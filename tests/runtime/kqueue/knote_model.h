// knote_model: a simple model of a kqueue to test against, a list of knotes that follows
// kevent_register(), knote_process() and knote_fdclose() of Darwin's bsd/kern/kern_event.c.
//
// The model watches nothing itself. Its user calls on_activity() and on_close(), and implements
// model_fds, which the model asks for the state of an fd. Where a kernel has a choice the model
// answers `maybe`, and accepts both.
#pragma once

#include <fcntl.h>
#include <sys/event.h>

#include <cerrno>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

enum class truth { no, maybe, yes };

// What a filter would report about an fd now.
struct readiness {
  truth ready = truth::no;
  truth eof = truth::no;
  bool is_notified = true;    // on_activity() is called when the fd changes
  bool may_be_reset = false;  // fflags may be ECONNRESET
  std::int64_t data = -1;     // -1: any value above zero, -2: any value
};

// The fds, as the model sees them.
class model_fds {
 public:
  virtual int attach_error(std::uint64_t fd, std::int16_t filter) const = 0;
  virtual readiness probe(std::uint64_t fd, std::int16_t filter) const = 0;

 protected:
  ~model_fds() = default;
};

struct model_knote {
  kevent64_s key;  // flags as events repeat them, the other fields as last accepted
  bool is_specific = false;
  bool is_disabled = false;
  bool wants_vanished = false;
  bool has_vanished = false;
  bool is_ending = false;     // its deletion is deferred until EV_ENABLE
  bool end_is_due = false;    // it has vanished or is ending, and reports that next
  bool is_due = false;        // TIMER has expired, USER was triggered
  truth pending = truth::no;  // EV_CLEAR: the fd has changed since the last report
  bool had_mark = false;      // it has ever had a low-water mark
  bool is_reported = false;   // this call reports it
  std::size_t missed = 0;     // calls in a row that left it out though it was active

  bool is(unsigned flags) const { return (key.flags & flags) == flags; }
  bool is_about_fd() const {
    return key.filter == EVFILT_READ || key.filter == EVFILT_WRITE || key.filter == EVFILT_EXCEPT;
  }
};

class kqueue_model {
 public:
  explicit kqueue_model(const model_fds& fds) : fds_(fds) {}

  // Makes one change. Its flags become those of its record. Returns 0 or an errno.
  int apply(kevent64_s& change);

  // Compares the events of a call that had room for at least one, and delivers them. Returns what
  // is wrong, or an empty string.
  std::string deliver(const std::vector<kevent64_s>& events);

  // The fd has changed in a way that its filter is notified of.
  void on_activity(std::uint64_t fd, std::int16_t filter, truth how_sure);
  void on_close(std::uint64_t fd);

  // Returns true if a call must report at least one event.
  bool must_report() const;

 private:
  model_knote* find(const kevent64_s& change);
  void attach(const kevent64_s& change);
  int touch(model_knote& k, const kevent64_s& change);
  void start_timer(model_knote& k, const kevent64_s& change);
  void allow_early_reports(const kevent64_s& of);
  bool has_others(const model_knote& k) const;
  readiness probe(const model_knote& k) const;
  truth is_active(const model_knote& k) const;
  std::string compare(const model_knote& k, const kevent64_s& event) const;
  void finish_delivery(model_knote& k);

  const model_fds& fds_;
  std::list<model_knote> knotes_;
};

inline model_knote* kqueue_model::find(const kevent64_s& change) {
  const bool is_specific = (change.flags & EV_UDATA_SPECIFIC) != 0;
  for (model_knote& k : knotes_) {
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

  model_knote* const k = find(change);
  if (k == nullptr) {
    if ((change.flags & EV_ADD) == 0) return ENOENT;
    const bool is_about_fd = change.filter != EVFILT_USER && change.filter != EVFILT_TIMER;
    const int error = is_about_fd ? fds_.attach_error(change.ident, change.filter) : 0;
    if (error == 0) attach(change);
    if (error != EBADF) drop(EV_VANISHED);
    return error;
  }
  if ((change.flags & EV_DELETE) == 0) return touch(*k, change);
  if (k->is(EV_DISPATCH2) && k->is_disabled && (change.flags & EV_ENABLE) == 0) {
    k->is_ending = true;
    return EINPROGRESS;
  }
  allow_early_reports(k->key);
  knotes_.remove_if([k](const model_knote& each) { return &each == k; });
  return 0;
}

inline void kqueue_model::attach(const kevent64_s& change) {
  model_knote k;
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
    k.pending = probe(k).ready;
  }
  knotes_.push_back(k);
  allow_early_reports(k.key);
}

// The timers of the test have expired, expire at once, or expire long after the test.
inline void kqueue_model::start_timer(model_knote& k, const kevent64_s& change) {
  k.is_due = change.data < 1000;
  k.key.ext[0] = k.key.ext[1] = 0;
}

inline int kqueue_model::touch(model_knote& k, const kevent64_s& change) {
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
    if (const truth ready = probe(k).ready; ready > k.pending) k.pending = ready;
    allow_early_reports(k.key);
  }
  if (!k.is_specific) k.key.udata = change.udata;
  if ((change.flags & EV_DISABLE) != 0) k.is_disabled = true;
  if ((change.flags & EV_ENABLE) != 0) k.is_disabled = false;
  return 0;
}

// Returns true if another knote is about the same fd. It may be of this kqueue too: a
// level-triggered knote makes each call probe the fd again.
inline bool kqueue_model::has_others(const model_knote& k) const {
  for (const model_knote& each : knotes_)
    if (&each != &k && each.is_about_fd() && each.key.ident == k.key.ident) return true;
  return false;
}

// A change or report of one knote may make the others about the same fd report early.
inline void kqueue_model::allow_early_reports(const kevent64_s& of) {
  for (model_knote& k : knotes_) {
    const bool is_it = k.key.filter == of.filter &&
                       k.is_specific == ((of.flags & EV_UDATA_SPECIFIC) != 0) &&
                       k.key.udata == of.udata;
    if (!is_it && k.is_about_fd() && k.key.ident == of.ident && k.pending == truth::no)
      k.pending = truth::maybe;
  }
}

inline void kqueue_model::on_activity(std::uint64_t fd, std::int16_t filter, truth how_sure) {
  for (model_knote& k : knotes_)
    if (k.key.filter == filter && k.key.ident == fd && k.pending < how_sure) k.pending = how_sure;
}

inline void kqueue_model::on_close(std::uint64_t fd) {
  knotes_.remove_if([fd](const model_knote& k) {
    return k.is_about_fd() && k.key.ident == fd && !k.wants_vanished;
  });
  for (model_knote& k : knotes_) {
    if (!k.is_about_fd() || k.key.ident != fd || k.has_vanished) continue;
    k.has_vanished = k.end_is_due = true;
  }
}

// Heeds the low-water mark of the knote.
inline readiness kqueue_model::probe(const model_knote& k) const {
  readiness now = fds_.probe(k.key.ident, k.key.filter);
  const bool has_mark = (k.key.fflags & NOTE_LOWAT) != 0 && k.key.filter == EVFILT_READ;
  if (has_mark && now.eof == truth::no && now.data >= 0 && now.data < k.key.data)
    now.ready = truth::no;
  return now;
}

inline truth kqueue_model::is_active(const model_knote& k) const {
  if (k.is_disabled) return truth::no;
  if (k.is_ending || k.has_vanished) return k.end_is_due ? truth::yes : truth::no;
  if (!k.is_about_fd()) return k.is_due ? truth::yes : truth::no;
  const readiness now = probe(k);
  const truth ready = now.ready;
  if (!k.is(EV_CLEAR) || ready == truth::no) return ready;
  if (!now.is_notified) return truth::maybe;
  if (k.pending == truth::yes) return ready;
  const bool may_be_early = k.had_mark || now.eof != truth::no || has_others(k);
  return k.pending == truth::maybe || may_be_early ? truth::maybe : truth::no;
}

inline bool kqueue_model::must_report() const {
  for (const model_knote& k : knotes_)
    if (is_active(k) == truth::yes) return true;
  return false;
}

inline std::string kqueue_model::compare(const model_knote& k, const kevent64_s& event) const {
  if (k.is_ending || k.has_vanished) {
    const auto what = static_cast<unsigned>(k.is_ending ? EV_DELETE : EV_VANISHED);
    if (event.flags != (EV_DISPATCH2 | EV_ONESHOT | what)) return "wrong flags in a last event";
    if (event.fflags != 0 || event.data != 0 || event.ext[0] != 0 || event.ext[1] != 0)
      return "fflags, data or ext in a last event";
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
    const readiness now = probe(k);
    if (now.eof != truth::maybe && eof != (now.eof == truth::yes)) return "EV_EOF";
    if (event.fflags != 0 && !(eof && now.may_be_reset && event.fflags == ECONNRESET))
      return "fflags";
    const bool is_expected = now.data == -1 ? event.data > 0 : now.data == event.data;
    if (now.data != -2 && !is_expected) return "data";
  }
  return "";
}

inline void kqueue_model::finish_delivery(model_knote& k) {
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
    knotes_.remove_if([&k](const model_knote& each) { return &each == &k; });
  } else if (k.is(EV_DISPATCH)) {
    k.is_disabled = true;
  }
}

inline std::string kqueue_model::deliver(const std::vector<kevent64_s>& events) {
  for (model_knote& k : knotes_) k.is_reported = false;
  for (const kevent64_s& event : events) {
    model_knote* const k = find(event);
    if (k == nullptr || k->key.udata != event.udata) return "no knote has this event";
    if (k->is_reported) return "an event comes twice in one call";
    if (is_active(*k) == truth::no) return "an event of a knote that has nothing to report";
    if (std::string wrong = compare(*k, event); !wrong.empty()) return wrong;
    k->is_reported = true;
  }
  for (const kevent64_s& event : events) finish_delivery(*find(event));
  for (const kevent64_s& event : events) allow_early_reports(event);
  for (model_knote& k : knotes_) {
    if (k.is_reported) continue;
    // A call may report fewer events than are active, but not none, and each must get its turn.
    k.missed = is_active(k) == truth::yes ? k.missed + 1 : 0;
    if (k.missed > (events.empty() ? 0 : 2 * knotes_.size() + 2))
      return "missing: filter " + std::to_string(k.key.filter) + " of " +
             std::to_string(k.key.ident);
    // The call may have probed the fd and found nothing to report.
    if (k.is_about_fd() && !k.has_vanished && !k.is_disabled && k.pending == truth::yes &&
        probe(k).ready != truth::yes)
      k.pending = truth::maybe;
  }
  return "";
}
