#include "launch/doctor.hpp"

#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>

namespace isoflop {

namespace {

ExitCode run(const std::string& out, const Context& context) {
  ComputeConfig cpu;
  cpu.device = "cpu";
  const Machine machine(cpu);
  const std::vector<Finding> findings = examine_machine({}, out, machine);
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  Health worst = Health::ok;
  for (const Finding& finding : findings) {
    context.print("{:<8} {}: {}{}", name_of(finding.health), finding.name, finding.text,
                  finding.advice.empty() ? "" : "\n         -> " + finding.advice);
    list.push_back({{"name", finding.name},
                    {"health", name_of(finding.health)},
                    {"text", finding.text},
                    {"advice", finding.advice}});
    worst = std::max(worst, finding.health);
  }
  context.result({{"health", name_of(worst)}, {"findings", list}});
  return worst == Health::fatal ? ExitCode::kIo : ExitCode::kDone;
}

Action declare(Flags& app, Context& context) {
  auto out = std::make_shared<std::string>(".");
  app.add_option("--out", *out, "folder where runs would be written");
  return [out, &context] { return run(*out, context); };
}

}  // namespace

Command doctor_command() {
  return {"doctor", "what is wrong with this machine; exit 5 when no run can work on it",
          "isoflop doctor --out runs", declare};
}

}  // namespace isoflop
