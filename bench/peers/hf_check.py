#!/usr/bin/env python3
"""Exported Hugging Face folders in isoflop and in transformers, and folders of transformers in isoflop.

  hf_check.py --isoflop build/release/isoflop [--text FILE] [MODEL...]

MODELs (run folders, checkpoints, GGUF files) are exported as folders in fp32; transformers loads each, which must
report no missing or unexpected weight, and its token ids and the loss of every token are compared with those of
isoflop on MODEL itself. Then folders that transformers makes (random GPT2, GPTNeoX and Llama models: tied and
untied, grouped heads, rotary scaling, bf16, several files) are scored by isoflop, imported, exported again, and
their tensors compared byte for byte. Prints a table in Markdown; exit 1 when ids differ, a loss or logit is off
by more than 1e-4, or a byte differs. Needs torch, transformers and safetensors (scripts/peer_env, then
pip install transformers safetensors).
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error",
                  TOKENIZERS_PARALLELISM="false", HF_HUB_DISABLE_PROGRESS_BARS="1")
import safetensors.torch  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

TOLERANCE = 1e-4
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
         "max_position_embeddings": 64, "vocab_size": 300}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 700.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 512}
GPT2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 300}
MADE = [  # what it is, class, configuration, dtype, largest file
    ("GPT2, tied", "GPT2", GPT2, torch.float32, "1GB"),
    ("GPT2, untied, erf GELU", "GPT2", {**GPT2, "tie_word_embeddings": False, "activation_function": "gelu"},
     torch.float32, "1GB"),
    ("GPTNeoX, a quarter rotated, erf GELU", "GPTNeoX", SMALL, torch.float32, "1GB"),
    ("GPTNeoX, all rotated, tied, linear scaling", "GPTNeoX",
     {**SMALL, "hidden_act": "gelu_new", "tie_word_embeddings": True, "rope_parameters":
      {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0, "partial_rotary_factor": 1.0}},
     torch.float32, "1GB"),
    ("Llama, untied", "Llama", SMALL, torch.float32, "1GB"),
    ("Llama, tied, 2 key heads, llama3 scaling", "Llama",
     {**SMALL, "tie_word_embeddings": True, "num_key_value_heads": 2, "rope_parameters": LLAMA3},
     torch.float32, "1GB"),
    ("Llama, 2 key heads, several files", "Llama", {**SMALL, "num_key_value_heads": 2}, torch.float32, "60KB"),
    ("Llama, bf16, heads of 32", "Llama", {**SMALL, "head_dim": 32}, torch.bfloat16, "1GB"),
    ("GPT2, f16", "GPT2", GPT2, torch.float16, "1GB"),
]


def run(arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def load(folder):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True, dtype=torch.float32,
        attn_implementation="eager")
    trouble = {key: value for key, value in info.items() if value}
    if trouble:
        sys.exit(f"{folder}: {trouble}")
    return model.eval()


def losses(model, ids):
    """Of ids[1:], in windows as isoflop eval takes them: context + 1 ids, one shared between neighbours."""
    context, result = model.config.max_position_embeddings, []
    with torch.inference_mode():
        for first in range(0, len(ids) - 1, context):
            window = torch.tensor(ids[first:first + context + 1])
            logits = model(input_ids=window[None, :-1]).logits[0].double()
            result += torch.nn.functional.cross_entropy(logits, window[1:], reduction="none").tolist()
    return result


def tensors_of(folder):
    result = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        result.update(safetensors.torch.load_file(file))
    return result


def raw(tensor):
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def score(program, model, text):
    return run([program, "eval", model, "--text", text, "--per-token", "--json"])


def check_export(options, model, folder):
    run([options.isoflop, "export", model, "--hf", folder, "--verify", "--json"])
    ours = score(options.isoflop, model, options.text)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = pathlib.Path(options.text).read_text()
    theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
    ends = ours["ids"][-1] == tokenizer.eos_token_id
    body = ours["ids"][:-1] if ends else ours["ids"]
    same_ids = theirs[-len(body):] == body
    loaded = load(folder)
    first = [ours["ids"][-1]] if ends else theirs[:1]
    worst = max(abs(a - b) for a, b in zip(ours["nll"], losses(loaded, first + ours["ids"])))
    kind = f"{type(loaded).__name__}, {'tied' if loaded.config.tie_word_embeddings else 'untied'}"
    return kind, len(ours["ids"]), same_ids, worst, "", same_ids and worst <= TOLERANCE


def check_made(options, row, folder):
    what, name, keys, dtype, shard = row
    torch.manual_seed(1)
    config = getattr(transformers, name + "Config")(**keys, initializer_range=0.1)
    model = getattr(transformers, {"GPT2": "GPT2LMHeadModel"}.get(name, name + "ForCausalLM"))(config)
    for parameter in model.parameters():  # biases and gains as well
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, parameter.mean().item(), 0.1)
    model.to(dtype).save_pretrained(folder / "theirs", max_shard_size=shard)
    options.tokenizer_of_bytes(folder / "theirs")
    ours = score(options.isoflop, folder / "theirs", options.text)
    worst = max(abs(a - b) for a, b in
                zip(ours["nll"], losses(load(folder / "theirs"), [ours["ids"][-1]] + ours["ids"])))
    short = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}[dtype]
    run([options.isoflop, "import", folder / "theirs", "--out", folder / "run", "--json"])
    run([options.isoflop, "export", folder / "run", "--hf", folder / "again", "--dtype", short, "--json"])
    was, now = tensors_of(folder / "theirs"), tensors_of(folder / "again")
    same = was.keys() == now.keys() and all(
        was[key].dtype == now[key].dtype and was[key].shape == now[key].shape and raw(was[key]) == raw(now[key])
        for key in was)
    files = len(list((folder / "theirs").glob("*.safetensors")))
    return f"{what} ({files} file{'s' if files > 1 else ''})", len(ours["ids"]), "", worst, same, \
        same and worst <= TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isoflop", required=True)
    parser.add_argument("--text", help="a short file; default: four lines with letters of several scripts")
    parser.add_argument("models", nargs="*")
    options = parser.parse_args()
    torch.set_num_threads(2)
    failed = False
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        if not options.text:
            options.text = work / "text.txt"
            options.text.write_text("The sea was calm.  It had rained, 12 times in 1899;\nshe'd said so.\n"
                                    "Ein schöner Tag, на море.\n\tdef f(x): return x\n")
        (work / "bytes.txt").write_text("abc")
        run([options.isoflop, "tokenizer", "train", "--kind", "bytes", "--out", work / "tokenizer.json",
             work / "bytes.txt", "--json"])
        options.tokenizer_of_bytes = lambda folder: (folder / "tokenizer.json").write_text(
            (work / "tokenizer.json").read_text())
        print(f"transformers {transformers.__version__}, torch {torch.__version__}\n")
        print("| folder | tokens | same ids | largest difference of a loss | tensors back byte for byte |")
        print("| --- | --- | --- | --- | --- |")
        rows = [(check_export, model) for model in options.models] + [(check_made, row) for row in MADE]
        for number, (check, what) in enumerate(rows):
            folder = work / str(number)
            if check is check_made:
                folder.mkdir()
            kind, tokens, ids, worst, same, good = check(options, what, folder)
            words = {True: "yes", False: "**no**", "": ""}
            print(f"| {kind} | {tokens} | {words[ids]} | {worst:.1e} | {words[same]} |", flush=True)
            failed = failed or not good
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
