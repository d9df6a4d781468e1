#!/usr/bin/env python3
"""Peak memory of llama.cpp with a GGUF file, and what `inspect --runs-on` foretells.

  llama_cpp_memory.py --isoflop build/release/isoflop [--context 2048] [--prompt 600] [--device laptop-16gb]
                      MODEL.gguf...

One process a file: llama.cpp's server with its defaults (the file mapped, flash attention where it can, keys and values in
F16, prompts in pieces of 512 tokens) for one user, a context of --context tokens, a prompt of about --prompt tokens, 8 more
tokens, all on one thread. What counts is the peak of its resident memory less what the interpreter had before it loaded the
library. DEVICE says which blocks are rearranged: laptop-16gb has AVX2, as the package's library expects. Prints a row of a
table in Markdown a file; exit 1 when a forecast is off by more than a tenth. Needs: pip install xllamacpp.
"""
import argparse
import json
import os
import subprocess
import sys


def resident(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key + ":"))


def measure(model, context, prompt):
    before = resident("VmRSS")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.warmup = model, context, 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    answer = server.handle_completions({"prompt": "the sea was " * (prompt // 3), "max_tokens": 8, "temperature": 0})
    peak = resident("VmHWM")
    del server
    return {"bytes": peak - before, "prompt": answer["usage"]["prompt_tokens"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isoflop", required=True)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--prompt", type=int, default=600)
    parser.add_argument("--device", default="laptop-16gb")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.models[0], options.context, options.prompt)))
        return
    print("| file | prompt, tokens | foretold, MB | measured, MB | foretold / measured |\n|" + " --- |" * 5)
    good = True
    for model in options.models:
        done = subprocess.run([options.isoflop, "inspect", model, "--runs-on", options.device, "--context",
                               str(options.context), "--json"], capture_output=True, text=True)
        if done.returncode not in (0, 3):
            sys.exit(done.stderr)
        foretold = json.loads(done.stdout)["devices"][0]["peak_bytes"]
        child = subprocess.run([sys.executable, __file__, "--isoflop", "-", "--measure", "--context",
                                str(options.context), "--prompt", str(options.prompt), model],
                               capture_output=True, text=True)
        if child.returncode != 0:
            sys.exit(child.stderr)
        row = json.loads(child.stdout.strip().splitlines()[-1])
        measured = row["bytes"]
        good &= abs(foretold / measured - 1) <= 0.1
        print(f"| {os.path.basename(model)} | {row['prompt']} | {foretold / 1e6:.1f} | {measured / 1e6:.1f} | "
              f"{foretold / measured:.3f} |", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
