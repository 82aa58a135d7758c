// wait_mark: a flag that is set while a coroutine waits, however the wait ends.
#pragma once

namespace kedge::net {

class wait_mark {
 public:
  explicit wait_mark(bool& flag) noexcept : flag_(flag) { flag_ = true; }
  wait_mark(const wait_mark&) = delete;
  wait_mark& operator=(const wait_mark&) = delete;
  ~wait_mark() { flag_ = false; }

 private:
  bool& flag_;
};

}  // namespace kedge::net
