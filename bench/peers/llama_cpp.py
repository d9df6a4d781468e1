#!/usr/bin/env python3
"""One exported model in isoflop and in llama.cpp: token ids, loss of every token, greedy text.

  llama_cpp.py --isoflop build/release/isoflop --runtime runtime.py --model MODEL.gguf --text FILE
               [--reference RUN] [--tolerance 1e-5]

RUNTIME is a program that takes `MODEL.gguf TEXT --ids 1,2,3 --kv f32 ...` and prints one JSON object with
`ids`, `nll`, `greedy` and `greedy_prompt`. REFERENCE (default: the file itself) is what isoflop scores and
continues with: the run folder the file was exported from shows that the file is the trained model. Exit 1
when ids or greedy text differ or a loss is off by more than the tolerance. Standard library only.
"""
import argparse
import json
import subprocess
import sys
import tempfile


def run(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("isoflop", "runtime", "model", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--reference")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--bytes", type=int, default=240, help="of the text; it must fit the context")
    parser.add_argument("--greedy", type=int, default=32)
    options = parser.parse_args()
    reference = options.reference or options.model
    text = open(options.text, "rb").read()[: options.bytes].decode("utf-8", "ignore").strip()

    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        ours = run([options.isoflop, "eval", reference, "--text", file.name, "--per-token", "--json"])
    separator = ours["ids"][-1]
    ids = [separator] + ours["ids"]
    theirs = run([sys.executable, options.runtime, options.model, text, "--ids", ",".join(map(str, ids)),
                  "--kv", "f32", "--nll-limit", "0", "--bench", "0,0", "--ngen", str(options.greedy)])
    tokens = run([sys.executable, options.runtime, options.model, text, "--kv", "f32", "--nll-limit", "0",
                  "--bench", "0,0", "--ngen", str(options.greedy)])
    worst = max(abs(a - b) for a, b in zip(ours["nll"], theirs["nll"]))
    mean = sum(a - b for a, b in zip(ours["nll"], theirs["nll"])) / len(ours["nll"])
    same_count = len(ours["nll"]) == len(theirs["nll"])
    same_ids = tokens["ids"] == ours["ids"][:-1]

    # Greedy text from the runtime's own prompt: the first tokens of the text.
    count = tokens["greedy_prompt"] if isinstance(tokens["greedy_prompt"], int) else len(tokens["greedy_prompt"])
    prompt = subprocess.run([options.isoflop, "tokenizer", "decode", "--tokenizer", options.model]
                            + [str(i) for i in tokens["ids"][:count]], capture_output=True, text=True)
    if prompt.returncode != 0:
        sys.exit(prompt.stderr)
    continued = run([options.isoflop, "generate", reference, prompt.stdout, "-n", str(options.greedy),
                     "--temperature", "0", "--json"])
    same_greedy = continued["ids"][: len(tokens["greedy"])] == tokens["greedy"][: len(continued["ids"])]

    result = {"tokens": len(ours["nll"]), "same_ids": same_ids, "max_nll_difference": worst,
              "mean_nll_difference": mean, "same_greedy": same_greedy, "greedy": tokens.get("greedy_text", "")}
    print(json.dumps(result))
    sys.exit(0 if same_count and same_ids and same_greedy and worst <= options.tolerance else 1)


if __name__ == "__main__":
    main()
