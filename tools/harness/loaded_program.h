// loaded_program: a program that is built as a shared object, as the main of a process.
//
//     w.start("lockd", harness::loaded_program("lockd.so"));
//
// Its static variables begin in each process as they were when it was loaded: a C program that was
// written for a process of its own sees no other process's, and none of an earlier run's. Several
// processes of one program have a copy each. Variables that are thread_local are not put back;
// process_options::thread serves programs that have them.
//
// The shared object has a function `main`. It uses the kernels of
// the test, which exports them (-Wl,--export-dynamic), and has none of its own.
//
// Threads: that of the world. Ownership: a copy that no object uses any more is kept for later
// ones.
#pragma once

#include <memory>
#include <string>

namespace kedge::harness {

class loaded_program {
 public:
  // Throws std::runtime_error if the file cannot be loaded, or has no main.
  explicit loaded_program(const std::string& path);

  int operator()(int argc, char** argv) const;

 private:
  class image;
  struct kept_images;
  std::shared_ptr<image> image_;
};

}  // namespace kedge::harness
