#include "launch/supervise/slurm.hpp"

#include "core/error.hpp"
#include "launch/supervise/command_lines.hpp"

#include <cmath>

namespace isoflop {

namespace {

std::string line_of(const std::vector<std::string>& words) {
  return CommandLine{{}, words}.text();
}

}  // namespace

std::string slurm_script(const SlurmJob& job) {
  std::string text = "#!/bin/bash\n";
  const auto option = [&](const std::string& flag) { text += "#SBATCH " + flag + "\n"; };
  option("--job-name=" + job.name);
  option(fmt::format("--nodes={}", job.nodes));
  option(fmt::format("--ntasks={}", job.ranks));
  option(fmt::format("--signal=B:USR1@{:.0f}", std::ceil(job.grace)));
  option("--requeue");
  option("--open-mode=append");
  option("--output=" + (job.run / "logs" / "slurm-%j.out").string());
  for (const std::string& flag : job.flags) option(flag);
  text += fmt::format(
      R"sh(
cd {folder} || exit 2
run={run}
newest() {{ cat "$run/checkpoints/latest" 2>/dev/null; }}
before=$(newest)

# A run that has begun goes on with the config that it has stored.
if [ -f "$run/config.toml" ] && [ "${{SLURM_RESTART_COUNT:-0}}" -gt 0 ]; then
  {resume} &
else
  {first} &
fi
launcher=$!

# Slurm's early signal reaches this shell alone. The launcher passes it on; the ranks finish
# their step, save, and leave with 75.
trap 'kill -USR1 "$launcher" 2>/dev/null' USR1 TERM
while true; do
  wait "$launcher"
  code=$?
  [ "$code" -gt 128 ] && kill -0 "$launcher" 2>/dev/null || break
done
[ "$code" -gt 128 ] && {{ wait "$launcher"; code=$?; }}

# Stopped and saved: on with it when there is room again. The same after a failure that the nodes
# of this job could not recover from, as long as there is a new checkpoint each time.
if [ "$code" = 75 ] || {{ [ "$code" = 5 ] && [ "$(newest)" != "$before" ]; }}; then
  echo "exit code $code: queued again"
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
)sh",
      fmt::arg("folder", shell_quoted(job.folder)), fmt::arg("run", shell_quoted(job.run.string())),
      fmt::arg("first", line_of(job.first_words)), fmt::arg("resume", line_of(job.resume_words)));
  return text;
}

}  // namespace isoflop
