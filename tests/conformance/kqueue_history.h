// kqueue_history: what the operations of a trace have done to its files and kqueues, as far as the
// rules of kqueue_comparison.h depend on it.
//
// A rule applies to a knote only if the cause that its README row names has come since a call has
// shown all events of the kqueue. Times are numbers of operations, from 1. 0 is never.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace conformance {

class kqueue_history {
 public:
  // To be called for each operation. The changes of a call, before its results are compared; its
  // results, which are the recorded ones, afterwards.
  void begin(std::string_view operation);
  void end(std::string_view operation, std::string_view result);

  // `kq` and `file` are names of the trace (q1, f0) for what they denote now. `depth`: how many
  // kqueues the kqueue is in.

  // For READ of a pipe: it was read from, nothing was written to it, and something is left.
  bool was_read_again(std::string_view kq, std::string_view file) const;
  // A change has added or changed the knote, which then reports its present state.
  bool was_changed(std::string_view kq, std::string_view filter, std::string_view file,
                   std::string_view udata) const;
  // For WRITE: the other end was read from; or it is a pipe that was written to, or of which an end
  // was closed.
  bool has_room_again(std::string_view kq, std::string_view file) const;
  // The kqueue has several knotes about the file, or one with a low-water mark.
  bool has_other_knote(std::string_view kq, std::string_view file) const;
  bool is_socket(std::string_view file) const;
  // What made a knote of the kqueue, or of a kqueue in it, ready is gone: a file has no data or no
  // room any more, or a call has taken the events of a kqueue. And no knote is active still, as far
  // as the trace says.
  bool may_have_stopped(std::string_view kq, unsigned depth = 0) const;
  // The kqueue, or a kqueue in it, has a knote of which epoll reports what Darwin does not: one
  // with a low-water mark, that was changed or whose file was written to; a changed one with
  // EV_CLEAR of a file that is ready still; or a disabled one of a process.
  bool may_be_readable_in_vain(std::string_view kq, unsigned depth = 0) const;

 private:
  struct pair_end {
    std::size_t read_at = 0;
    std::size_t written_at = 0;
    std::size_t filled_at = 0;
    long received = 0;  // bytes that can be read; after a fill, some
    int names = 1;
  };
  struct pair {  // of the ends of a pipe, or of sockets
    bool is_socket = false;
    std::array<pair_end, 2> ends;
    std::size_t closed_at = 0;  // either end
  };
  struct file {
    std::size_t pair = 0;  // index in pairs_
    std::size_t end = 0;
  };
  struct watch {  // a knote
    std::string filter;
    std::string ident;
    std::string udata;  // "" without EV_UDATA_SPECIFIC
    bool is_clear = false;
    bool is_disabled = false;
    bool has_low_water = false;
    bool is_level = true;    // neither EV_CLEAR, EV_ONESHOT nor EV_DISPATCH
    bool is_active = false;  // of USER
    std::size_t changed_at = 0;
  };
  struct queue {
    std::vector<watch> watches;
    std::size_t shown_at = 0;   // the last call that has shown all events
    std::size_t called_at = 0;  // the last call
  };

  const file* find_file(std::string_view name) const;
  const queue* find_queue(std::string_view name) const;
  const pair& pair_of(const file& f) const { return pairs_[f.pair]; }
  const pair_end& end_of(const file& f) const { return pair_of(f).ends[f.end]; }
  const pair_end& other_end_of(const file& f) const { return pair_of(f).ends[1 - f.end]; }

  void open_pair(std::string_view one, std::string_view other, bool is_socket);
  void duplicate(std::string_view from, std::string_view to);
  void close(std::string_view name);
  void change(queue& kq, std::string_view change);
  void note_results(queue& kq, std::string_view result);
  void transfer(std::string_view operation, file moved, std::string_view result);
  bool is_ready(const watch& w) const;
  bool is_active_still(const queue& q, unsigned depth) const;

  std::size_t now_ = 0;
  std::vector<pair> pairs_;
  std::vector<queue> queues_;
  std::map<std::string, file, std::less<>> files_;
  std::map<std::string, std::size_t, std::less<>> names_;  // of kqueues: index in queues_
};

}  // namespace conformance
