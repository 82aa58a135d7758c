// Plays random sequences of changes, I/O, closes and waits against kqueues, and compares each call
// with a model of knotes (knote_model.h).
//
// A sequence is a list of steps. A step is plain numbers, which have a meaning after any steps
// before it, so that every part of a sequence is a sequence too. A sequence that fails is shrunk by
// leaving out steps, and printed. KEDGE_SEED is the first seed, KEDGE_SOAK_SECONDS how long to go
// on (tools/dev soak). A run without it plays fewer by KEDGE_SEED_DIVISOR.

#include "test_kqueue.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "knote_model.h"
#include "tests/seeds.h"

namespace {

constexpr unsigned sequences_of_a_run = 10'000;
constexpr unsigned steps_of_a_sequence = 24;
constexpr std::size_t most_queues = 3;
constexpr std::size_t most_fds = 10;
constexpr std::uint64_t never_open = 100'000;

struct step {
  unsigned what;
  std::uint32_t choice[12];
};

// A pipe (end 0 reads, end 1 writes) or a pair of stream sockets.
struct channel {
  bool is_pipe;
  struct {
    int fd_count = 0;        // open fds of this end
    std::int64_t bytes = 0;  // that can be read here
    bool is_full = false;    // the other end can write nothing
    bool is_shut = false;    // this end was shut for writing
  } end[2];
};

struct descriptor {
  std::shared_ptr<channel> of;  // null for a kqueue
  int end = 0;
};

class world final : model_fds {
 public:
  explicit world(std::ostringstream* log) : log_(log) {}
  world(const world&) = delete;
  world& operator=(const world&) = delete;
  ~world() {
    for (const auto& [fd, what] : descriptors_) ::close(fd);
  }

  // Plays a step. Returns what is wrong, or an empty string.
  std::string play(const step& s);

 private:
  struct queue {
    int fd;
    bool is_wide;
    kqueue_model model;
  };

  int attach_error(std::uint64_t fd, std::int16_t filter) const override;
  readiness probe(std::uint64_t fd, std::int16_t filter) const override;

  void make_channel(bool is_pipe);
  void make_queue(bool is_wide);
  void duplicate(std::uint32_t choice, std::uint32_t onto, bool onto_another);
  void close_fd(std::uint32_t choice);
  void write_some(std::uint32_t choice, std::uint32_t count, bool until_full);
  void read_some(std::uint32_t choice, std::uint32_t count);
  void shut(std::uint32_t choice);
  std::string call(const step& s);

  std::string collect(queue& q, std::vector<kevent64_s>& changes, std::size_t room);
  kevent64_s change_of(const queue& q, const std::uint32_t* choice, bool is_alone) const;
  int pick_fd(std::uint32_t choice) const;
  void note_close(int fd);
  void notify_all(const channel& c, int end, std::int16_t filter, truth how_sure);
  void log(const std::string& line) {
    if (log_ != nullptr) *log_ << line << '\n';
  }

  std::ostringstream* log_;
  std::map<int, descriptor> descriptors_;
  std::vector<std::unique_ptr<queue>> queues_;
  int last_closed_ = -1;
};

doctest::String text_of(const kevent64_s& e) {
  return doctest::toString(e);
}

// --- The state of fds -------------------------------------------------------------------------

int world::attach_error(std::uint64_t fd, std::int16_t filter) const {
  const auto found = descriptors_.find(static_cast<int>(fd));
  if (found == descriptors_.end()) return EBADF;
  const channel* const c = found->second.of.get();
  if (c == nullptr) return filter == EVFILT_READ ? 0 : EINVAL;
  return c->is_pipe && filter == EVFILT_EXCEPT ? EINVAL : 0;
}

readiness world::probe(std::uint64_t fd, std::int16_t filter) const {
  const descriptor& d = descriptors_.at(static_cast<int>(fd));
  readiness now;
  if (d.of == nullptr) {
    now.is_notified = false;
    for (const auto& q : queues_)
      if (q->fd == static_cast<int>(fd))
        now.ready = q->model.must_report() ? truth::yes : truth::maybe;
    return now;
  }
  const auto& own = d.of->end[d.end];
  const auto& other = d.of->end[1 - d.end];
  const bool is_alone = other.fd_count == 0;
  const auto is = [](bool so) { return so ? truth::yes : truth::no; };
  const bool is_wrong_end = d.of->is_pipe && (filter == EVFILT_WRITE) == (d.end == 0);
  if (is_wrong_end) {
    now.ready = now.eof = is(is_alone);
    now.data = 0;
  } else if (filter == EVFILT_WRITE) {
    now.eof = is(is_alone);
    if (!is_alone && own.is_shut) now.eof = truth::maybe;
    now.ready = is(!other.is_full || is_alone);
    if (other.is_full && now.eof == truth::maybe) now.ready = truth::maybe;
    now.data = now.eof == truth::no ? -1 : d.of->is_pipe ? 0 : -2;
  } else {
    now.eof = is(is_alone || other.is_shut);
    now.ready = is(own.bytes != 0 || now.eof == truth::yes);
    now.data = own.bytes;
  }
  now.may_be_reset = !d.of->is_pipe;
  return now;
}

void world::notify_all(const channel& c, int end, std::int16_t filter, truth how_sure) {
  for (const auto& [fd, what] : descriptors_) {
    if (what.of.get() != &c || what.end != end) continue;
    for (const auto& q : queues_)
      q->model.on_activity(static_cast<std::uint64_t>(fd), filter, how_sure);
  }
}

// --- Steps ------------------------------------------------------------------------------------

int world::pick_fd(std::uint32_t choice) const {
  if (descriptors_.empty()) return -1;
  return std::next(descriptors_.begin(), static_cast<std::ptrdiff_t>(choice % descriptors_.size()))
      ->first;
}

void world::make_channel(bool is_pipe) {
  int fd[2];
  if (descriptors_.size() + 2 > most_fds) return;
  REQUIRE((is_pipe ? ::pipe(fd) : ::socketpair(AF_UNIX, SOCK_STREAM, 0, fd)) == 0);
  const auto c = std::make_shared<channel>();
  c->is_pipe = is_pipe;
  for (int end = 0; end < 2; ++end) {
    CAPTURE(end);
    REQUIRE(::fcntl(fd[end], F_SETFL, O_NONBLOCK) == 0);
    c->end[end].fd_count = 1;
    descriptors_[fd[end]] = {c, end};
  }
  log((is_pipe ? "pipe " : "sockets ") + std::to_string(fd[0]) + " " + std::to_string(fd[1]));
}

void world::make_queue(bool is_wide) {
  if (queues_.size() == most_queues || descriptors_.size() == most_fds) return;
  const int fd = ::kqueue();
  REQUIRE(fd >= 0);
  descriptors_[fd] = {};
  queues_.push_back(std::make_unique<queue>(queue{fd, is_wide, kqueue_model(*this)}));
  log(std::string(is_wide ? "wide" : "narrow") + " kqueue " + std::to_string(fd));
}

// `fd` was closed: its knotes go, and with the last fd of an end the end is closed.
void world::note_close(int fd) {
  const descriptor d = descriptors_.at(fd);
  descriptors_.erase(fd);
  last_closed_ = fd;
  for (const auto& q : queues_) q->model.on_close(static_cast<std::uint64_t>(fd));
  if (d.of == nullptr) {
    std::erase_if(queues_, [fd](const auto& q) { return q->fd == fd; });
  } else if (--d.of->end[d.end].fd_count == 0) {
    for (const int filter : {EVFILT_READ, EVFILT_WRITE, EVFILT_EXCEPT})
      notify_all(*d.of, 1 - d.end, static_cast<std::int16_t>(filter), truth::yes);
  }
}

void world::close_fd(std::uint32_t choice) {
  const int fd = pick_fd(choice);
  if (fd < 0) return;
  log("close " + std::to_string(fd));
  REQUIRE(::close(fd) == 0);
  note_close(fd);
}

// Duplicates an fd of a channel, onto another fd or a new one.
void world::duplicate(std::uint32_t choice, std::uint32_t onto, bool onto_another) {
  const int fd = pick_fd(choice);
  if (fd < 0 || descriptors_.at(fd).of == nullptr) return;
  if (!onto_another && descriptors_.size() == most_fds) return;
  const descriptor d = descriptors_.at(fd);
  const int target = pick_fd(onto);
  const int fresh = onto_another ? ::dup2(fd, target) : ::dup(fd);
  REQUIRE(fresh >= 0);
  log((onto_another ? "dup2 " : "dup ") + std::to_string(fd) + " " + std::to_string(fresh));
  if (onto_another && fresh == fd) return;
  ++d.of->end[d.end].fd_count;
  if (onto_another) note_close(fresh);
  descriptors_[fresh] = d;
}

void world::write_some(std::uint32_t choice, std::uint32_t count, bool until_full) {
  static const std::vector<char> bytes(1 << 18);
  const int fd = pick_fd(choice);
  if (fd < 0 || descriptors_.at(fd).of == nullptr) return;
  const descriptor d = descriptors_.at(fd);
  auto& other = d.of->end[1 - d.end];
  if ((d.of->is_pipe && d.end == 0) || d.of->end[d.end].is_shut) return;
  if (other.fd_count == 0 || other.is_full || other.bytes > 64) return;
  std::int64_t written = 0;
  if (until_full) {
    for (std::size_t size = bytes.size(); size != 0; size /= 2)
      for (ssize_t n = 0; (n = ::write(fd, bytes.data(), size)) > 0;) written += n;
    REQUIRE(errno == EAGAIN);
    other.is_full = true;
  } else {
    written = ::write(fd, bytes.data(), count % 8 + 1);
    REQUIRE(written > 0);
  }
  other.bytes += written;
  log("write " + std::to_string(written) + " to " + std::to_string(fd));
  notify_all(*d.of, 1 - d.end, EVFILT_READ, truth::yes);
  notify_all(*d.of, 1 - d.end, EVFILT_EXCEPT, truth::yes);
}

// Reads all bytes if the buffer is full: kernels differ in how much room wakes a writer.
void world::read_some(std::uint32_t choice, std::uint32_t count) {
  static std::vector<char> bytes(1 << 20);
  const int fd = pick_fd(choice);
  if (fd < 0 || descriptors_.at(fd).of == nullptr) return;
  const descriptor d = descriptors_.at(fd);
  auto& own = d.of->end[d.end];
  if ((d.of->is_pipe && d.end == 1) || own.bytes == 0) return;
  const std::size_t most = own.is_full || count % 2 == 0 ? bytes.size() : count / 2 % 8 + 1;
  std::int64_t got = 0;
  for (ssize_t n = 1; n > 0 && static_cast<std::size_t>(got) < most; got += std::max<ssize_t>(n, 0))
    n = ::read(fd, bytes.data(), most - static_cast<std::size_t>(got));
  REQUIRE(got == std::min(own.bytes, static_cast<std::int64_t>(most)));
  own.bytes -= got;
  log("read " + std::to_string(got) + " from " + std::to_string(fd));
  notify_all(*d.of, 1 - d.end, EVFILT_WRITE, own.is_full ? truth::yes : truth::maybe);
  own.is_full = false;
}

void world::shut(std::uint32_t choice) {
  const int fd = pick_fd(choice);
  if (fd < 0 || descriptors_.at(fd).of == nullptr || descriptors_.at(fd).of->is_pipe) return;
  const descriptor d = descriptors_.at(fd);
  if (d.of->end[1 - d.end].fd_count == 0) return;
  REQUIRE(::shutdown(fd, SHUT_WR) == 0);
  d.of->end[d.end].is_shut = true;
  log("shutdown(SHUT_WR) " + std::to_string(fd));
  notify_all(*d.of, d.end, EVFILT_READ, truth::maybe);
  notify_all(*d.of, d.end, EVFILT_EXCEPT, truth::maybe);
  notify_all(*d.of, d.end, EVFILT_WRITE, truth::maybe);
  notify_all(*d.of, 1 - d.end, EVFILT_WRITE, truth::maybe);
  notify_all(*d.of, 1 - d.end, EVFILT_READ, truth::yes);
  notify_all(*d.of, 1 - d.end, EVFILT_EXCEPT, truth::yes);
}

// A kqueue is put only into an older one, so that there are neither loops nor towers that are too
// high. A closed fd is used only if no earlier change of the call can take it: a kqueue may open
// internal fds.
kevent64_s world::change_of(const queue& q, const std::uint32_t* choice, bool is_alone) const {
  static constexpr std::uint16_t actions[] = {EV_ADD,
                                              EV_ADD,
                                              EV_ADD,
                                              EV_ADD | EV_ENABLE,
                                              EV_ADD | EV_DISABLE,
                                              EV_DELETE,
                                              EV_ENABLE,
                                              EV_ENABLE,
                                              0,
                                              0,
                                              EV_DISABLE,
                                              EV_DELETE | EV_ENABLE,
                                              EV_ADD | EV_DELETE,
                                              EV_ENABLE | EV_DISABLE};
  static constexpr std::uint16_t modes[] = {0,
                                            0,
                                            EV_CLEAR,
                                            EV_CLEAR,
                                            EV_ONESHOT,
                                            EV_DISPATCH,
                                            EV_CLEAR | EV_DISPATCH,
                                            EV_ONESHOT | EV_DISPATCH,
                                            EV_UDATA_SPECIFIC,
                                            EV_DISPATCH2,
                                            EV_DISPATCH2,
                                            EV_DISPATCH2 | EV_ONESHOT,
                                            EV_DISPATCH2 | EV_VANISHED,
                                            EV_DISPATCH2 | EV_VANISHED | EV_CLEAR};
  static constexpr std::int16_t filters[] = {
      EVFILT_READ,  EVFILT_READ,   EVFILT_READ,  EVFILT_READ, EVFILT_WRITE,
      EVFILT_WRITE, EVFILT_WRITE,  EVFILT_USER,  EVFILT_USER, EVFILT_TIMER,
      EVFILT_TIMER, EVFILT_EXCEPT, EVFILT_EXCEPT};
  static constexpr std::uint32_t operations[] = {
      0, NOTE_TRIGGER, NOTE_TRIGGER, NOTE_FFOR | 5, NOTE_FFAND | 6, NOTE_FFCOPY | 9 | NOTE_TRIGGER};
  struct timing {
    std::uint32_t fflags;
    std::int64_t data;
  };
  static constexpr timing timings[] = {{NOTE_ABSOLUTE | NOTE_SECONDS, 1},
                                       {NOTE_ABSOLUTE | NOTE_SECONDS, 4'000'000'000},
                                       {0, -1},
                                       {NOTE_SECONDS, 0},
                                       {NOTE_SECONDS, 100'000}};
  const auto pick = [](const auto& from, std::uint32_t n) { return from[n % std::size(from)]; };

  kevent64_s c{};
  c.filter = choice[0] % 97 == 0 ? std::int16_t{-40} : pick(filters, choice[0]);
  c.flags = static_cast<std::uint16_t>(pick(actions, choice[1]) | pick(modes, choice[2]));
  if (choice[1] % 11 == 0) c.flags |= EV_RECEIPT;
  if (choice[2] % 31 == 0) c.flags |= EV_VANISHED;
  c.udata = choice[3] % 3;
  const std::uint32_t way = choice[4] >> 8;
  if (c.filter == EVFILT_USER) {
    c.ident = choice[4] % 2;
    c.fflags = pick(operations, way);
    c.data = way % 7;
    if (q.is_wide) c.ext[0] = 4, c.ext[1] = 8;
  } else if (c.filter == EVFILT_TIMER) {
    c.ident = choice[4] % 2;
    c.fflags = pick(timings, way).fflags;
    c.data = pick(timings, way).data;
  } else {
    const int fd = choice[4] % 13 == 0 && is_alone ? last_closed_ : pick_fd(choice[4]);
    const bool is_another = !descriptors_.contains(fd) && ::fcntl(fd, F_GETFD) >= 0;
    bool is_older = false;
    for (const auto& each : queues_) {
      is_older = is_older || each->fd == fd;
      if (each.get() == &q) break;
    }
    c.ident = fd < 0 || is_another || is_older ? never_open : static_cast<std::uint64_t>(fd);
    if (c.filter == EVFILT_READ && way % 5 == 0) c.fflags = NOTE_LOWAT, c.data = way % 6;
  }
  return c;
}

// --- A call -----------------------------------------------------------------------------------

std::string world::call(const step& s) {
  if (queues_.empty()) return "";
  queue& q = *queues_[s.choice[0] % queues_.size()];
  std::vector<kevent64_s> changes;
  for (std::uint32_t i = 0; i < s.choice[1] % 3; ++i)
    changes.push_back(change_of(q, &s.choice[2 + 5 * i], s.choice[1] % 3 == 1));
  static constexpr std::size_t rooms[] = {16, 16, 16, 0, 1, 2, 3};
  return collect(q, changes, rooms[s.choice[1] / 3 % std::size(rooms)]);
}

struct call_result {
  int result;
  int error;
  std::vector<kevent64_s> records;
};

call_result wide_call(int kq, const std::vector<kevent64_s>& changes, std::size_t room) {
  const timespec zero{0, 0};
  std::vector<kevent64_s> records(room);
  const int n = kevent64(kq, changes.data(), static_cast<int>(changes.size()), records.data(),
                         static_cast<int>(room), 0, &zero);
  const int error = errno;
  records.resize(static_cast<std::size_t>(std::max(n, 0)));
  return {n, error, records};
}

call_result narrow_call(int kq, const std::vector<kevent64_s>& changes, std::size_t room) {
  const timespec zero{0, 0};
  std::vector<struct kevent> given;
  for (const kevent64_s& c : changes) {
    struct kevent k;
    EV_SET(&k, c.ident, c.filter, c.flags, c.fflags, c.data, reinterpret_cast<void*>(c.udata));
    given.push_back(k);
  }
  std::vector<struct kevent> records(room);
  const int n = ::kevent(kq, given.data(), static_cast<int>(given.size()), records.data(),
                         static_cast<int>(room), &zero);
  call_result a{n, errno, {}};
  for (int i = 0; i < n; ++i) {
    const struct kevent& k = records[static_cast<std::size_t>(i)];
    a.records.push_back({k.ident,
                         k.filter,
                         k.flags,
                         k.fflags,
                         k.data,
                         reinterpret_cast<std::uint64_t>(k.udata),
                         {0, 0}});
  }
  return a;
}

// Makes one call with time-out zero, and compares it with the model.
std::string world::collect(queue& q, std::vector<kevent64_s>& changes, std::size_t room) {
  const call_result got = (q.is_wide ? wide_call : narrow_call)(q.fd, changes, room);
  if (log_ != nullptr) {
    *log_ << "kevent " << q.fd << ", room " << room;
    for (const kevent64_s& c : changes) *log_ << "\n    change " << text_of(c);
    for (const kevent64_s& e : got.records) *log_ << "\n    gives  " << text_of(e);
    *log_ << "\n    returns " << got.result
          << (got.result < 0 ? ", errno " + std::to_string(got.error) : "") << '\n';
  }

  std::vector<kevent64_s> records;
  for (kevent64_s& change : changes) {
    const int error = q.model.apply(change);
    if (error == 0 && (change.flags & EV_RECEIPT) == 0) continue;
    if (records.size() == room) {
      if (error == 0) continue;
      return got.result == -1 && got.error == error ? ""
                                                    : "errno should be " + std::to_string(error);
    }
    change.flags |= EV_ERROR;
    change.data = error;
    records.push_back(change);
  }
  if (got.result < 0) return "the call should not fail";
  if (records.empty()) return room == 0 ? "" : q.model.deliver(got.records);
  for (const kevent64_s& r : records)
    if (log_ != nullptr) *log_ << "    should give " << text_of(r) << '\n';
  return records == got.records ? "" : "wrong records of changes";
}

std::string world::play(const step& s) {
  const std::uint32_t* const c = s.choice;
  switch (s.what) {
    case 0:
      make_channel(c[0] % 2 == 0);
      break;
    case 1:
      close_fd(c[0]);
      break;
    case 2:
      duplicate(c[0], c[1], c[2] % 2 == 0);
      break;
    case 3:
    case 4:
    case 5:
      write_some(c[0], c[1], c[2] % 8 == 0);
      break;
    case 6:
    case 7:
      read_some(c[0], c[1]);
      break;
    case 8:
      shut(c[0]);
      break;
    case 9:
      make_queue(c[0] % 3 != 0);
      break;
    default:
      return call(s);
  }
  return "";
}

// --- Sequences --------------------------------------------------------------------------------

std::vector<step> sequence_of(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<step> steps;
  steps.push_back({9, {1}});
  steps.push_back({0, {static_cast<std::uint32_t>(seed)}});
  while (steps.size() < steps_of_a_sequence) {
    step s{static_cast<unsigned>(random() % 24), {}};
    for (std::uint32_t& c : s.choice) c = static_cast<std::uint32_t>(random() >> 16);
    steps.push_back(s);
  }
  return steps;
}

// Plays the steps, then polls every kqueue. Returns what is wrong, or an empty string.
std::string run(const std::vector<step>& steps, std::ostringstream* log) {
  world w(log);
  for (const step& s : steps)
    if (std::string wrong = w.play(s); !wrong.empty()) return wrong;
  for (std::uint32_t i = 0; i < most_queues; ++i)
    if (std::string wrong = w.play({99, {i}}); !wrong.empty()) return wrong;
  return "";
}

// Returns the steps without those that the failure does not need.
std::vector<step> shrink(std::vector<step> steps) {
  for (std::size_t size = steps.size() / 2; size != 0; size /= 2) {
    for (std::size_t at = 0; at + size <= steps.size();) {
      std::vector<step> fewer = steps;
      const auto first = fewer.begin() + static_cast<std::ptrdiff_t>(at);
      fewer.erase(first, first + static_cast<std::ptrdiff_t>(size));
      if (run(fewer, nullptr).empty()) {
        at += size;
      } else {
        steps = fewer;
      }
    }
  }
  return steps;
}

}  // namespace

TEST_CASE("kevent agrees with a simple model over random changes, I/O, closes and waits") {
  using clock = std::chrono::steady_clock;
  void (*const on_sigpipe_before)(int) = std::signal(SIGPIPE, SIG_IGN);
  const std::uint64_t first = test::number_of("KEDGE_SEED", 1);
  const std::uint64_t seconds = test::number_of("KEDGE_SOAK_SECONDS", 0);
  const auto end = clock::now() + std::chrono::seconds(seconds);
  std::uint64_t seed = first;
  const std::uint64_t some = sequences_of_a_run / test::number_of("KEDGE_SEED_DIVISOR", 1);
  const auto goes_on = [&] { return seconds != 0 ? clock::now() < end : seed < first + some; };
  for (; goes_on(); ++seed) {
    const std::vector<step> steps = sequence_of(seed);
    if (run(steps, nullptr).empty()) continue;
    std::ostringstream log;
    const std::string wrong = run(shrink(steps), &log);
    FAIL("seed " << seed << ": " << (wrong.empty() ? "did not fail again" : wrong) << "\n"
                 << log.str());
  }
  std::signal(SIGPIPE, on_sigpipe_before);
  CHECK(seed > first);
  if (seconds != 0) MESSAGE("seeds " << first << " to " << (seed - 1) << ", no difference");
}
