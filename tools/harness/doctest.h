// doctest: lets a failed CHECK fail its seed, so that it has the report. Include it in each file of
// tests that calls explore(). doctest itself is the test's: the harness brings none.
//
//     #include <kedge/tools/harness/doctest.h>
#pragma once

#include <doctest/doctest.h>

#include <string>

#include "kedge/tools/harness/explore.h"
#include "kedge/tools/harness/process.h"

namespace kedge::harness::detail {

class check_listener final : public doctest::IReporter {
 public:
  explicit check_listener(const doctest::ContextOptions&) {}
  void log_assert(const doctest::AssertData& a) override {
    if (!a.m_failed) return;
    std::string text =
        std::string("CHECK FAILED: ") + a.m_expr + ", " + a.m_file + ":" + std::to_string(a.m_line);
    const char* const values = a.m_decomp.c_str();
    if (*values != 0) text += std::string("\n  values: ") + values;
    note_failed_check(text);
  }
  void test_case_start(const doctest::TestCaseData& t) override { name_test(t.m_name); }
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override { name_test({}); }
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

// Once, however many files include this.
inline const int check_listener_is_registered =
    doctest::registerReporter<check_listener>("kedge_harness", 1, false);

}  // namespace kedge::harness::detail

template <>
struct doctest::StringMaker<kedge::harness::condition> {
  static String convert(const kedge::harness::condition& c) {
    return kedge::harness::to_string(c).c_str();
  }
};
