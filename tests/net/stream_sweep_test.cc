// pipe_stream, standard_stream and any_stream over pipes, interrupted at every point and short of
// memory at every allocation.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <utility>

#include "kedge/net/any_stream.h"
#include "kedge/net/owned_fd.h"
#include "kedge/net/pipe_stream.h"
#include "kedge/net/standard_stream.h"
#include "kedge/runtime/loop.h"
#include "tests/runtime/sweep.h"

namespace kedge::net {
namespace {

struct pipe_fds {
  pipe_fds() {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    out = owned_fd(ends[0]);
    in = owned_fd(ends[1]);
  }
  std::size_t queued() const noexcept {
    int n = 0;
    ::ioctl(out.get(), FIONREAD, &n);
    return static_cast<std::size_t>(n);
  }
  owned_fd out;  // is read
  owned_fd in;   // is written to
};

pipe_stream pipe_stream_of(loop& l, const pipe_fds& from, const pipe_fds& to) {
  return {descriptor(l, ::dup(from.out.get()), ownership::owned),
          descriptor(l, ::dup(to.in.get()), ownership::owned)};
}
template <class Stream>
Stream make(loop& l, const pipe_fds& from, const pipe_fds& to) {
  if constexpr (std::same_as<Stream, standard_stream>) {
    return standard_stream(l, from.out.get(), to.in.get());
  } else if constexpr (std::same_as<Stream, pipe_stream>) {
    return pipe_stream_of(l, from, to);
  } else {
    return Stream(pipe_stream_of(l, from, to));
  }
}

template <class Stream>
class pipe_world : public scenario {
 public:
  explicit pipe_world(loop& l) : stream(make<Stream>(l, from, to)) {}
  void close() override { stream.close(); }
  void took(const result<std::size_t>& n) {
    if (n) moved += *n;
    scenario::took(n);
  }

 protected:
  pipe_fds from;
  pipe_fds to;
  Stream stream;
  std::size_t moved = 0;  // by the waits that have ended
  std::array<std::byte, 4096> block{};
};

template <class Stream>
class reading_pipe : public pipe_world<Stream> {
 public:
  reading_pipe(loop& l, virtual_time&) : pipe_world<Stream>(l) {}
  auto awaited() { return this->stream.read_some(std::span(this->block).first(4)); }
  void complete() override {
    REQUIRE(::write(this->from.in.get(), "x", 1) == 1);
    ++given_;
  }
  // What was not read is still in the pipe.
  bool nothing_missing() override { return this->moved + this->from.queued() == given_; }

 private:
  std::size_t given_ = 0;
};

// The pipe is full at first.
template <class Stream>
class writing_pipe : public pipe_world<Stream> {
 public:
  writing_pipe(loop& l, virtual_time&) : pipe_world<Stream>(l) {
    while (poll_now(this->to.in.get(), POLLOUT) != 0) {
      const ssize_t n = ::write(this->to.in.get(), this->block.data(), this->block.size());
      REQUIRE(n > 0);
      given_ += static_cast<std::size_t>(n);
    }
  }
  auto awaited() { return this->stream.write_some(std::span(this->block).first(1)); }
  void complete() override {
    if (this->to.queued() == 0) return;
    const ssize_t n = ::read(this->to.out.get(), this->block.data(), this->block.size());
    REQUIRE(n > 0);
    taken_ += static_cast<std::size_t>(n);
  }
  // What was written is in the pipe, once.
  bool nothing_missing() override { return taken_ + this->to.queued() == given_ + this->moved; }

 private:
  std::size_t given_ = 0;
  std::size_t taken_ = 0;
};

using writing_pipe_stream = writing_pipe<pipe_stream>;

TEST_CASE("a read of a pipe_stream survives every interruption") {
  sweep<reading_pipe<pipe_stream>>("transfer_awaitable");
}
TEST_CASE("a write to a pipe_stream survives every interruption") {
  sweep<writing_pipe_stream>("quiet_write");
}
TEST_CASE("a read of a standard_stream survives every interruption") {
  sweep<reading_pipe<standard_stream>>("task");
}
TEST_CASE("a write to a standard_stream survives every interruption") {
  sweep<writing_pipe<standard_stream>>("task");
}
TEST_CASE("a read of an any_stream survives every interruption") {
  sweep<reading_pipe<any_stream>>("task");
}
TEST_CASE("a write to an any_stream survives every interruption") {
  sweep<writing_pipe<any_stream>>("task");
}

}  // namespace
}  // namespace kedge::net
