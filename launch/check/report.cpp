#include "launch/check/report.hpp"

#include "report/humanize.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <set>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;
using Text = std::string RankReport::*;
using Rate = double RankReport::*;

constexpr size_t kMostInMatrix = 16;  // ranks whose links are shown one by one

double middle(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n == 0 ? 0 : (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/// The value that most ranks have; of equally many, that of the lowest rank.
std::string usual(const std::vector<RankReport>& ranks, Text what) {
  std::map<std::string, int> counts;
  for (const RankReport& rank : ranks) ++counts[rank.*what];
  const RankReport* best = &ranks.front();
  for (const RankReport& rank : ranks)
    if (counts[rank.*what] > counts[best->*what]) best = &rank;
  return best->*what;
}

class Judge {
 public:
  explicit Judge(const CheckReport& report) : report_(report) {}

  std::vector<CheckFinding> run() {
    for (size_t i = 0; i < report_.ranks.size(); ++i)
      if (!report_.ranks[i].trouble.empty())
        add(CheckFinding::Kind::differs, i, report_.ranks[i].trouble);
    same("program", &RankReport::program);
    same("config", &RankReport::config);
    same("data", &RankReport::data);
    same("kernels", &RankReport::kernels);
    bits();
    fast("matrix products", &RankReport::products);
    fast("memory traffic", &RankReport::memory);
    links();
    if (report_.together != report_.alone)
      findings_.push_back({CheckFinding::Kind::wrong,
                           {},
                           fmt::format("steps of all ranks end with parameters {}, the same steps "
                                       "of one rank with {}",
                                       report_.together, report_.alone)});
    return std::move(findings_);
  }

 private:
  void add(CheckFinding::Kind kind, size_t rank, const std::string& text) {
    findings_.push_back({kind,
                         {static_cast<int>(rank)},
                         fmt::format("rank {} on {}: {}", rank, report_.ranks[rank].host, text)});
  }

  void same(const char* name, Text what) {
    const std::string most = usual(report_.ranks, what);
    for (size_t i = 0; i < report_.ranks.size(); ++i) {
      const RankReport& rank = report_.ranks[i];
      if (rank.*what != most && rank.trouble.empty())
        add(CheckFinding::Kind::differs, i,
            fmt::format("its {} ({}) is not that of the others ({})", name, rank.*what, most));
    }
  }

  void bits() {
    if (!alike(report_)) return;  // other kernels, other bits
    for (size_t i = 0; i < report_.ranks.size(); ++i) {
      const RankReport& rank = report_.ranks[i];
      if (!rank.steady)
        add(CheckFinding::Kind::wrong, i, "the same work gave other bits when it was done again");
      else if (rank.product_bits != usual(report_.ranks, &RankReport::product_bits))
        add(CheckFinding::Kind::wrong, i, "its matrix products have other bits than the others'");
      else if (rank.sum_bits != usual(report_.ranks, &RankReport::sum_bits))
        add(CheckFinding::Kind::wrong, i, "its sums over memory have other bits than the others'");
    }
  }

  void fast(const char* name, Rate rate) {
    std::vector<double> all;
    for (const RankReport& rank : report_.ranks) all.push_back(rank.*rate);
    const double median = middle(all);
    for (size_t i = 0; i < all.size(); ++i)
      if (all[i] < kSlowRank * median)
        add(CheckFinding::Kind::slow, i,
            fmt::format("{} at {:.0f}% of the ranks' median", name, 100 * all[i] / median));
  }

  bool within_host(const LinkReport& link) const {
    return report_.ranks[static_cast<size_t>(link.a)].host ==
           report_.ranks[static_cast<size_t>(link.b)].host;
  }

  void links() {
    for (const bool within : {true, false}) {
      std::vector<double> rates;
      for (const LinkReport& link : report_.links)
        if (within_host(link) == within) rates.push_back(link.bytes_per_s);
      const double median = middle(rates);
      for (const LinkReport& link : report_.links) {
        if (within_host(link) != within) continue;
        const std::string between = fmt::format("between ranks {} and {} ({} and {}) ", link.a,
                                                link.b, host(link.a), host(link.b));
        if (!link.intact)
          findings_.push_back(
              {CheckFinding::Kind::wrong, {link.a, link.b}, between + "bytes arrive changed"});
        else if (link.bytes_per_s < kSlowLink * median)
          findings_.push_back({CheckFinding::Kind::slow,
                               {link.a, link.b},
                               between + fmt::format("bytes go at {:.0f}% of the median",
                                                     100 * link.bytes_per_s / median)});
      }
    }
  }
  const std::string& host(int rank) const { return report_.ranks[static_cast<size_t>(rank)].host; }

  const CheckReport& report_;
  std::vector<CheckFinding> findings_;
};

const char* name_of(CheckFinding::Kind kind) {
  return kind == CheckFinding::Kind::slow    ? "slow"
         : kind == CheckFinding::Kind::wrong ? "wrong"
                                             : "differs";
}

std::string rate_text(double bytes_per_s) {
  return fmt::format("{:.3g}", bytes_per_s * 1e-9);
}

void add_matrix(const CheckReport& report, std::vector<std::string>& lines) {
  const size_t n = report.ranks.size();
  std::vector<std::vector<std::string>> cells(n, std::vector<std::string>(n, "-"));
  for (const LinkReport& link : report.links) {
    const auto a = static_cast<size_t>(link.a), b = static_cast<size_t>(link.b);
    cells[a][b] = rate_text(link.bytes_per_s);                // above the diagonal
    cells[b][a] = fmt::format("{:.0f}", link.latency * 1e6);  // below it
  }
  lines.push_back("links between ranks: above the diagonal GB/s each way, below it us one way");
  std::string head = "     ";
  for (size_t b = 0; b < n; ++b) head += fmt::format("{:>8}", b);
  lines.push_back(head);
  for (size_t a = 0; a < n; ++a) {
    std::string line = fmt::format("{:>5}", a);
    for (size_t b = 0; b < n; ++b) line += fmt::format("{:>8}", cells[a][b]);
    lines.push_back(line);
  }
}

void add_summary(const CheckReport& report, std::vector<std::string>& lines) {
  std::vector<double> rates, latencies;
  for (const LinkReport& link : report.links) {
    rates.push_back(link.bytes_per_s);
    latencies.push_back(link.latency);
  }
  lines.push_back(fmt::format(
      "{} links between ranks: {} to {} GB/s each way, median {}; {:.0f} to {:.0f} us one way",
      rates.size(), rate_text(*std::min_element(rates.begin(), rates.end())),
      rate_text(*std::max_element(rates.begin(), rates.end())), rate_text(middle(rates)),
      1e6 * *std::min_element(latencies.begin(), latencies.end()),
      1e6 * *std::max_element(latencies.begin(), latencies.end())));
}

}  // namespace

bool alike(const CheckReport& report) {
  const RankReport& first = report.ranks.front();
  return std::all_of(report.ranks.begin(), report.ranks.end(), [&](const RankReport& rank) {
    return rank.trouble.empty() && rank.program == first.program && rank.config == first.config &&
           rank.data == first.data && rank.kernels == first.kernels;
  });
}

std::vector<CheckFinding> judge(const CheckReport& report) {
  return Judge(report).run();
}

ExitCode code_of(const std::vector<CheckFinding>& findings) {
  for (const CheckFinding& finding : findings)
    if (finding.kind == CheckFinding::Kind::wrong) return ExitCode::kIo;
  return findings.empty() ? ExitCode::kDone : ExitCode::kGate;
}

Json json_of(const RankReport& rank) {
  return {{"host", rank.host},
          {"program", rank.program},
          {"kernels", rank.kernels},
          {"config", rank.config},
          {"data", rank.data},
          {"trouble", rank.trouble},
          {"products_gflops", rank.products * 1e-9},
          {"memory_gb_per_s", rank.memory * 1e-9},
          {"product_bits", rank.product_bits},
          {"sum_bits", rank.sum_bits},
          {"steady", rank.steady}};
}

RankReport rank_report_of(const Json& json) {
  return {.host = json.at("host"),
          .program = json.at("program"),
          .kernels = json.at("kernels"),
          .config = json.at("config"),
          .data = json.at("data"),
          .trouble = json.at("trouble"),
          .products = json.at("products_gflops").get<double>() * 1e9,
          .memory = json.at("memory_gb_per_s").get<double>() * 1e9,
          .product_bits = json.at("product_bits"),
          .sum_bits = json.at("sum_bits"),
          .steady = json.at("steady")};
}

Json json_of(const CheckReport& report, const std::vector<CheckFinding>& findings) {
  Json json = {{"pass", findings.empty()},
               {"findings", Json::array()},
               {"ranks", Json::array()},
               {"links", Json::array()},
               {"parameters_together", report.together},
               {"parameters_alone", report.alone}};
  for (const CheckFinding& finding : findings)
    json["findings"].push_back(
        {{"kind", name_of(finding.kind)}, {"ranks", finding.ranks}, {"text", finding.text}});
  for (const RankReport& rank : report.ranks) json["ranks"].push_back(json_of(rank));
  for (const LinkReport& link : report.links)
    json["links"].push_back({{"ranks", {link.a, link.b}},
                             {"gb_per_s", link.bytes_per_s * 1e-9},
                             {"latency_us", link.latency * 1e6},
                             {"intact", link.intact}});
  return json;
}

std::vector<std::string> table_of(const CheckReport& report) {
  std::vector<std::string> lines;
  lines.push_back(fmt::format("{:>5} {:<20} {:<16} {:<16} {:<16} {:>9} {:>7}", "rank", "host",
                              "program", "config", "data", "GFLOP/s", "GB/s"));
  for (size_t i = 0; i < report.ranks.size(); ++i) {
    const RankReport& rank = report.ranks[i];
    lines.push_back(fmt::format("{:>5} {:<20} {:<16} {:<16} {:<16} {:>9.1f} {:>7.1f}", i, rank.host,
                                rank.program, rank.config, rank.data, rank.products * 1e-9,
                                rank.memory * 1e-9));
  }
  std::set<std::string> kernels;
  for (const RankReport& rank : report.ranks) kernels.insert(rank.kernels);
  for (const std::string& name : kernels)
    if (!name.empty()) lines.push_back("kernels: " + name);
  if (report.links.empty()) return lines;
  report.ranks.size() <= kMostInMatrix ? add_matrix(report, lines) : add_summary(report, lines);
  return lines;
}

}  // namespace isoflop
