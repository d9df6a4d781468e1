#!/usr/bin/env python3
"""Coordinate checks of all architectures over widths and depths, as tables of slopes.

    bench/coordcheck_study.py TEXT [--only WORD] [--widths ...] [--depths ...]

Goes on where it was stopped: a check whose .json lies in --work is not repeated. Characters of TEXT,
two blocks, heads of 64, context 128, base width 128, 512 tokens a step, AdamW at 2e-3, three seeds,
10 looks; depths at width 256 with heads of 64, base depth 2. One thread; --nice sets its priority.

FLOPs, about 6 x parameters x tokens: widths 64 to 1024 4e12 a row, depths 2 to 64 4e12 a row. The
deliberate mistakes are no configs: test_launch makes them (CoordRunOf.*) and prints their slopes.
"""
import argparse
import json
import os
import pathlib
import subprocess
import time

CONFIG = pathlib.Path(__file__).parent.parent / "configs/coordcheck.toml"
DEPTH = ["model.d_model=256", "model.heads=4", "optimizer.lr=1e-3"]
COLUMNS = ["embedding", "attention logits", "attention", "mlp", "logits"]


def studies(widths, depths):
    """Name, dimension, sizes, key=value changes; the cheap ones first."""
    rows = []
    for kind, rates in (("mup", ["2e-3", "4e-3", "1e-3"]), ("sp", ["2e-3"])):
        for rate in rates:
            for arch in ("gpt3", "pythia", "llama"):
                rows.append((f"{arch}-{kind}-{rate}", "widths", widths,
                             [f"model.arch={arch}", f"parametrization.kind={kind}",
                              f"optimizer.lr={rate}"]))
    for arch in ("gpt3", "pythia", "llama"):
        rows.append((f"{arch}-muon", "widths", widths,
                     [f"model.arch={arch}", "parametrization.kind=mup", "optimizer.kind=muon",
                      "optimizer.lr=4e-3"]))
    for kind in ("completep", "mup"):
        rows.append((f"depth-{kind}", "depths", depths,
                     [*DEPTH, "model.arch=gpt3", f"parametrization.kind={kind}"]))
    return rows


def check(options, row):
    name, dimension, sizes, changes = row
    out = options.work / f"{name}.json"
    if out.exists():
        return json.loads(out.read_text())
    command = [options.program, "coordcheck", str(CONFIG), f"data.train={options.text.resolve()}",
               *changes, f"--{dimension}", sizes, "--seeds", str(options.seeds), "--out",
               str(options.work / "data"), "--json"]
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=lambda: os.nice(options.nice))
    if done.returncode not in (0, 3):
        raise SystemExit(f"exit code {done.returncode}: {' '.join(command)}\n{done.stderr}")
    result = json.loads(done.stdout)
    result["seconds"] = time.monotonic() - start
    result["sizes"] = sizes
    out.with_suffix(".tmp").write_text(json.dumps(result))
    out.with_suffix(".tmp").rename(out)
    return result


def print_row(name, result):
    for key in ("width", "width_muon", "depth", "depth_muon"):  # _muon: its matrices alone
        if key not in result:
            continue
        part = result[key]
        columns = ["residual stream"] if key.startswith("depth") else COLUMNS
        for what in ("change", "late"):  # null: what stands still has no slope
            found = [part["modules"][c][what]["slope"] for c in columns]
            slopes = " | ".join("none" if s is None else f"{s:+.2f}" for s in found)
            verdict = "PASS" if part["pass"] else f"FAIL: {part['cause']}"
            print(f"| {name} | {key} | {result['sizes']} | {what} | {slopes} | {verdict} | "
                  f"{part['turn']} | {result['seconds']:.0f} s |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("runs/coordcheck-study"))
    parser.add_argument("--program", default="build/release/isoflop")
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--widths", default="64,128,256,512,1024")
    parser.add_argument("--depths", default="2,4,8,16,32,64")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nice", type=int, default=19)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for row in studies(options.widths, options.depths):
        if options.only in row[0]:
            print_row(row[0], check(options, row))


if __name__ == "__main__":
    main()
