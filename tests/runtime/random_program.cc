// random_program: how programs are made, shrunk and printed. random_run.cc runs them.
#include "random_program.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace kedge {
namespace {

using kind = program_step::kind;
using block = program_step::block;

// --- Making --------------------------------------------------------------------------------------

class maker {
 public:
  explicit maker(std::uint32_t seed) : random_(seed) {}

  program make() {
    program p;
    p.root = make_block(4);
    p.how = static_cast<program::end>(below(3));
    p.turns = below(30);
    return p;
  }

 private:
  unsigned below(unsigned n) { return static_cast<unsigned>(random_() % n); }

  block make_block(unsigned depth) {
    block steps;
    for (unsigned left = 1 + below(4); left != 0 && budget_ != 0; --left) {
      --budget_;
      steps.push_back(make_step(depth));
    }
    return steps;
  }

  program_step make_step(unsigned depth) {
    constexpr unsigned leaves = static_cast<unsigned>(kind::select) + 1;
    constexpr unsigned all = static_cast<unsigned>(kind::at_exit_spawn) + 1;
    unsigned drawn = below(depth == 0 ? leaves : all + 4);
    if (drawn >= all) drawn = static_cast<unsigned>(kind::scope);  // more often
    program_step s(static_cast<kind>(drawn));
    if (s.what == kind::fail && below(4) != 0) s.what = kind::give;
    s.amount = below(is_time(s.what) ? 300 : 3);
    for (unsigned left = parts_of(s.what); left != 0; --left) {
      s.parts.push_back(make_block(depth - 1));
    }
    return s;
  }

  static bool is_time(kind k) {
    return k == kind::sleep || k == kind::timeout || k == kind::deadline || k == kind::cleanup;
  }

  unsigned parts_of(kind k) {
    switch (k) {
      case kind::scope:
      case kind::generate:
        return 1 + below(4);
      case kind::cleanup:
      case kind::all:
      case kind::any:
        return 2;
      case kind::spawn:
      case kind::timeout:
      case kind::deadline:
      case kind::attempt:
      case kind::shield:
      case kind::call:
      case kind::lock:
      case kind::acquire:
      case kind::at_exit_spawn:
        return 1;
      default:
        return 0;
    }
  }

  std::mt19937 random_;
  unsigned budget_ = 60;
};

// --- Shrinking and printing ----------------------------------------------------------------------

void collect(block& b, std::vector<block*>& found) {
  found.push_back(&b);
  for (program_step& s : b) {
    for (block& part : s.parts) collect(part, found);
  }
}

void print(std::string& out, const block& b, int depth) {
  static constexpr const char* names[] = {
      "yield",        "sleep",   "take",     "give",    "fail",         "cancel",
      "send",         "receive", "select",   "spawn",   "scope",        "timeout",
      "deadline",     "all",     "any",      "attempt", "shield",       "call",
      "lock",         "acquire", "generate", "cleanup", "at_exit_give", "at_exit_cancel",
      "at_exit_spawn"};
  for (const program_step& s : b) {
    out.append(static_cast<std::size_t>(2 * depth), ' ');
    out += names[static_cast<std::size_t>(s.what)];
    out += ' ' + std::to_string(s.amount) + '\n';
    for (const block& part : s.parts) {
      out.append(static_cast<std::size_t>(2 * depth + 1), ' ');
      out += "{\n";
      print(out, part, depth + 1);
      out.append(static_cast<std::size_t>(2 * depth + 1), ' ');
      out += "}\n";
    }
  }
}

}  // namespace

program make_program(std::uint32_t seed) {
  return maker(seed).make();
}

program shrink(program p, bool (*fails)(const program&)) {
  for (bool smaller = true; smaller;) {
    smaller = false;
    std::vector<block*> blocks;
    collect(p.root, blocks);
    for (std::size_t b = 0; b < blocks.size() && !smaller; ++b) {
      for (std::size_t i = 0; i < blocks[b]->size() && !smaller; ++i) {
        program candidate = p;
        std::vector<block*> copies;
        collect(candidate.root, copies);
        copies[b]->erase(copies[b]->begin() + static_cast<std::ptrdiff_t>(i));
        if (!fails(candidate)) continue;
        p = std::move(candidate);
        smaller = true;
      }
    }
  }
  return p;
}

std::string to_string(const program& p) {
  std::string out = "end " + std::to_string(static_cast<int>(p.how)) + " after " +
                    std::to_string(p.turns) + " turns\n";
  print(out, p.root, 0);
  return out;
}

}  // namespace kedge
