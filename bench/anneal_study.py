#!/usr/bin/env python3
"""What training on the grid saves of the cost of 4 bits: models and seeds, each measured in llama.cpp.

  bench/anneal_study.py --isoflop build/release/isoflop --runtime runtime.py --train TEXT --held-out TEXT
                        [--work runs/anneal] [--only llama] [--seeds 1 2 3]

Per model and seed a trunk at a constant rate, and from its last checkpoint two branches of equal length whose rate falls
to 0, alike but for schedule.quantize. The plain one is exported as F32 and Q4_0, the other as Q4_0, with certificates;
peers/quantization_gap.py scores all three on --held-out in llama.cpp. RUNTIME as there. Prints a table in Markdown. Goes
on where it was stopped: what lies in --work is not done again.

FLOPs, 6 x (weights of matrices) x tokens of trunk and branches: 7.0e12 a seed, 4.2e13 in all. One thread; --nice sets
its priority.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
COMMON = ["model.context=64", "model.tied_embeddings=false", "data.valid_fraction=0.01", "data.split=tail",
          "schedule.batch_tokens=2048",
          "schedule.decay=constant", "schedule.warmup=100steps", "optimizer.lr=4e-3", "compute.dtype=fp32",
          "output.tensorboard=false", "checkpoint.keep=1", "compute.threads=1", "eval.every=1000000",
          "model.layers=3", "model.d_model=96", "model.heads=4", "data.tokenizer=bpe:512"]
MODELS = {"llama": ["model.arch=llama"], "gpt3": ["model.arch=gpt3"]}
STEPS = 800  # of the trunk
FALL = ["schedule.cooldown_fraction=0.3", "schedule.final_lr_fraction=0"]


def run(options, *arguments):
    done = subprocess.run([options.isoflop, *map(str, arguments), "--json"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.nice(options.nice))
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def once(file, make):
    """What `make` returned, now or at an earlier call."""
    if not file.exists():
        result = make()
        file.write_text(json.dumps(result))
    return json.loads(file.read_text())


def train(options, folder, *arguments):
    def make():
        shutil.rmtree(folder, ignore_errors=True)
        return run(options, "train", "--quiet", "--out", folder, *arguments)
    return once(folder.with_suffix(".json"), make)


def measure(options, name, seed):
    work = options.work / f"{name}-{seed}"
    work.mkdir(parents=True, exist_ok=True)
    train(options, work / "trunk", f"data.train={options.train}", f"schedule.steps={STEPS}", f"data.seed={seed}",
          *COMMON, *MODELS[name])
    files, certificates = [], {}
    for branch, change, types in (("plain", [], ["f32", "q4_0"]), ("grid", ["schedule.quantize=q4_0"], ["q4_0"])):
        train(options, work / branch, "--anneal-from", work / f"trunk/checkpoints/step-{STEPS:08d}", *FALL, *change)
        for kind in types:
            file = work / f"{branch}-{kind}.gguf"
            certificates[file.stem] = once(file.with_suffix(".export.json"), lambda: run(
                options, "export", work / branch, "--type", kind, "--out", file, "--force"))
            files.append(file)

    def gap():
        done = subprocess.run([sys.executable, HERE / "peers/quantization_gap.py", "--runtime", options.runtime, "--text",
                               options.held_out, "--context", "64", *files], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]
    return once(work / "gap.json", gap), certificates["grid-q4_0"]["certificate"]["weights"]["mean_kl"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("isoflop", "runtime", "train", "held-out"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--work", type=pathlib.Path, default="runs/anneal")
    parser.add_argument("--only", choices=MODELS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nice", type=int, default=10)
    options = parser.parse_args()
    print("| model | seed | plain, F32 | plain, Q4_0 | gap | on the grid, Q4_0 | closed | certificate's KL of that |\n"
          "| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in [options.only] if options.only else MODELS:
        for seed in options.seeds:
            (best, rounded, grid), kl = measure(options, name, seed)
            print(f"| {name} | {seed} | {best['loss']:.5f} | {rounded['loss']:.5f} | {rounded['gap']:.5f} "
                  f"| {grid['loss']:.5f} | {grid['closed']:.2f} | {kl:g} |", flush=True)


if __name__ == "__main__":
    main()
