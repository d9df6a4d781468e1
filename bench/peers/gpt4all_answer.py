#!/usr/bin/env python3
"""Loads a GGUF file in GPT4All's own package and lets it go on with a prompt, greedily.

  gpt4all_answer.py MODEL.gguf [--prompt TEXT] [-n 24] [--isoflop build/release/isoflop]

Prints one JSON object: the text, and with --isoflop what isoflop writes after the same prompt and how many first
characters agree (that llama.cpp is of 2024 and rounds activations to 8 bits, so texts part at a near tie). Exit 1 when
the package does not load the file or writes nothing. Needs: pip install gpt4all. Nothing is downloaded.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--prompt", default="The sea was calm and")
    parser.add_argument("-n", type=int, default=24)
    parser.add_argument("--isoflop")
    options = parser.parse_args()
    from gpt4all import GPT4All

    model = options.model.resolve()
    loaded = GPT4All(model.name, model_path=str(model.parent), allow_download=False, device="cpu", n_ctx=256,
                     n_threads=2, verbose=False)
    # Outside of a chat session the prompt is handed over as it is.
    text = loaded.generate(options.prompt, max_tokens=options.n, temp=0, top_k=1, repeat_penalty=1.0)
    result = {"file": str(model), "prompt": options.prompt, "text": text}
    if options.isoflop:
        done = subprocess.run([options.isoflop, "generate", str(model), options.prompt, "-n", str(options.n),
                               "--temperature", "0", "--json"], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        ours = json.loads(done.stdout)["text"]
        ours = ours[len(options.prompt):] if ours.startswith(options.prompt) else ours
        result.update(isoflop=ours, same_characters=len(os.path.commonprefix([ours, text])))
    print(json.dumps(result, ensure_ascii=False))
    sys.exit(0 if text.strip() else 1)


if __name__ == "__main__":
    main()
