#!/usr/bin/env python3
"""How fast one GGUF file reads a prompt and writes text, in isoflop and in llama.cpp, in turns on the same cores.

  llama_cpp_speed.py --isoflop build/release/isoflop --runtime runtime.py --model MODEL.gguf --text FILE
                     [--threads 2] [--rounds 5] [--prompt 360] [--write 128] [--lib libllama.so]

RUNTIME is a program that takes `MODEL.gguf TEXT --bench PROMPT,WRITE --threads N ...` and prints one JSON object
with `prefill_tok_s` and `decode_tok_s`. The text's beginning serves as a prompt of about --prompt tokens. Prints a row a
round, the medians, and their ratios (ours over theirs). Standard library only.
"""
import argparse
import json
import statistics
import subprocess
import sys


def run(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)[:400]}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("isoflop", "runtime", "model", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--lib")
    for name, value in (("threads", 2), ("rounds", 5), ("prompt", 360), ("write", 128)):
        parser.add_argument("--" + name, type=int, default=value)
    options = parser.parse_args()
    text = open(options.text, "rb").read()[: 5 * options.prompt].decode("utf-8", "ignore").strip()
    prompt = " ".join(text.split()[: options.prompt * 3 // 4])
    threads = str(options.threads)
    theirs_command = [sys.executable, options.runtime, options.model, "the", "--threads", threads, "--ngen", "1",
                      "--bench", f"{options.prompt},{options.write}", "--reps", "1"]
    if options.lib:
        theirs_command += ["--lib", options.lib]
    rows = []
    for _ in range(options.rounds):
        ours = run([options.isoflop, "generate", options.model, prompt, "-n", str(options.write), "--temperature", "0",
                    "--threads", threads, "--json"])
        theirs = run(theirs_command)
        row = {"prompt": ours["prompt_tokens_per_s"], "write": ours["tokens_per_s"],
               "their_prompt": theirs["prefill_tok_s"], "their_write": theirs["decode_tok_s"]}
        rows.append(row)
        print(json.dumps(row), flush=True)
    middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    middle["prompt_ratio"] = middle["prompt"] / middle["their_prompt"]
    middle["write_ratio"] = middle["write"] / middle["their_write"]
    print(json.dumps(middle))


if __name__ == "__main__":
    main()
