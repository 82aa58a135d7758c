// Implements call_place by the unwinder, addr2line and dladdr().
#include "kedge/tools/harness/call_place.h"

#if !defined(__APPLE__)
#include <cxxabi.h>
#include <dlfcn.h>
#include <link.h>
#include <unwind.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace kedge::harness {

#if defined(__APPLE__)

std::vector<void*> capture_stack() {
  return {};
}
std::string place_of(const std::vector<void*>&) {
  return {};
}

#else

namespace {

constexpr std::size_t deepest = 64;

_Unwind_Reason_Code take_frame(_Unwind_Context* at, void* to) {
  auto& frames = *static_cast<std::vector<void*>*>(to);
  const auto address = _Unwind_GetIP(at);
  if (address == 0 || frames.size() == deepest) return _URC_END_OF_STACK;
  frames.push_back(reinterpret_cast<void*>(address));
  return _URC_NO_REASON;
}

struct source_line {
  std::string function;
  std::string file;  // empty: not known
  std::string line;
};

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return status == 0 ? std::string(text.get()) : std::string(name);
}

// The name of a function without its scopes and parameters: "a::b::run(int) const" is "run()".
std::string short_name(std::string function) {
  if (function.find("operator()") != std::string::npos) return "operator()";
  const std::string unnamed = "(anonymous namespace)::";
  for (std::size_t at = 0; (at = function.find(unnamed)) != std::string::npos;) {
    function.erase(at, unnamed.size());
  }
  const std::string text = function.substr(0, function.find('('));
  const std::size_t begin = text.find_last_of(" :");
  return (begin == std::string::npos ? text : text.substr(begin + 1)) + "()";
}

// The lines of addresses in the module, each with those of the functions that are inlined there,
// innermost first.
std::vector<source_line> ask_addr2line(const char* module,
                                       const std::vector<std::uintptr_t>& addresses) {
  std::string command = "addr2line -Cfi -e '" + std::string(module) + "'";
  for (const std::uintptr_t each : addresses) {
    char text[32];
    std::snprintf(text, sizeof text, " 0x%zx", static_cast<std::size_t>(each));
    command += text;
  }
  command += " 2>/dev/null";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(::popen(command.c_str(), "r"),
                                                            &::pclose);
  std::vector<source_line> lines;
  char text[4096];
  while (out && std::fgets(text, sizeof text, out.get()) != nullptr) {
    source_line& each = lines.emplace_back();
    each.function = std::string(text, std::strcspn(text, "\n"));
    if (std::fgets(text, sizeof text, out.get()) == nullptr) break;
    const std::string place(text, std::strcspn(text, " \n"));
    const std::size_t colon = place.rfind(':');
    if (colon == std::string::npos || place.starts_with("??")) continue;
    each.line = place.substr(colon + 1);
    if (each.line != "?" && each.line != "0") each.file = place.substr(0, colon);
  }
  return lines;
}

// The folder of this tree by which the line tables name its files.
const std::string& own_folder() {
  static const std::string folder = [] {
    Dl_info in{};
    const auto self = reinterpret_cast<std::uintptr_t>(&capture_stack);
    if (dladdr(reinterpret_cast<void*>(self), &in) == 0) return std::string();
    const auto* const elf = static_cast<const ElfW(Ehdr)*>(in.dli_fbase);
    const std::uintptr_t base =
        elf->e_type == ET_DYN ? reinterpret_cast<std::uintptr_t>(in.dli_fbase) : 0;
    const auto lines = ask_addr2line(in.dli_fname, {self - base});
    const char* const here = "tools/harness/call_place.cc";
    if (lines.empty() || !lines[0].file.ends_with(here)) return std::string();
    return lines[0].file.substr(0, lines[0].file.size() - std::strlen(here));
  }();
  return folder;
}

bool is_of_library(const std::string& file) {
  if (file.find("/include/c++/") != std::string::npos) return true;
  for (const char* each : {"runtime/", "mach/", "net/", "tools/harness/"}) {
    if (!own_folder().empty() && file.starts_with(own_folder() + each)) return true;
    if (file.find("/kedge/" + std::string(each)) != std::string::npos) return true;
  }
  return false;
}

// A module of the C or C++ library, which may have line tables too.
bool is_of_system(const char* module) {
  for (const char* each : {"/libc.so", "/libstdc++.so", "/libc++", "/libgcc_s.so", "/libm.so",
                           "/ld-linux", "linux-vdso"}) {
    if (std::strstr(module, each) != nullptr) return true;
  }
  return false;
}

// Without line tables: by the name.
bool is_function_of_library(const std::string& name) {
  for (const char* each :
       {"??", "kedge", "std::", "mach_", "bootstrap_", "semaphore_", "kevent", "nanosleep",
        "clock_nanosleep", "sleep", "usleep", "void std::", "int std::", "_start", "decltype"}) {
    if (name.starts_with(each)) return true;
  }
  return name.find("kedge::harness::") != std::string::npos;
}

}  // namespace

std::vector<void*> capture_stack() {
  std::vector<void*> frames;
  frames.reserve(deepest);
  _Unwind_Backtrace(take_frame, &frames);
  return frames;
}

std::string place_of(const std::vector<void*>& stack) {
  Dl_info of_program{};
  const auto self = reinterpret_cast<std::uintptr_t>(&capture_stack);
  if (dladdr(reinterpret_cast<void*>(self), &of_program) == 0) return {};
  // The frames module by module: a program that is loaded into this one has its own.
  for (std::size_t at = 0; at < stack.size();) {
    Dl_info in{};
    if (dladdr(stack[at], &in) == 0) {
      ++at;
      continue;
    }
    const auto* const elf = static_cast<const ElfW(Ehdr)*>(in.dli_fbase);
    const std::uintptr_t base =
        elf->e_type == ET_DYN ? reinterpret_cast<std::uintptr_t>(in.dli_fbase) : 0;
    const void* const module = in.dli_fbase;
    const char* const file = in.dli_fname;
    std::vector<std::uintptr_t> addresses;
    for (; at < stack.size() && dladdr(stack[at], &in) != 0 && in.dli_fbase == module; ++at) {
      // The call, and not what follows it.
      addresses.push_back(reinterpret_cast<std::uintptr_t>(stack[at]) - 1 - base);
    }
    if (is_of_system(file)) continue;
    const std::vector<source_line> lines = ask_addr2line(file, addresses);
    const bool has_lines =
        std::ranges::any_of(lines, [](const source_line& each) { return !each.file.empty(); });
    for (const source_line& each : lines) {
      if (each.file.empty()) {
        if (has_lines || module != of_program.dli_fbase) continue;
        if (is_function_of_library(each.function)) continue;
        return short_name(each.function);
      }
      if (is_of_library(each.file)) continue;
      return short_name(each.function) + " at " + each.file.substr(each.file.rfind('/') + 1) + ":" +
             each.line;
    }
    if (module != of_program.dli_fbase) {
      for (const std::uintptr_t each : addresses) {
        if (dladdr(reinterpret_cast<void*>(each + base), &in) != 0 && in.dli_sname != nullptr) {
          return short_name(demangled(in.dli_sname));
        }
      }
    }
  }
  return {};
}

#endif

}  // namespace kedge::harness
