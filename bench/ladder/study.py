#!/usr/bin/env python3
"""A ladder of small runs, a law through them, forecasts of larger ones, and what became of those.

    bench/ladder/study.py ladder TEXT     trains sizes x budgets        -> ladder.csv
    bench/ladder/study.py forecast        fits them, says what to expect -> forecasts.csv
    bench/ladder/study.py outcomes        trains what was forecast       -> outcomes.csv

Each step goes on where it was stopped: a run that stands in a table is not repeated. Commit
forecasts.csv before `outcomes`; docs/promises.md is the ledger. The tables are kept beside this
file, everything else in --work (default runs/ladder). One thread; --nice sets its priority.

FLOPs are 6 N D with N everything stored. Ladder: 5 sizes x 4 budgets, 3.75e12 in all. Forecasts:
3 runs at 4, 2 at 8 and 1 at 16 times the largest budget, 1.76e13 in all, and one of them twice
more with other seeds, 3.2e12.
"""
import argparse
import csv
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
WIDTHS = [16, 32, 48, 64, 80]
BUDGETS = [5e10, 1e11, 2e11, 4e11]
BATCH = 512
# Times the largest budget, width, seed.
FORECASTS = [(4, 32, 1), (4, 64, 1), (4, 96, 1), (8, 64, 1), (8, 112, 1), (16, 96, 1)]
SEEDS_OF = (4, 64)  # again with seeds 2 and 3: what luck alone does
COLUMNS = ["parameters", "tokens", "loss", "flops", "d_model", "seed", "steps"]


def parameters(width):
    """Everything stored: a tied table of 512, two blocks, gains. d_ff as the program has it."""
    d_ff = math.ceil(8 * width / 3 / 32) * 32
    return 512 * width + 2 * (4 * width * width + 3 * width * d_ff + 2 * width) + width


def steps_for(width, flops):
    return max(1, round(flops / (6 * parameters(width)) / BATCH))


def rows(name):
    path = HERE / name
    return list(csv.DictReader(open(path))) if path.exists() else []


def add(name, row, columns):
    path = HERE / name
    fresh = not path.exists()
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, columns, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


class Study:
    def __init__(self, args):
        self.program, self.nice = args.program, args.nice
        self.work = pathlib.Path(args.work)
        self.work.mkdir(parents=True, exist_ok=True)

    def isoflop(self, *words):
        command = [self.program, *map(str, words), "--json", "--quiet"]
        done = subprocess.run(command, cwd=self.work, text=True, stdout=subprocess.PIPE,
                              preexec_fn=lambda: os.nice(self.nice))
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}")
        return json.loads(done.stdout)

    def prepare(self, texts):
        if (self.work / "valid.h5").exists():
            return
        texts = [str(pathlib.Path(t).resolve()) for t in texts]
        self.isoflop("tokenizer", "train", "--vocab", 512, "--threads", 1, "--out", "tok.json", *texts)
        self.isoflop("data", "build", "--tokenizer", "tok.json", "--out", "train.h5", "--valid-out",
                     "valid.h5", "--valid-fraction", 0.0025, "--overwrite", "--threads", 1, *texts)

    def train(self, width, flops, seed):
        steps = steps_for(width, flops)
        out = self.work / f"d{width}-{flops:.3g}-s{seed}"
        result = self.isoflop("train", HERE / "run.toml", "--out", out.resolve(), "--resume", "auto",
                              f"model.d_model={width}", f"model.heads={width // 16}",
                              f"schedule.steps={steps}", f"data.seed={seed}")
        assert result["parameters"] == parameters(width), (result, parameters(width))
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return {"parameters": result["parameters"], "tokens": result["tokens"],
                "loss": f"{result['valid_loss']:.5f}", "flops": f"{flops:.4g}", "d_model": width,
                "seed": seed, "steps": steps}

    def missing(self, name, cells):
        have = {(r["d_model"], float(r["flops"]), r["seed"]) for r in rows(name)}
        return [c for c in cells if (str(c[0]), float(f"{c[1]:.4g}"), str(c[2])) not in have]

    def run_all(self, name, cells):
        left = sorted(self.missing(name, cells), key=lambda c: (c[2], c[1]))
        for i, cell in enumerate(left):
            row = self.train(*cell)
            add(name, row, COLUMNS)
            print(f"{i + 1}/{len(left)} d_model {cell[0]}, {cell[1]:.3g} FLOPs: {row['loss']}", flush=True)

    def ladder(self, texts):
        self.prepare(texts)
        self.run_all("ladder.csv", [(w, c, 1) for c in BUDGETS for w in WIDTHS])

    def outcomes(self):
        promised = {(r["d_model"], r["flops"]) for r in rows("forecasts.csv")}
        cells = [(w, k * BUDGETS[-1], s) for k, w, s in FORECASTS]
        cells += [(SEEDS_OF[1], SEEDS_OF[0] * BUDGETS[-1], s) for s in (2, 3)]
        for width, flops, _ in cells:
            if (str(width), f"{flops:.4g}") not in promised:
                sys.exit(f"no forecast of d_model {width} at {flops:.4g} FLOPs; run `forecast` first")
        self.run_all("outcomes.csv", cells)

    def forecast(self):
        if rows("forecasts.csv"):
            sys.exit("forecasts.csv is there, and a promise is not made twice")
        cells = [(w, k * BUDGETS[-1]) for k, w, _ in FORECASTS]
        tokens = [steps_for(w, c) * BATCH for w, c in cells]
        at = [f"--at={parameters(w)},{t}" for (w, _), t in zip(cells, tokens)]
        fit = self.isoflop("fit", HERE / "ladder.csv", "--out", "law.json", *at)
        line = straight_line(rows("ladder.csv"))
        for (width, flops), f in zip(cells, fit["forecasts"]):
            add("forecasts.csv",
                {"parameters": int(f["parameters"]), "tokens": int(f["tokens"]), "loss": f"{f['loss']:.5f}",
                 "low": f"{f['loss_low']:.5f}", "high": f"{f['loss_high']:.5f}",
                 "line": f"{line(flops):.5f}", "flops": f"{flops:.4g}", "d_model": width},
                ["parameters", "tokens", "loss", "low", "high", "line", "flops", "d_model"])
        print(open(HERE / "forecasts.csv").read())


def straight_line(ladder):
    """What one would do without a law: the best loss of each budget, a line in log-log."""
    best = {}
    for r in ladder:
        c = float(r["flops"])
        best[c] = min(best.get(c, 1e9), float(r["loss"]))
    x = [math.log(c) for c in best]
    y = [math.log(l) for l in best.values()]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)
    return lambda c: math.exp(my + slope * (math.log(c) - mx))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("step", choices=["ladder", "forecast", "outcomes"])
    parser.add_argument("text", nargs="*", help="for `ladder`, the first time")
    parser.add_argument("--program", default="build/release/isoflop")
    parser.add_argument("--work", default="runs/ladder")
    parser.add_argument("--nice", type=int, default=15)
    args = parser.parse_args()
    args.program = str(pathlib.Path(args.program).resolve())
    study = Study(args)
    study.ladder(args.text) if args.step == "ladder" else getattr(study, args.step)()


if __name__ == "__main__":
    main()
