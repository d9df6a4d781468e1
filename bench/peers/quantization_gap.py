#!/usr/bin/env python3
"""How much of what rounding to 4 bits costs does training on the grid save? Measured in llama.cpp.

  quantization_gap.py --runtime runtime.py --text HELD_OUT PLAIN_F32.gguf PLAIN_Q4_0.gguf GRID_Q4_0.gguf...

PLAIN is a run annealed as usual, GRID the same branch with schedule.quantize = "q4_0". Prints one JSON line a file
with its loss in nats per token on the text, and for each GRID file the part of the gap between the first two that it
closes: (plain 4-bit - grid 4-bit) / (plain 4-bit - plain F32). RUNTIME as in llama_cpp.py. Standard library only.
"""
import argparse
import json
import math
import subprocess
import sys


def loss_of(options, model):
    done = subprocess.run(
        [sys.executable, options.runtime, model, options.text, "--ctx", str(options.context), "--threads", "1",
         "--kv", "f32", "--nll-limit", "1", "--ngen", "1", "--bench", "0,0"], capture_output=True, text=True)
    result = json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else {"ok": False}
    if not result.get("ok"):
        sys.exit(f"{model}: llama.cpp did not score it\n{done.stderr[-1000:]}{result}")
    return math.log(result["ppl"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("runtime", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--context", type=int, default=512, help="tokens of a window; at most the model's")
    for name in ("plain_f32", "plain_q4_0"):
        parser.add_argument(name)
    parser.add_argument("grid_q4_0", nargs="+")
    options = parser.parse_args()
    best, rounded = loss_of(options, options.plain_f32), loss_of(options, options.plain_q4_0)
    print(json.dumps({"file": options.plain_f32, "loss": round(best, 5)}))
    print(json.dumps({"file": options.plain_q4_0, "loss": round(rounded, 5), "gap": round(rounded - best, 5)}))
    for model in options.grid_q4_0:
        loss = loss_of(options, model)
        print(json.dumps({"file": model, "loss": round(loss, 5), "gap": round(loss - best, 5),
                          "closed": round((rounded - loss) / (rounded - best), 3)}))


if __name__ == "__main__":
    main()
