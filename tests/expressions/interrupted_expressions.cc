// interrupted_expressions: what a compiler destroys when an expression with a co_await is left.
//
// Each form is a coroutine with one such expression. The program leaves it in three ways, each at
// every suspension of the form:
//   destroyed      the frame is destroyed at the suspension, as a cancelled wait is
//   thrown         the co_await throws
//   completed      the co_await gives a value
// It prints a line per form: the name, the rule for authors that forbids the form or "-", and what
// was wrong after each ending:
//   leaked N       objects that were not destroyed, and blocks of memory that were not freed
//   twice N        destructions at an address where no object was
//   guard held N   guards of static locals that stay locked
//   ok             nothing
// or "refused" if the compiler cannot compile the form. -DTRY=N compiles the N-th of the forms
// that g++ 12 refuses, so that compare_expressions.py sees the refusal.
//
// The coroutines are its own, so the lines depend on the compiler alone. It counts by its own
// malloc and free, and runs with glibc only.
#include <algorithm>
#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#if defined(TRY)
#define ACCEPTS(n) (TRY == (n))
#elif defined(__clang__)
#define ACCEPTS(n) true
#else
#define ACCEPTS(n) false
#endif

namespace {

// --- Counting -----------------------------------------------------------------------------------

struct counts {
  long leaked = 0;
  long twice = 0;
  long held = 0;
};
counts counted;

// The addresses of the objects that exist. An array, since a container would allocate.
std::array<const void*, 64> objects{};
// The guards that were taken, so that the next ending finds its static local uninitialised.
std::array<char*, 8> guards{};

template <class Slots>
auto& slot_of(Slots& slots, typename Slots::value_type value) {
  auto* const found = std::find(slots.begin(), slots.end(), value);
  if (found == slots.end()) std::abort();
  return *found;
}

// An object whose life is counted.
class tracked {
 public:
  explicit tracked(int = 0) noexcept { enter(); }
  tracked(const tracked&) noexcept { enter(); }
  tracked(tracked&&) noexcept { enter(); }
  tracked& operator=(const tracked&) noexcept { return *this; }
  ~tracked() {
    auto* const found = std::find(objects.begin(), objects.end(), this);
    if (found == objects.end()) {
      ++counted.twice;
    } else {
      *found = nullptr;
    }
  }

 private:
  void enter() noexcept { slot_of(objects, nullptr) = this; }
};

}  // namespace

extern "C" {

void* __libc_malloc(std::size_t size);
void __libc_free(void* block);

void* malloc(std::size_t size) {
  ++counted.leaked;
  return __libc_malloc(size);
}
void free(void* block) {
  if (block != nullptr) --counted.leaked;
  __libc_free(block);
}

// A static local's guard begins with the byte that says "initialised".
int __cxa_guard_acquire(std::uint64_t* guard) {
  char* const initialised = reinterpret_cast<char*>(guard);
  if (*initialised != 0) return 0;
  slot_of(guards, nullptr) = initialised;
  ++counted.held;
  return 1;
}
void __cxa_guard_release(std::uint64_t* guard) {
  *reinterpret_cast<char*>(guard) = 1;
  --counted.held;
}
void __cxa_guard_abort(std::uint64_t*) {
  --counted.held;
}

}  // extern "C"

namespace {

// --- Coroutines ---------------------------------------------------------------------------------

struct task {
  struct promise_type {
    task get_return_object() noexcept {
      return task{std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept {}
  };
  std::coroutine_handle<> coroutine;
};

bool throws = false;  // the next co_await that ends throws

// Gives 7.
class wait {
 public:
  wait() noexcept {}
  wait(const wait&) = delete;
  wait& operator=(const wait&) = delete;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  int await_resume() const {
    if (throws) throw 1;
    return 7;
  }
};

class owning_wait : public wait {
 public:
  explicit owning_wait(tracked object) noexcept : object_(std::move(object)) {}

 private:
  tracked object_;
};

// --- What the forms use -------------------------------------------------------------------------

// T in the names of the forms is `tracked`, A is one of these aggregates, C is a class with a
// constructor.
struct aggregate {
  tracked a;
  int b;
};
struct larger_aggregate {
  tracked a;
  tracked b;
  int c;
};
struct nested_aggregate {
  aggregate a;
  int b;
};
struct constructed {
  constructed(tracked t, int n) noexcept : a(std::move(t)), b(n) {}
  tracked a;
  int b;
};

bool yes() {
  return true;
}
int refer(const tracked&, int n) {
  return n;
}
int take(tracked, int n) {
  return n;
}
int take_aggregate(aggregate, int) {
  return 0;
}
[[maybe_unused]] int take_list(std::initializer_list<tracked>, int) {
  return 0;
}
owning_wait wait_two(tracked, tracked) {
  return owning_wait(tracked());
}
owning_wait wait_aggregate(aggregate a) {
  return owning_wait(a.a);
}
owning_wait wait_aggregate_reference(aggregate&& a) {
  return owning_wait(a.a);
}
[[maybe_unused]] owning_wait wait_list(std::initializer_list<tracked> list) {
  return owning_wait(*list.begin());
}
[[maybe_unused]] owning_wait wait_vector(const std::vector<tracked>& v) {
  return owning_wait(v.front());
}

struct service {
  owning_wait two(aggregate, larger_aggregate) { return owning_wait(tracked()); }
  owning_wait reference(aggregate&&) { return owning_wait(tracked()); }
  template <class T>
  owning_wait any(T) {
    return owning_wait(tracked());
  }
  template <class T>
  owning_wait any_reference(T&&) {
    return owning_wait(tracked());
  }
};

// --- The forms ----------------------------------------------------------------------------------

struct form {
  const char* name;
  const char* rule;
  task (*begin)() = nullptr;  // null: the compiler refuses it
};

constexpr const char* none = "-";
constexpr const char* new_expression = "new-expression";
constexpr const char* braced = "braced initialiser";
constexpr const char* list = "initializer list";
constexpr const char* capture = "lambda capture";
constexpr const char* static_local = "static local";
constexpr const char* throw_operand = "throw operand";
// The rules of g++ 12: in an expression that awaits, these are destroyed twice.
constexpr const char* temporary_aggregate = "aggregate temporary";
constexpr const char* temporary_closure = "closure temporary";
constexpr const char* conditional = "conditional object";

const form forms[] = {
    {"a local", none,
     []() -> task {
       tracked t;
       co_await wait();
     }},
    {"a local in a loop", none,
     []() -> task {
       for (int i = 0; i < 2; ++i) {
         tracked t;
         co_await wait();
       }
     }},
    {"a local in a try block", none,
     []() -> task {
       tracked outer;
       try {
         tracked inner;
         co_await wait();
       } catch (int) {
         tracked late;
       }
     }},
    {"f(T const&, co_await)", none, []() -> task { refer(tracked(), co_await wait()); }},
    {"f(T, co_await)", none, []() -> task { take(tracked(), co_await wait()); }},
    {"C c(T, co_await)", none, []() -> task { constructed c(tracked(), co_await wait()); }},
    {"T, co_await", none, []() -> task { (void)(tracked(), co_await wait()); }},
    {"c ? f(T, co_await) : f(T, n)", none,
     []() -> task { (void)(yes() ? refer(tracked(), co_await wait()) : refer(tracked(), 1)); }},
    {"f(T) && f(T, co_await)", none,
#if ACCEPTS(1)
     []() -> task { (void)(refer(tracked(), 1) && refer(tracked(), co_await wait())); }
#endif
    },
    {"for (x : vector<T>(2)) co_await", none,
     []() -> task {
       for (auto& each : std::vector<tracked>(2)) {
         (void)each;
         co_await wait();
       }
     }},
    {"for (x : array<T, 2>) co_await", none,
     []() -> task {
       for (auto& each : std::array<tracked, 2>()) {
         (void)each;
         co_await wait();
       }
     }},
    {"switch (T t; co_await)", none,
     []() -> task {
       switch (tracked t; co_await wait()) {
         default:
           (void)t;
       }
     }},
    {"if (T t; co_await)", none,
     []() -> task {
       if (tracked t; co_await wait()) (void)t;
     }},
    {"auto [a, b] = pair(T, co_await)", none,
     []() -> task {
       const auto [a, b] = std::pair<tracked, int>(tracked(), co_await wait());
       (void)a;
       (void)b;
     }},
    {"make_tuple(T, T(co_await))", none,
     []() -> task {
       const auto both = std::make_tuple(tracked(), tracked(co_await wait()));
       (void)both;
     }},
    {"string + to_string(co_await)", none,
     []() -> task {
       const auto text = std::string(40, 'a') + std::to_string(co_await wait());
       (void)text;
     }},
    {"T const& r = T(co_await); co_await", none,
     []() -> task {
       const tracked& r = tracked(co_await wait());
       (void)r;
       co_await wait();
     }},
    {"T const& r = T; co_await", none,
     []() -> task {
       const tracked& r = tracked();
       (void)r;
       co_await wait();
     }},
    {"co_await owner(T)", none, []() -> task { co_await owning_wait(tracked()); }},
    {"co_await f(T, T)", none, []() -> task { co_await wait_two(tracked(), tracked()); }},
    {"new T(co_await)", new_expression,
     []() -> task {
       auto* const p = new tracked(co_await wait());
       delete p;
     }},
    {"unique_ptr<T>(new T(co_await))", new_expression,
     []() -> task { const std::unique_ptr<tracked> p(new tracked(co_await wait())); }},
    {"new A{T, co_await}", new_expression,
     []() -> task {
       auto* const p = new aggregate{tracked(), co_await wait()};
       delete p;
     }},
    {"new T[2]{T, T(co_await)}", new_expression,
     []() -> task {
       auto* const p = new tracked[2]{tracked(), tracked(co_await wait())};
       delete[] p;
     }},
    {"A a{T, co_await}", braced,
     []() -> task {
       const aggregate a{tracked(), co_await wait()};
       (void)a;
     }},
    {"A a{T, T, co_await}", braced,
     []() -> task {
       const larger_aggregate a{tracked(), tracked(), co_await wait()};
       (void)a;
     }},
    {"A a{{T, n}, co_await}", braced,
     []() -> task {
       const nested_aggregate a{{tracked(), 1}, co_await wait()};
       (void)a;
     }},
    {"f(A{T, co_await})", braced,
     []() -> task { take_aggregate(aggregate{tracked(), co_await wait()}, 1); }},
    {"a = A{T, co_await}", braced,
     []() -> task {
       aggregate a{tracked(), 0};
       a = aggregate{tracked(), co_await wait()};
     }},
    {"T a[]{T, T, T(co_await)}", braced,
     []() -> task {
       const tracked a[]{tracked(), tracked(), tracked(co_await wait())};
       (void)a;
     }},
    {"f({T, T(co_await)})", list,
#if ACCEPTS(2)
     []() -> task { take_list({tracked(), tracked(co_await wait())}, 1); }
#endif
    },
    {"vector<T>{T, T(co_await)}", list,
#if ACCEPTS(3)
     []() -> task {
       const std::vector<tracked> v{tracked(), tracked(co_await wait())};
       (void)v;
     }
#endif
    },
    {"co_await f({T, T})", list,
#if ACCEPTS(4)
     []() -> task { co_await wait_list({tracked(), tracked()}); }
#endif
    },
    {"co_await f(vector<T>{T, T})", list,
#if ACCEPTS(5)
     []() -> task { co_await wait_vector(std::vector<tracked>{tracked(), tracked()}); }
#endif
    },
    {"[t = T, v = co_await]{}", capture,
     []() -> task {
       const auto f = [t = tracked(), v = co_await wait()] {
         (void)t;
         (void)v;
       };
       (void)f;
     }},
    {"static int v = co_await", static_local,
     []() -> task {
       static int v = co_await wait();
       (void)v;
     }},
    {"throw C(T, co_await)", throw_operand,
     []() -> task {
       try {
         throw constructed(tracked(), co_await wait());
       } catch (const constructed&) {
       }
     }},
    {"co_await f(A{T, n})", temporary_aggregate,
     []() -> task { co_await wait_aggregate(aggregate{tracked(), 1}); }},
    {"co_await f({T, n})", temporary_aggregate,
     []() -> task { co_await wait_aggregate({tracked(), 1}); }},
    {"co_await f(A(T, n))", temporary_aggregate,
     []() -> task { co_await wait_aggregate(aggregate(tracked(), 1)); }},
    {"co_await f(A&&)", temporary_aggregate,
     []() -> task { co_await wait_aggregate_reference(aggregate{tracked(), 1}); }},
    {"co_await s.f(A{T, n}, {T, T, n})", temporary_aggregate,
     []() -> task {
       service s;
       co_await s.two(aggregate{tracked(), 1}, {tracked(), tracked(), 2});
     }},
    {"co_await S().f(A&&)", temporary_aggregate,
     []() -> task { co_await service().reference(aggregate{tracked(), 1}); }},
    {"co_await S().f<A>(A)", temporary_aggregate,
     []() -> task { co_await service().any(aggregate{tracked(), 1}); }},
    {"co_await S().f<A>(A&&)", temporary_aggregate,
     []() -> task { co_await service().any_reference(aggregate{tracked(), 1}); }},
    {"f([t = T]{}(), co_await)", temporary_closure,
     []() -> task { refer([t = tracked()] { return tracked(); }(), co_await wait()); }},
    {"co_await f([t = T]{})", temporary_closure,
     []() -> task { co_await service().any([t = tracked()] {}); }},
    {"T t = c ? T(co_await) : T", conditional,
     []() -> task {
       const tracked t = yes() ? tracked(co_await wait()) : tracked();
       (void)t;
     }},
    {"f(c ? T : T(co_await), co_await)", conditional,
     []() -> task { refer(yes() ? tracked() : tracked(co_await wait()), co_await wait()); }},
    {"f(c ? T : T, co_await)", conditional,
     []() -> task { refer(yes() ? tracked() : tracked(), co_await wait()); }},
    {"co_await f(c ? T : T)", conditional,
     []() -> task { co_await owning_wait(yes() ? tracked() : tracked()); }},
    {"co_await (c ? f(T) : f(T))", conditional,
     []() -> task { co_await (yes() ? owning_wait(tracked()) : owning_wait(tracked())); }},
};

// --- The endings --------------------------------------------------------------------------------

enum class ending { destroyed, thrown, completed };

// Runs the form until its suspension number `at`, counted from 1, and leaves it there. Returns
// false if there are fewer.
bool leave(const form& f, ending how, int at) {
  const task t = f.begin();
  for (int i = 0; i < at && !t.coroutine.done(); ++i) t.coroutine.resume();
  const bool suspended = !t.coroutine.done();
  throws = how == ending::thrown;
  while (how != ending::destroyed && !t.coroutine.done()) t.coroutine.resume();
  throws = false;
  t.coroutine.destroy();
  return suspended;
}

counts count(const form& f, ending how) {
  counts all;
  for (int at = 1;; ++at) {
    objects = {};
    for (char* const guard : guards) {
      if (guard != nullptr) *guard = 0;
    }
    guards = {};
    counted = {};
    const bool suspended = leave(f, how, at);
    if (!suspended) return all;
    all.leaked +=
        counted.leaked + std::count_if(objects.begin(), objects.end(),
                                       [](const void* object) { return object != nullptr; });
    all.twice += counted.twice;
    all.held += counted.held;
    // Every suspension leads to the same end.
    if (how == ending::completed) return all;
  }
}

void print(const char* how, const counts& c) {
  std::printf("  %s:", how);
  if (c.leaked != 0) std::printf(" leaked %ld", c.leaked);
  if (c.twice != 0) std::printf(" twice %ld", c.twice);
  if (c.held != 0) std::printf(" guard held %ld", c.held);
  if (c.leaked == 0 && c.twice == 0 && c.held == 0) std::printf(" ok");
}

}  // namespace

int main() {
  for (const form& f : forms) {
    std::printf("%-36s %-20s", f.name, f.rule);
    if (f.begin == nullptr) {
      std::printf("  refused\n");
      continue;
    }
    print("destroyed", count(f, ending::destroyed));
    print("thrown", count(f, ending::thrown));
    print("completed", count(f, ending::completed));
    std::printf("\n");
  }
}
