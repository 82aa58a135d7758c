// store: keys with values, in memory and in a journal on disk, for keyd.cc.
//
//     keyd::store s("/var/lib/keyd/journal", {.sync = true});      // reads the journal
//     const auto was = co_await s.make(change, now);   // result<bool>: find() had the key
//     const std::string* value = s.find("tide", now);
//
// make() ends when the journal has the change: with `sync` when the disk has it, else when the
// kernel has it, which outlives the process and not the machine. Changes that wait at the same time
// are written, and synced, by one call. A change that cannot be written is not made: make() gives
// the error, the journal is cut back to its last whole record, and find() goes on. A change whose
// task is cancelled may be made or not. on_write is called with the outcome of each write, so that
// the program can report a full disk. failure_log turns these outcomes into few lines.
//
// With `sync` the folder is synced before the first change and before the first one after
// compact(), so that the name of the journal is as durable as its records. On macOS fsync() gives
// the bytes to the drive, whose own cache may lose them. The store does not use F_FULLFSYNC.
//
// The journal is `magic`, then records: the length of the rest and its CRC-32, both 4 bytes, lowest
// byte first; the expiry, in milliseconds since 1970 or 0 (8 bytes); the length of the key and 1,
// or 0 for a key that is removed (4 bytes); the key; the value. What follows the last whole record
// is the rest of a write that a crash has ended, and is cut off. Files that are not journals, and
// journals that another process has open, are refused.
//
// A key whose expiry has come is not found. expire() removes such keys, and writes nothing: the
// journal has their expiry. compact() writes a new journal with the present keys alone, and gives
// it the name of the old one.
//
// Calls that block run on the thread pool. Memory: keys and values take at most `most_bytes`;
// changes that wait are the callers'. Throws std::system_error, whose text has the path, and
// std::bad_alloc. Threads: the loop's thread only.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kedge/runtime/mutex.h"
#include "kedge/runtime/offload.h"
#include "kedge/runtime/result.h"
#include "kedge/runtime/task.h"

namespace keyd {

using wall_time = std::chrono::system_clock::time_point;

struct change {
  std::string key;
  std::string value;
  wall_time expiry{};  // the epoch: none
  bool is_removal = false;

  change() = default;
  change(std::string k, std::string v, wall_time at = {}, bool removes = false)
      : key(std::move(k)), value(std::move(v)), expiry(at), is_removal(removes) {}
};

constexpr std::string_view magic = "keyd 1\n";

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> t{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    t[i] = i;
    for (int bit = 0; bit < 8; ++bit) t[i] = (t[i] >> 1) ^ ((t[i] & 1) != 0 ? 0xedb88320u : 0);
  }
  return t;
}();
inline std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t sum = ~0u;
  for (const char c : bytes)
    sum = crc_table[(sum ^ static_cast<std::uint8_t>(c)) & 255] ^ (sum >> 8);
  return ~sum;
}

inline void put_number(std::string& to, std::uint64_t value, int size) {
  for (int i = 0; i < size; ++i) to += static_cast<char>(value >> (8 * i) & 255);
}
inline std::uint64_t get_number(std::string_view from, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) {
    value |= std::uint64_t{static_cast<std::uint8_t>(from[at + i])} << (8 * i);
  }
  return value;
}

constexpr std::size_t record_head = 8, payload_head = 12;

inline std::size_t record_size(std::string_view key, std::string_view value) {
  return record_head + payload_head + key.size() + value.size();
}
inline void append_record(std::string& to, std::string_view key, std::string_view value,
                          wall_time expiry, bool is_removal) {
  const auto since_epoch =
      std::chrono::duration_cast<std::chrono::milliseconds>(expiry.time_since_epoch());
  std::string payload;
  put_number(payload, static_cast<std::uint64_t>(since_epoch.count()), 8);
  put_number(payload, key.size() << 1 | (is_removal ? 0u : 1u), 4);
  payload.append(key).append(value);
  put_number(to, payload.size(), 4);
  put_number(to, crc32(payload), 4);
  to += payload;
}

// Takes the first record off `from`. Returns false if it is not whole.
inline bool take_record(std::string_view& from, change& to) {
  if (from.size() < record_head + payload_head) return false;
  const std::size_t size = get_number(from, 0, 4);
  if (size < payload_head || size > from.size() - record_head) return false;
  const std::string_view payload = from.substr(record_head, size);
  if (crc32(payload) != get_number(from, 4, 4)) return false;
  const std::size_t key = get_number(payload, 8, 4);
  if (key >> 1 > size - payload_head) return false;
  to.expiry = wall_time(std::chrono::milliseconds(get_number(payload, 0, 8)));
  to.is_removal = (key & 1) == 0;
  to.key = payload.substr(payload_head, key >> 1);
  to.value = payload.substr(payload_head + (key >> 1));
  from.remove_prefix(record_head + size);
  return true;
}

// The file, whose calls block. Not to be used by two threads at the same time.
class journal {
 public:
  journal() = default;
  journal(const journal&) = delete;
  journal& operator=(const journal&) = delete;
  journal(journal&& other) noexcept { swap(other); }
  journal& operator=(journal&& other) noexcept {
    swap(other);
    return *this;
  }
  ~journal() {
    if (fd_ >= 0) ::close(fd_);
  }

  // Opens and locks the file, and makes it if there is none, or `flags` say so.
  static journal open(const std::string& path, int flags = 0) {
    journal j;
    j.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | flags, 0600);
    if (j.fd_ < 0) throw std::system_error(errno, std::system_category(), path);
    if (::flock(j.fd_, LOCK_EX | LOCK_NB) != 0) {
      const bool is_taken = errno == EWOULDBLOCK;
      throw std::system_error(errno, std::system_category(),
                              path + (is_taken ? ": another process has it open" : ""));
    }
    // The process that had it may have given its name to a new one.
    struct stat opened{}, named{};
    if (::fstat(j.fd_, &opened) != 0 || ::stat(path.c_str(), &named) != 0 ||
        opened.st_ino != named.st_ino) {
      throw std::system_error(EBUSY, std::system_category(), path);
    }
    return j;
  }

  // Gives `take` each whole record, and cuts off what follows the last one. Returns how many bytes
  // that was.
  std::size_t read(const std::string& path, const std::function<void(change&&)>& take) {
    std::string all;
    std::string room(std::size_t{1} << 18, '\0');
    for (;;) {
      const ssize_t n = ::pread(fd_, room.data(), room.size(), static_cast<off_t>(all.size()));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw std::system_error(errno, std::system_category(), path);
      if (n == 0) break;
      all.append(room, 0, static_cast<std::size_t>(n));
    }
    std::string_view left = all;
    if (left.starts_with(magic)) {
      left.remove_prefix(magic.size());
      change c;
      while (take_record(left, c)) take(std::move(c));
    } else if (!magic.starts_with(left)) {
      throw std::system_error(EINVAL, std::system_category(), path + ": not a journal of keyd");
    }
    size_ = all.size() - left.size();
    is_cut_ = left.empty();
    std::error_code why;
    if (!is_cut_ && !cut()) why = std::error_code(errno, std::system_category());
    if (!why && size_ == 0) why = append(magic, true);
    if (why) throw std::system_error(why, path);
    return left.size();
  }

  // Writes the bytes, and syncs them, or neither.
  std::error_code append(std::string_view bytes, bool sync) noexcept {
    // The rest of an earlier write may end where a later record begins, and be read as one.
    if (!is_cut_ && !cut()) return {errno, std::system_category()};
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n =
          ::pwrite(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(size_ + done));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return fail(n == 0 ? ENOSPC : errno);
      done += static_cast<std::size_t>(n);
    }
    if (sync && ::fsync(fd_) != 0) return fail(errno);
    size_ += bytes.size();
    return {};
  }

  std::size_t size() const noexcept { return size_; }

 private:
  std::error_code fail(int why) noexcept {
    cut();
    return {why, std::system_category()};
  }
  bool cut() noexcept {
    is_cut_ = ::ftruncate(fd_, static_cast<off_t>(size_)) == 0;
    return is_cut_;
  }
  void swap(journal& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(size_, other.size_);
    std::swap(is_cut_, other.is_cut_);
  }

  int fd_ = -1;
  std::size_t size_ = 0;  // of the whole records
  bool is_cut_ = true;    // nothing follows them
};

struct store_options {
  bool sync = true;                                 // a change waits for the disk
  std::size_t most_bytes = std::size_t{256} << 20;  // of keys and values
  std::size_t slack = std::size_t{1} << 20;         // what a journal may have beyond twice the keys
};

class store {
 public:
  // Reads the journal, and blocks.
  explicit store(std::string path, store_options options = {})
      : path_(std::move(path)), options_(options), journal_(journal::open(path_)) {
    cut_off_ = journal_.read(path_, [this](change&& c) { apply(c); });
  }
  store(const store&) = delete;
  store& operator=(const store&) = delete;

  // Called with each change that was made. Must not throw.
  std::function<void(const change&)> on_change;
  // Called with the outcome of each write of changes, and with each error of compact(). Must not
  // throw.
  std::function<void(std::error_code)> on_write;

  // Makes a change. Gives true if the key was there, and had not expired at `now`.
  kedge::task<kedge::result<bool>> make(change c, wall_time now = {}) {
    if (!c.is_removal && bytes_ + c.key.size() + c.value.size() > options_.most_bytes) {
      co_return kedge::unexpected(std::make_error_code(std::errc::not_enough_memory));
    }
    if (waiting_ == nullptr) waiting_ = std::make_shared<batch>();
    const std::shared_ptr<batch> mine = waiting_;
    append_record(mine->bytes, c.key, c.value, c.expiry, c.is_removal);
    const std::size_t number = mine->changes.size();
    mine->changes.push_back({std::move(c), now, false});
    // The first task of a batch that gets the lock writes for all. One that is cancelled before
    // leaves that to the next.
    const auto held = (co_await mutex_.lock()).value();
    if (!mine->is_written) {
      if (waiting_ == mine) waiting_ = nullptr;
      const auto write = [this, b = mine.get()]() -> std::error_code {
        if (options_.sync && !is_folder_synced_) {
          if (const std::error_code e = sync_folder()) return e;
          is_folder_synced_ = true;
        }
        return journal_.append(b->bytes, options_.sync);
      };
      mine->error = co_await kedge::offload(write);
      mine->is_written = true;
      if (!mine->error) {
        for (auto& [made, at, was_found] : mine->changes) {
          was_found = find(made.key, at) != nullptr;
          apply(made);
          if (on_change) on_change(made);
        }
      }
      if (on_write) on_write(mine->error);
    }
    if (mine->error) co_return kedge::unexpected(mine->error);
    co_return mine->changes[number].was_found;
  }

  // Null: no such key. Valid until the next wait.
  const std::string* find(const std::string& key, wall_time now) const {
    const auto at = keys_.find(key);
    if (at == keys_.end() || has_come(at->second.expiry, now)) return nullptr;
    return &at->second.value;
  }

  // Removes the keys whose expiry has come.
  kedge::task<> expire(wall_time now) {
    const auto held = (co_await mutex_.lock()).value();
    while (!expiries_.empty() && has_come(expiries_.begin()->first, now)) {
      change c{expiries_.begin()->second, {}, {}, true};
      apply(c);
      if (on_change) on_change(c);
    }
  }

  bool needs_compaction() const noexcept { return journal_.size() > 2 * live_ + options_.slack; }
  // Changes wait meanwhile. An error leaves the old journal.
  kedge::task<kedge::result<void>> compact() {
    const auto held = (co_await mutex_.lock()).value();
    const std::string name = path_ + ".new";
    journal next;
    const auto begin = [&]() -> std::error_code {
      try {
        next = journal::open(name, O_TRUNC);
      } catch (const std::system_error& e) {
        return e.code();
      }
      return next.append(magic, false);
    };
    std::error_code why = co_await kedge::offload(begin);
    std::string bytes;
    const auto write = [&] { return next.append(bytes, false); };
    for (auto at = keys_.begin(); !why && at != keys_.end();) {
      bytes.clear();
      for (; at != keys_.end() && bytes.size() < piece; ++at) {
        append_record(bytes, at->first, at->second.value, at->second.expiry, false);
      }
      why = co_await kedge::offload(write);
    }
    const auto end = [&]() -> std::error_code {
      // Also without `sync`: a new journal without its bytes would lose what the old one had.
      if (const std::error_code e = next.append("", true)) return e;
      if (std::rename(name.c_str(), path_.c_str()) != 0) return {errno, std::system_category()};
      return {};
    };
    if (!why) why = co_await kedge::offload(end);
    if (why) {
      ::unlink(name.c_str());
      if (on_write) on_write(why);
      co_return kedge::unexpected(why);
    }
    journal_ = std::move(next);
    // Until the next change a crash may bring back the old journal, which has the same keys.
    is_folder_synced_ = false;
    co_return kedge::result<void>();
  }

  std::size_t size() const noexcept { return keys_.size(); }
  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t journal_size() const noexcept { return journal_.size(); }
  // What was cut off the journal when it was read.
  std::size_t cut_off() const noexcept { return cut_off_; }

 private:
  static constexpr std::size_t piece = std::size_t{1} << 18;

  struct entry {
    std::string value;
    wall_time expiry;
  };
  struct waiting_change {
    change wanted;
    wall_time now;
    bool was_found;
  };
  struct batch {
    std::string bytes;
    std::vector<waiting_change> changes;
    std::error_code error;
    bool is_written = false;
  };

  static bool has_come(wall_time expiry, wall_time now) noexcept {
    return expiry != wall_time() && expiry <= now;
  }
  void apply(const change& c) {
    const auto at = keys_.find(c.key);
    const bool was_there = at != keys_.end();
    if (was_there) {
      bytes_ -= c.key.size() + at->second.value.size();
      live_ -= record_size(c.key, at->second.value);
      if (at->second.expiry != wall_time()) expiries_.erase({at->second.expiry, c.key});
    }
    if (c.is_removal) {
      if (was_there) keys_.erase(at);
      return;
    }
    if (c.expiry != wall_time()) expiries_.emplace(c.expiry, c.key);
    keys_.insert_or_assign(c.key, entry{c.value, c.expiry});
    bytes_ += c.key.size() + c.value.size();
    live_ += record_size(c.key, c.value);
  }
  std::error_code sync_folder() const {
    const std::size_t slash = path_.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path_.substr(0, slash + 1);
    const int fd = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {errno, std::system_category()};
    // EINVAL: the file system has no fsync() of folders.
    const int error = ::fsync(fd) == 0 || errno == EINVAL ? 0 : errno;
    ::close(fd);
    return {error, std::system_category()};
  }

  std::string path_;
  store_options options_;
  journal journal_;
  kedge::mutex mutex_;
  std::shared_ptr<batch> waiting_;
  std::unordered_map<std::string, entry> keys_;
  std::set<std::pair<wall_time, std::string>> expiries_;
  std::size_t bytes_ = 0;
  std::size_t live_ = 0;  // the size of the records that the keys need
  std::size_t cut_off_ = 0;
  bool is_folder_synced_ = false;  // since the journal has its name
};

// Which of many outcomes of writes deserve a line. On a full disk small changes are written between
// large ones that are refused, so writing has resumed only when nothing has failed for `calm`.
class failure_log {
 public:
  static constexpr std::chrono::seconds calm{10};

  // Returns the line for this outcome, or an empty string.
  std::string note(std::error_code why, wall_time now) {
    if (why) {
      last_failure_ = now;
      if (std::exchange(is_failing_, true)) return {};
      return "refuses changes: cannot write the journal: " + why.message();
    }
    if (!is_failing_ || now - last_failure_ < calm) return {};
    is_failing_ = false;
    return "makes changes again";
  }

 private:
  wall_time last_failure_{};
  bool is_failing_ = false;
};

}  // namespace keyd
