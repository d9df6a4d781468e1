#include "launch/run_card.hpp"

#include "export/model_card.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/model/architecture.hpp"

namespace isoflop {

void write_run_card(const fs::path& model, const std::string& license, const Context& context) {
  std::vector<std::string> notes;
  const auto training = read_training_record(model, notes);
  if (!training) return;
  const CheckpointRef checkpoint = open_checkpoint(model, notes);
  const fs::path run = fs::absolute(checkpoint.folder).parent_path().parent_path();
  if (!fs::exists(run / "config.toml")) return;  // a checkpoint that was taken out of its run
  const RunConfig& config = training->config;
  const ModelCard card{.name = config.output.name,
                       .license = license,
                       .origin = checkpoint.folder.string(),
                       .parameters = parameter_count(make_param_table(config.model)),
                       .model = config.model,
                       .training = training};
  try {
    write_file_atomically(run / "MODEL_CARD.md", model_card_text(card));
  } catch (const Error& error) {
    notes.push_back(error.what());
  }
  for (const std::string& note : notes) context.note("{}", note);
}

}  // namespace isoflop
