#include "pretrain/config/fields.hpp"

#include "pretrain/config/field_kinds.hpp"
#include "pretrain/config/nearest.hpp"

#include <fmt/format.h>

#include <limits>

namespace isoflop {

namespace {

constexpr double kMost = 9007199254740992;  // 2^53: integers a double holds exactly
constexpr double kTiny = std::numeric_limits<double>::min();
constexpr double kHuge = std::numeric_limits<double>::max();

Field integer(std::string key, double lowest, double highest, std::string help) {
  Field field;
  field.key = std::move(key);
  field.kind = FieldKind::integer;
  field.lowest = lowest;
  field.highest = highest;
  field.help = std::move(help);
  return field;
}
Field real(std::string key, double lowest, double highest, std::string help) {
  Field field = integer(std::move(key), lowest, highest, std::move(help));
  field.kind = FieldKind::real;
  return field;
}
Field tokens(std::string key, std::string help) {
  Field field = integer(std::move(key), 1, kHuge, std::move(help));
  field.kind = FieldKind::tokens;
  return field;
}
Field boolean(std::string key, std::string help) {
  Field field = integer(std::move(key), 0, 1, std::move(help));
  field.kind = FieldKind::boolean;
  return field;
}
Field text(std::string key, std::vector<std::string> choices, std::string help) {
  Field field = integer(std::move(key), 0, 0, std::move(help));
  field.kind = FieldKind::text;
  field.choices = std::move(choices);
  return field;
}
Field entries(std::string key, std::string extra, std::string help) {
  Field field = text(std::move(key), {std::move(extra)}, std::move(help));
  field.kind = FieldKind::entries;
  return field;
}

Field frozen(Field field) {
  field.frozen = true;
  return field;
}
Field automatic(Field field) {
  field.zero = Zero::automatic;
  return field;
}
Field optional(Field field) {
  field.zero = Zero::unset;
  return field;
}

/// arch is an enum, and betas two members: the keys that no single member stands for.
Field arch_field() {
  Field field = frozen(text("model.arch", {"gpt3", "pythia", "llama"}, "architecture"));
  field.get = [](const RunConfig& config) -> Value {
    return std::string(name_of(config.model.arch));
  };
  field.set = [row = field](RunConfig& config, const Setting& setting) {
    const std::string name = as_text(row, setting);
    for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama})
      if (name == name_of(arch)) config.model.arch = arch;
  };
  return field;
}
Field betas_field() {
  Field field = frozen(real("optimizer.betas", 0, 0.9999999, "decay of the two moments"));
  field.kind = FieldKind::reals;
  field.get = [](const RunConfig& config) -> Value {
    return std::vector<double>{config.optimizer.beta1, config.optimizer.beta2};
  };
  field.set = [row = field](RunConfig& config, const Setting& setting) {
    const std::vector<double> betas = as_reals(row, setting);
    if (betas.size() != 2) refuse(row, setting);
    config.optimizer.beta1 = betas[0];
    config.optimizer.beta2 = betas[1];
  };
  return field;
}

void add_model(std::vector<Field>& list) {
  const auto add = [&list](Field field, auto member) {
    list.push_back(bind(std::move(field), at(&RunConfig::model, member)));
  };
  using M = ModelConfig;
  add(optional(text("model.preset", {}, "named shape and recipe that the other keys change")),
      &M::preset);
  add(frozen(
          optional(text("model.init", {},
                        "model to continue from, its shape included: a run folder, a checkpoint, "
                        "a GGUF file or a llama2.c .bin"))),
      &M::init);
  list.push_back(arch_field());
  add(frozen(integer("model.layers", 1, 1e5, "blocks")), &M::layers);
  add(frozen(integer("model.d_model", 1, 1e6, "width of the residual stream")), &M::d_model);
  add(frozen(integer("model.heads", 1, 1e5, "attention heads")), &M::heads);
  add(frozen(automatic(integer("model.kv_heads", 1, 1e5, "key/value heads; auto = heads"))),
      &M::kv_heads);
  add(frozen(
          automatic(integer("model.head_dim", 1, 1e5, "width of a head; auto = d_model / heads"))),
      &M::head_dim);
  add(frozen(automatic(
          integer("model.d_ff", 1, 1e7,
                  "width of the feed-forward part; auto = 4 d_model, in llama 8/3 d_model "
                  "rounded up to a multiple of 32"))),
      &M::d_ff);
  add(frozen(integer("model.context", 1, 1e8, "tokens in a sequence")), &M::context);
  add(frozen(automatic(integer("model.vocabulary", 1, 1e8,
                               "rows of the embedding table; auto = the tokenizer's size"))),
      &M::vocabulary);
  add(frozen(boolean("model.tied_embeddings", "one table for input and output")),
      &M::tied_embeddings);
  add(frozen(text("model.gelu", {"tanh", "erf"}, "form of GELU in gpt3 and pythia")), &M::gelu);
  add(frozen(real("model.norm_eps", kTiny, 1, "epsilon of the norms")), &M::norm_eps);
  add(frozen(real("model.rope_base", 1, kHuge, "base of the rotary angles in pythia and llama")),
      &M::rope_base);
  add(frozen(automatic(real("model.rotary_fraction", kTiny, 1,
                            "part of a head that is rotated; auto = 0.25 in pythia, 1 in llama"))),
      &M::rotary_fraction);
  add(frozen(text("model.rope_scaling", {"none", "linear", "llama3"},
                  "stretches the rotary angles for contexts longer than trained on")),
      &M::rope_scaling);
  add(frozen(real("model.rope_scaling_factor", 1, 1e6, "by how much")), &M::rope_scaling_factor);
  add(frozen(integer("model.rope_original_context", 1, 1e8,
                     "context the model was trained for, for llama3 scaling")),
      &M::rope_original_context);
  add(frozen(
          text("model.initializer", {"gpt2", "plain", "neox"},
               "initialization. gpt2: normal with init_std, projections into the residual stream "
               "/ sqrt(2 layers); plain: all alike; neox: sqrt(2/(5 d_model)) and 2/(layers "
               "sqrt(d_model))")),
      &M::initializer);
  add(frozen(real("model.init_std", kTiny, kHuge,
                  "standard deviation at the start (model.initializer = \"gpt2\" or \"plain\")")),
      &M::init_std);
  add(frozen(real("model.embedding_multiplier", kTiny, kHuge, "on the embeddings")),
      &M::embedding_multiplier);
  add(frozen(real("model.residual_multiplier", kTiny, kHuge, "on what each branch adds")),
      &M::residual_multiplier);
  add(frozen(real("model.output_multiplier", kTiny, kHuge, "on the logits")),
      &M::output_multiplier);
  add(frozen(real("model.attention_multiplier", kTiny, kHuge, "on 1/sqrt(head_dim)")),
      &M::attention_multiplier);
  add(frozen(boolean("model.biases", "biases of linear maps and norms in gpt3 and pythia")),
      &M::biases);
  add(frozen(boolean("model.qk_norm", "RMSNorm on each head's queries and keys")), &M::qk_norm);
  add(frozen(real("model.z_loss", 0, 1,
                  "adds this times log(sum of exp(logits))^2 to the training loss; 1e-4 is usual")),
      &M::z_loss);
  add(frozen(real("model.logit_softcap", 0, kHuge,
                  "bends the logits to cap * tanh(logits / cap); 0 = off, 30 is usual")),
      &M::logit_softcap);
  add(frozen(boolean("model.document_mask", "attention does not cross documents of a window")),
      &M::document_mask);
  add(frozen(integer("model.separator", -1, 1e8,
                     "id that starts a document, for document_mask; -1 = the tokenizer's")),
      &M::separator);
}

void add_data(std::vector<Field>& list) {
  const auto add = [&list](Field field, auto member) {
    list.push_back(bind(std::move(field), at(&RunConfig::data, member)));
  };
  using D = DataConfig;
  add(frozen(
          optional(entries("data.train", "weight",
                           "token files, or text: files, folders, globs; weights say which share "
                           "of the sequences comes from each"))),
      &D::train);
  add(frozen(
          optional(entries("data.valid", "name",
                           "likewise; entries with a name make sets of their own beside the main "
                           "one; without any valid_fraction is held back"))),
      &D::valid);
  add(frozen(real("data.valid_fraction", 0, 0.5,
                  "part of the text held back, when data.valid is empty")),
      &D::valid_fraction);
  add(frozen(
          text("data.split", {"auto", "hash", "tail"},
               "hold back documents by hash, or the last part of each file; auto = tail under 20 "
               "documents")),
      &D::split);
  add(frozen(text("data.tokenizer", {}, "for text: bytes | chars | bpe:N | a tokenizer file")),
      &D::tokenizer);
  add(frozen(text("data.field", {}, "of JSON lines: the field that holds the text")), &D::field);
  add(frozen(integer("data.seed", 0, kMost, "of initialization and data order")), &D::seed);
}

void add_schedule(std::vector<Field>& list) {
  const auto add = [&list](Field field, auto member) {
    list.push_back(bind(frozen(std::move(field)), at(&RunConfig::schedule, member)));
  };
  using S = ScheduleConfig;
  add(optional(real("schedule.tokens_per_parameter", kTiny, 1e9,
                    "length of the run; 20 is compute-optimal")),
      &S::tokens_per_parameter);
  add(optional(tokens("schedule.tokens", "length of the run in tokens: 2.2e9 or \"2.2Gtok\"")),
      &S::tokens);
  add(optional(integer("schedule.steps", 1, kMost, "length of the run in steps")), &S::steps);
  add(optional(text("schedule.budget", {}, "length of the run in time: \"30m\", \"2h\"")),
      &S::budget);
  Field batch =
      tokens("schedule.batch_tokens", "tokens in a step = slots x k x micro_batch x context");
  batch.highest = kMost;
  add(std::move(batch), &S::batch_tokens);
  Field ramp = optional(tokens(
      "schedule.batch_ramp", "tokens over which steps grow to batch_tokens (GPT-3: 4e9 to 12e9)"));
  ramp.highest = kMost;
  add(std::move(ramp), &S::batch_ramp);
  Field from = optional(tokens("schedule.batch_ramp_from",
                               "tokens in the first step of a ramp (GPT-3: 32e3); not given = one "
                               "micro-batch a slot"));
  from.highest = kMost;
  add(std::move(from), &S::batch_ramp_from);
  add(automatic(integer("schedule.micro_batch", 1, 1e8,
                        "sequences computed at once; auto = as many as make up to 4096 tokens")),
      &S::micro_batch);
  add(automatic(integer(
          "schedule.slots", 1, 1e6,
          "parts of a step that ranks share; auto = up to 8 of at least 1024 tokens, or more "
          "for more ranks")),
      &S::slots);
  add(text("schedule.decay", {"linear", "cosine", "wsd", "constant"}, "shape after warm-up"),
      &S::decay);
  add(text("schedule.warmup", {},
           "linear rise from 0: \"1%\", \"375Mtok\", \"100steps\" or a number of steps"),
      &S::warmup);
  add(real("schedule.final_lr_fraction", 0, 1, "rate of the last step as part of the peak"),
      &S::final_lr_fraction);
  add(real("schedule.cooldown_fraction", 0, 1,
           "part of the steps that wsd spends falling, and that quantize takes"),
      &S::cooldown_fraction);
  add(text("schedule.quantize", {"none", "q4_0"},
           "in the last cooldown_fraction of the steps, the forward pass reads weights as a file "
           "of this type holds them; exporting that type then loses nothing"),
      &S::quantize);
}

void add_optimizer(std::vector<Field>& list) {
  const auto add = [&list](Field field, auto member) {
    list.push_back(bind(frozen(std::move(field)), at(&RunConfig::optimizer, member)));
  };
  using O = OptimizerConfig;
  add(text(
          "optimizer.kind", {"adamw", "muon"},
          "update rule; muon: matrices within blocks by orthogonalized momentum, all else by AdamW "
          "(docs/optimizers.md)"),
      &O::kind);
  add(real("optimizer.lr", kTiny, kHuge, "peak learning rate"), &O::lr);
  list.push_back(betas_field());
  add(real("optimizer.eps", 0, 1, "AdamW's epsilon"), &O::eps);
  add(real("optimizer.momentum", 0, 0.9999999, "decay of Muon's momentum"), &O::momentum);
  add(real("optimizer.weight_decay", 0, 1e3, "decoupled, on matrices and embeddings"),
      &O::weight_decay);
  add(real("optimizer.clip", 0, kHuge, "largest global gradient norm; 0 = off"), &O::clip);
  add(text(
          "optimizer.state", {"fp32", "bf16"},
          "type of AdamW's moments; bf16: half the memory, rounded at random (docs/optimizers.md)"),
      &O::state);
}

void add_parametrization(std::vector<Field>& list) {
  const auto add = [&list](Field field, auto member) {
    list.push_back(bind(frozen(std::move(field)), at(&RunConfig::parametrization, member)));
  };
  using P = ParametrizationConfig;
  add(text("parametrization.kind", {"sp", "mup", "completep"},
           "how initialization, rates, epsilon, decay and multipliers follow from the model's size "
           "(docs/parametrization.md)"),
      &P::kind);
  add(optional(integer("parametrization.base_d_model", 1, 1e6,
                       "d_model at which hyperparameters were tuned; needed by mup and completep")),
      &P::base_d_model);
  add(optional(integer("parametrization.base_d_ff", 1, 1e7,
                       "d_ff of the base model; not set = what d_ff is at base_d_model")),
      &P::base_d_ff);
  add(optional(integer("parametrization.base_layers", 1, 1e5,
                       "layers of the base model; needed by completep")),
      &P::base_layers);
  add(real("parametrization.alpha", 0, 1,
           "completep's depth exponent: branches count (layers / base_layers)^-alpha"),
      &P::alpha);
  add(text("parametrization.decay", {"independent", "coupled"},
           "independent: rate x decay is the same at every width; coupled: the coefficient is, as "
           "in published Cerebras-GPT"),
      &P::decay);
  add(text(
          "parametrization.epsilon", {"scaled", "fixed"},
          "scaled: AdamW's epsilon shrinks with the gradients; fixed as in published Cerebras-GPT"),
      &P::epsilon);
  add(real("parametrization.embedding_multiplier", kTiny, kHuge, "on the embeddings, at any size"),
      &P::embedding_multiplier);
  add(real("parametrization.residual_multiplier", kTiny, kHuge,
           "on what each branch adds, beside the depth rule"),
      &P::residual_multiplier);
  add(real("parametrization.output_multiplier", kTiny, kHuge,
           "on the logits, beside base_d_model / d_model"),
      &P::output_multiplier);
  add(real("parametrization.attention_multiplier", kTiny, kHuge,
           "on q.k / head_dim; sqrt(head_dim of the base model) makes that model's scale the usual "
           "one"),
      &P::attention_multiplier);
}

void add_rest(std::vector<Field>& list) {
  const auto add = [&list](Field field, auto section, auto member) {
    list.push_back(bind(std::move(field), at(section, member)));
  };
  const auto compute = &RunConfig::compute;
  const auto plan = &RunConfig::plan;
  const auto checkpoint = &RunConfig::checkpoint;
  const auto eval = &RunConfig::eval;
  const auto output = &RunConfig::output;
  add(text("compute.device", {"auto", "cuda", "cpu"},
           "what computes; auto = the CPU, until the GPU backend has been proven on a device"),
      compute, &ComputeConfig::device);
  add(frozen(
          text("compute.dtype", {"auto", "fp32", "bf16"},
               "type of activations and matrix products, parameters stay fp32; auto = bf16 where "
               "a measurement finds it clearly faster")),
      compute, &ComputeConfig::dtype);
  add(text("compute.bf16_kernel", {"auto", "amx", "avx512-bf16", "portable"},
           "what multiplies in bf16; auto = the fastest here"),
      compute, &ComputeConfig::bf16_kernel);
  add(automatic(integer("compute.threads", 1, 4096, "auto = the usable cores")), compute,
      &ComputeConfig::threads);
  add(text("compute.recompute", {"none", "cheap", "ffn", "block"},
           "what the backward computes again to save memory"),
      compute, &ComputeConfig::recompute);
  add(integer("parallel.tp", 1, 1024,
              "ranks that share each matrix; divides heads, kv_heads and d_ff. The number of ranks "
              "is a multiple of tp x pp"),
      &RunConfig::parallel, &ParallelConfig::tp);
  add(integer("parallel.pp", 1, 1024,
              "stages of the pipeline: each rank has a part of the blocks; the number of ranks is "
              "a multiple of it"),
      &RunConfig::parallel, &ParallelConfig::pp);
  add(integer("checkpoint.every", 0, kMost, "steps between checkpoints; 0 = only at the end"),
      checkpoint, &CheckpointConfig::every);
  add(integer("checkpoint.keep", 0, kMost, "checkpoints kept, newest first; 0 = all"), checkpoint,
      &CheckpointConfig::keep);
  add(integer("checkpoint.keep_every", 0, kMost,
              "steps between checkpoints that are kept for ever; 0 = none"),
      checkpoint, &CheckpointConfig::keep_every);
  add(text("checkpoint.schedule", {"none", "pythia"},
           "pythia: also keep steps 0, 1, 2, 4, ..., 512 and every 1000th for ever"),
      checkpoint, &CheckpointConfig::schedule);
  add(boolean("checkpoint.initial", "also save step 0, before training"), checkpoint,
      &CheckpointConfig::initial);
  const auto guard = &RunConfig::guard;
  add(text(
          "guard.spikes", {"off", "skip", "rewind"},
          "when loss or gradient norm jumps: skip the update, or go back to a checkpoint and leave "
          "out the batches around; values that are not finite never reach the parameters"),
      guard, &GuardConfig::spikes);
  add(real("guard.threshold", 1, 1e6,
           "a jump is this many standard deviations above the mean of the window"),
      guard, &GuardConfig::threshold);
  add(integer("guard.window", 8, 10000,
              "steps whose mean and deviation are looked at; judging begins with half of them"),
      guard, &GuardConfig::window);
  add(integer("guard.around", 0, 10000, "steps before and after a jump that a rewind leaves out"),
      guard, &GuardConfig::around);
  add(integer("guard.rewinds", 1, 1000, "rewinds after which the run ends with exit code 4"), guard,
      &GuardConfig::rewinds);
  const auto promise = [&](const char* key, const char* help, auto member) {
    add(optional(real(key, kTiny, kHuge, help)), plan, member);
  };
  promise("plan.loss", "loss that a plan promises of the finished run", &PlanConfig::loss);
  promise("plan.loss_low", "lower end of the plan's 80 % interval", &PlanConfig::loss_low);
  promise("plan.loss_high", "upper end", &PlanConfig::loss_high);
  promise("plan.floor", "the law's loss of this model after any number of tokens",
          &PlanConfig::floor);
  promise("plan.exponent", "the law's exponent of the tokens", &PlanConfig::exponent);
  add(optional(text("plan.law", {}, "the law that promises it")), plan, &PlanConfig::law);
  add(automatic(
          integer("eval.every", 1, kMost, "steps between validations; auto = 20 times a run")),
      eval, &EvalConfig::every);
  add(integer("eval.sample_every", 0, kMost, "steps between sample texts; 0 = never"), eval,
      &EvalConfig::sample_every);
  add(optional(text("eval.sample_prompt", {}, "how sample texts begin")), eval,
      &EvalConfig::sample_prompt);
  add(text("output.name", {},
           "name of the run; its folder is runs/NAME unless --out says otherwise"),
      output, &OutputConfig::name);
  add(integer("output.hash_every", 0, kMost,
              "steps between parameter hashes in metrics.jsonl; 0 = never"),
      output, &OutputConfig::hash_every);
  add(boolean("output.tensorboard", "write TensorBoard events"), output,
      &OutputConfig::tensorboard);
  add(boolean("output.prometheus", "write metrics.prom, for Prometheus' text file collector"),
      output, &OutputConfig::prometheus);
  add(integer("output.layer_stats_every", 0, kMost,
              "steps between statistics of each parameter (norms of weight and gradient, relative "
              "size of the update); 0 = never"),
      output, &OutputConfig::layer_stats_every);
}

std::string range_text(const Field& field, const char* noun) {
  const bool open = field.highest >= kMost || field.highest == kHuge;
  if (field.lowest == kTiny && open) return fmt::format("{} more than 0", noun);
  if (field.lowest == kTiny) return fmt::format("{} more than 0, at most {}", noun, field.highest);
  if (open) return fmt::format("{} of {} or more", noun, field.lowest);
  return fmt::format("{} from {} to {}", noun, field.lowest, field.highest);
}

}  // namespace

std::string Field::expects() const {
  std::string text;
  switch (kind) {
    case FieldKind::boolean:
      text = "true or false";
      break;
    case FieldKind::integer:
      text = range_text(*this, "a whole number");
      break;
    case FieldKind::real:
      text = range_text(*this, "a number");
      break;
    case FieldKind::tokens:
      text = "a number of tokens such as 2.2e9 or \"2.2Gtok\"";
      break;
    case FieldKind::reals:
      text = "two numbers such as [0.9, 0.95], each from 0 to below 1";
      break;
    case FieldKind::entries:
      text = fmt::format("a text or a list of texts or {{ path = ..., {} = ... }}", choices[0]);
      break;
    case FieldKind::text:
      if (choices.empty()) text = "text";
      for (const std::string& choice : choices)
        text += (text.empty() ? "\"" : " | \"") + choice + "\"";
      break;
  }
  return zero == Zero::automatic ? "\"auto\" or " + text : text;
}

std::string Field::default_text() const {
  const Value value = get(RunConfig{});
  const std::string text = to_toml(value);
  const bool empty = text == "0" || text == "\"\"" || text == "[]";
  if (zero == Zero::itself || !empty) return text;
  return zero == Zero::automatic ? "\"auto\"" : "";
}

const std::vector<Field>& config_fields() {
  static const std::vector<Field> fields = [] {
    std::vector<Field> list;
    add_model(list);
    add_data(list);
    add_schedule(list);
    add_optimizer(list);
    add_parametrization(list);
    add_rest(list);
    return list;
  }();
  return fields;
}

const Field* find_field(std::string_view key) {
  for (const Field& field : config_fields()) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

std::string nearest_key_hint(std::string_view key) {
  std::vector<std::string> keys, names;  // names: without their section
  for (const Field& field : config_fields()) {
    keys.push_back(field.key);
    names.push_back(field.key.substr(field.key.find('.') + 1));
  }
  // A right name in a wrong section, or in none, says more than letters in common.
  const std::string_view last = key.substr(key.rfind('.') + 1);
  const std::string name = nearest_word(last, names);
  std::string nearest = name == last ? "" : nearest_word(key, keys);
  for (size_t i = 0; nearest.empty() && !name.empty() && i < names.size(); ++i) {
    if (names[i] == name) nearest = keys[i];
  }
  if (!nearest.empty()) return fmt::format("did you mean {}?", nearest);
  return "docs/config.md lists all keys, and so does isoflop inspect --keys";
}

}  // namespace isoflop
