#!/usr/bin/env python3
"""Every architecture, tied and untied, under every parametrization, exported as every type and run in llama.cpp.

  every_export.py --isoflop build/release/isoflop --runtime runtime.py --text HELD_OUT [--work FOLDER] [--quantizer LIB]

Trains 18 small models (3 layers x 256, 60 steps on HELD_OUT's own words, which is enough for weights that are not
random), exports each as each type with a certificate, and loads each file in llama.cpp with its check of tensors.
Prints a table in Markdown: for the F32 file whether token ids and 16 greedy tokens are those of isoflop on the run
folder, and the largest difference of a token's loss; for every other type llama.cpp's perplexity over that of its own
F32 file, which has to keep the certificate's limit. With --quantizer also whether llama_model_quantize (in the library
LIB, llama_cpp_quantize.py whole) makes files of the same types; not for q4_k_s, q4_k_m and q5_k_m of gpt3
and pythia, where that of 2024 in gpt4all 2.8.2 treats the fused matrix of queries, keys and values in another way.
Exit 1 when anything is not as it should be.
RUNTIME as in llama_cpp.py. Needs gguf and numpy for --quantizer alone.
"""
import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
TYPES = ["f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0"]
CONTEXT = 64
KINDS = {"sp": [], "mup": ["parametrization.kind=mup", "parametrization.base_d_model=64"],
         "completep": ["parametrization.kind=completep", "parametrization.base_d_model=64",
                       "parametrization.base_layers=1"]}


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def last_json(text):
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else {}


def loss_in_llama_cpp(options, model):
    _, out, err = run(sys.executable, options.runtime, model, options.text, "--ctx", CONTEXT, "--threads", 1, "--kv",
                      "f32", "--nll-limit", 1, "--ngen", 1, "--bench", "0,0", "--max-tokens", 512)
    result = last_json(out)
    return math.log(result["ppl"]) if result.get("ok") else math.nan


def check_model(options, work, arch, tied, kind):
    """The cells of a row, and whether all is well."""
    name = f"{arch}-{'tied' if tied else 'untied'}-{kind}"
    folder, good = work / name, True
    config = [f"model.arch={arch}", "model.layers=3", "model.d_model=256", "model.heads=4", f"model.context={CONTEXT}",
              f"model.tied_embeddings={str(tied).lower()}", f"data.train={options.text}", "data.valid_fraction=0",
              "data.tokenizer=bpe:300", "schedule.steps=60", "schedule.batch_tokens=512", "optimizer.lr=4e-3",
              "compute.dtype=fp32", "compute.threads=1", "output.tensorboard=false"]
    code, _, err = run(options.isoflop, "train", "--quiet", "--out", folder, *config, *KINDS[kind])
    if code != 0:
        sys.exit(f"{name}: {err}")
    f32 = work / f"{name}-f32.gguf"
    cells = [arch, "tied" if tied else "untied", kind]
    run(options.isoflop, "export", folder, "--type", "f32", "--out", f32, "--text", options.text, "--tokens", 256)
    code, out, err = run(sys.executable, HERE / "llama_cpp.py", "--isoflop", options.isoflop, "--runtime",
                         options.runtime, "--model", f32, "--reference", folder, "--text", options.text, "--bytes", 80,
                         "--greedy", 16, "--tolerance", 5e-3)
    peer = last_json(out)
    good &= code == 0
    cells += ["yes" if peer.get("same_ids") else "NO", "yes" if peer.get("same_greedy") else "NO",
              f"{peer.get('max_nll_difference', math.nan):.0e}"]
    best = loss_in_llama_cpp(options, f32)
    files = []
    for kind_of_file in TYPES:
        file = work / f"{name}-{kind_of_file}.gguf"
        code, out, err = run(options.isoflop, "export", folder, "--type", kind_of_file, "--out", file, "--text",
                             options.text, "--tokens", 256, "--json")
        certificate = json.loads(out)["certificate"] if code == 0 else {}
        ratio = math.exp(loss_in_llama_cpp(options, file) - best) if code == 0 else math.nan
        holds = bool(certificate.get("pass")) and ratio <= certificate["limits"]["perplexity ratio"]
        good &= holds
        cells.append(f"{ratio:.4f}" + ("" if holds else " NO"))
        files.append(file)
    if options.quantizer:
        code, out, _ = run(sys.executable, HERE / "llama_cpp_quantize.py", "whole", "--library", options.quantizer,
                           "--source", f32, *[f for f, t in zip(files, TYPES) if t not in ("f16", "bf16") and
                                              (arch == "llama" or t not in ("q4_k_s", "q4_k_m", "q5_k_m"))])
        rows = [json.loads(line) for line in out.splitlines() if line.startswith('{"file"')]
        blocks, other = (sum(row[key] for row in rows) for key in ("blocks", "other_blocks"))
        good &= code == 0
        cells.append(f"{'yes' if code == 0 else 'NO'}, {other} of {blocks}")
    for file in [f32] + files:
        for path in (file, file.with_suffix(".certificate.json"), file.with_suffix(".Modelfile")):
            path.unlink(missing_ok=True)
    return cells, good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("isoflop", "runtime", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--work")
    parser.add_argument("--quantizer")
    options = parser.parse_args()
    head = ["arch", "head", "parametrization", "ids", "greedy", "F32"] + TYPES
    head += ["same types, blocks that differ"] if options.quantizer else []
    print("| " + " | ".join(head) + " |\n|" + " --- |" * len(head), flush=True)
    all_good = True
    with tempfile.TemporaryDirectory() as scratch:
        work = pathlib.Path(options.work or scratch)
        os.makedirs(work, exist_ok=True)
        for arch in ("gpt3", "pythia", "llama"):
            for tied in (True, False):
                for kind in KINDS:
                    cells, good = check_model(options, work, arch, tied, kind)
                    all_good &= good
                    print("| " + " | ".join(cells) + " |", flush=True)
    sys.exit(0 if all_good else 1)


if __name__ == "__main__":
    main()
