#include "report/prometheus.hpp"

#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <optional>
#include <set>

namespace isoflop {
namespace {

/// A strict reader of the text format: HELP, then TYPE, then the samples of a metric, each metric
/// once; names of letters, digits, '_' and ':'; escaped labels; a line break at the very end.
class Reader {
 public:
  explicit Reader(std::string text) : text_(std::move(text)) {}

  std::map<std::string, double> values;
  std::map<std::string, std::string> labels;

  /// What is wrong first, or nothing.
  std::string read() {
    if (text_.empty() || text_.back() != '\n') return "the last line has no end";
    while (at_ < text_.size()) {
      const std::string error = metric();
      if (!error.empty()) return error + " at byte " + std::to_string(at_);
    }
    return "";
  }

 private:
  bool take(const std::string& word) {
    if (text_.compare(at_, word.size(), word) != 0) return false;
    at_ += word.size();
    return true;
  }
  std::string name() {
    const size_t start = at_;
    const auto is_letter = [](char c) { return std::isalpha(c) || c == '_' || c == ':'; };
    if (!is_letter(text_[at_])) return "";
    while (is_letter(text_[at_]) || std::isdigit(text_[at_])) ++at_;
    return text_.substr(start, at_ - start);
  }
  std::string metric() {
    if (!take("# HELP ")) return "no HELP";
    const std::string metric = name();
    if (metric.empty() || !take(" ")) return "no name after HELP";
    if (!seen_.insert(metric).second) return metric + " comes twice";
    at_ = text_.find('\n', at_) + 1;
    if (!take("# TYPE " + metric + " gauge\n")) return "no TYPE of " + metric;
    if (!take(metric)) return "no sample of " + metric;
    if (take("{")) {
      const std::string label = name();
      if (label.empty() || !take("=\"")) return "a label without a value";
      std::string value;
      for (; text_[at_] != '"'; ++at_) {
        if (text_[at_] == '\n') return "a line break in a label";
        if (text_[at_] == '\\') {
          const char c = text_[++at_];
          if (c != '\\' && c != '"' && c != 'n') return "an unknown escape";
          value += c == 'n' ? '\n' : c;
        } else {
          value += text_[at_];
        }
      }
      if (!take("\"}")) return "a label without an end";
      labels[label] = value;
    }
    if (!take(" ")) return "no blank before the value";
    const size_t end = text_.find('\n', at_);
    const std::string number = text_.substr(at_, end - at_);
    size_t used = 0;
    const bool special = number == "NaN" || number == "+Inf" || number == "-Inf";
    values[metric] = special && number == "NaN" ? std::nan("") : std::stod(number, &used);
    if (!special && used != number.size()) return "'" + number + "' is no number";
    at_ = end + 1;
    return "";
  }

  std::string text_;
  size_t at_ = 0;
  std::set<std::string> seen_;
};

class Prometheus : public FolderTest {
 protected:
  Reader read() const { return Reader(read_file(path("metrics.prom"))); }
};

TEST_F(Prometheus, IsReadBackByAStrictReader) {
  PrometheusFile file(path(""), "a \"run\"\\of\nmine", 0);
  const Metric metrics[] = {{"train/loss", 3.25},
                            {"optim/lr", 1e-3},
                            {"valid/loss", 3.5},
                            {"optim/grad_norm", 1 / 0.0},
                            {"something/new-1", std::nan("")},
                            {"layer/blocks.0.weight/grad_norm", 1}};
  ASSERT_TRUE(file.update(7, 100, metrics));
  Reader reader = read();
  ASSERT_EQ(reader.read(), "");
  EXPECT_EQ(reader.labels["run"], "a \"run\"\\of\nmine");
  EXPECT_EQ(reader.values["isoflop_train_step"], 7);
  EXPECT_EQ(reader.values["isoflop_train_steps_planned"], 100);
  EXPECT_EQ(reader.values["isoflop_train_loss"], 3.25);
  EXPECT_EQ(reader.values["isoflop_optim_lr"], 1e-3);
  EXPECT_TRUE(std::isinf(reader.values["isoflop_optim_grad_norm"]));
  EXPECT_TRUE(std::isnan(reader.values["isoflop_something_new_1"]));
  EXPECT_EQ(reader.values.count("isoflop_layer_blocks_0_weight_grad_norm"), 0u);

  const Metric next[] = {{"train/loss", 3.0}};
  ASSERT_TRUE(file.update(8, 100, next));
  Reader again = read();
  ASSERT_EQ(again.read(), "");
  EXPECT_EQ(again.values["isoflop_train_loss"], 3.0);
  EXPECT_EQ(again.values["isoflop_valid_loss"], 3.5) << "stays until there is a newer one";
}

TEST_F(Prometheus, WritesOncePerIntervalAndAlwaysTheLastStep) {
  PrometheusFile file(path(""), "run", 1e9);
  const Metric metrics[] = {{"train/loss", 3}};
  const auto step = [&] {
    Reader reader = read();
    EXPECT_EQ(reader.read(), "");
    return reader.values["isoflop_train_step"];
  };
  file.update(1, 3, metrics);
  file.update(2, 3, metrics);
  EXPECT_EQ(step(), 1);
  file.update(3, 3, metrics);
  EXPECT_EQ(step(), 3);
}

TEST_F(Prometheus, AFolderThatIsGoneIsSaidNotThrown) {
  PrometheusFile file(path("absent"), "run", 0);
  EXPECT_FALSE(file.update(1, 1, {}));
}

TEST(PrometheusReader, IsStrict) {
  const std::string good = "# HELP a b\n# TYPE a gauge\na{run=\"x\"} 1\n";
  EXPECT_EQ(Reader(good).read(), "");
  for (const std::string& bad : {good.substr(0, good.size() - 1), good + good, good + "b 1\n",
                                 std::string("# HELP 1 b\n# TYPE 1 gauge\n1 1\n"),
                                 std::string("# HELP a b\n# TYPE a gauge\na 1x\n")})
    EXPECT_NE(Reader(bad).read(), "") << bad;
}

}  // namespace
}  // namespace isoflop
