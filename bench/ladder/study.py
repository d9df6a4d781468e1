#!/usr/bin/env python3
"""A ladder of small runs, a law through them, forecasts of larger ones, and what became of those.

    bench/ladder/study.py ladder TEXT     trains sizes x budgets        -> ladder.csv, second-ladder.csv
    bench/ladder/study.py forecast        fits them, says what to expect -> forecasts.csv
    bench/ladder/study.py outcomes        trains what was forecast       -> outcomes.csv

Each step goes on where it was stopped: a run that stands in a table is not repeated, and one that was
cut goes on from its last checkpoint. Commit forecasts.csv before `outcomes`; docs/promises.md is the
ledger. The tables are kept beside this file, everything else in --work (default runs/ladder). A run has one
thread, --jobs of them go on at once; --nice sets their priority.

FLOPs are 6 N D with N everything stored. First ladder: 5 sizes x 4 budgets x 2 seeds, 3e13, and twice six
runs at 4 to 16 times its largest budget, 1.4e14. The second one is the first one's two larger budgets, one
more (3e13), and the six of those runs that are at 6.4e12; six more runs at 4 to 16 times that, 2.8e14.
"""
import argparse
import concurrent.futures
import csv
import json
import math
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Budgets and their widths: from too small to too large, the best one in the middle.
LADDER = {2e11: [16, 24, 32, 48, 64], 4e11: [16, 24, 32, 48, 64], 8e11: [24, 32, 48, 64, 80], 1.6e12: [24, 32, 48, 64, 80]}
# The second one: what is between, and all known runs from 8e11 to 6.4e12; smaller budgets bend the law (docs/promises.md).
SECOND = {3.2e12: [32, 48, 64, 80, 96]}
SMALLEST, LARGEST = 8e11, 6.4e12
SEEDS = [1, 2]  # of the ladder: what luck alone does
# What is forecast: FLOPs, width.
FORECASTS = [(6.4e12, 48), (6.4e12, 64), (6.4e12, 96), (1.28e13, 80), (1.28e13, 112), (2.56e13, 96),  # by the law alone
             (6.4e12, 56), (6.4e12, 80), (6.4e12, 112), (1.28e13, 64), (1.28e13, 96), (2.56e13, 112),  # and with its bend
             (2.56e13, 80), (2.56e13, 128), (2.56e13, 144), (5.12e13, 112), (5.12e13, 144), (1.024e14, 144)]  # by the second ladder
COLUMNS = ["parameters", "tokens", "loss", "flops", "d_model", "seed", "steps"]


def parameters(width):
    """Everything stored: a tied table of 512, two blocks, gains. d_ff as the program has it."""
    d_ff = math.ceil(8 * width / 3 / 32) * 32
    return 512 * width + 2 * (4 * width * width + 3 * width * d_ff + 2 * width) + width


def schedule_for(width, flops):
    """(steps, tokens of a step, rate). The batch grows with the tokens as in `plan` below a billion; the rate is one for all
    widths (muP), best near 1.6e-2 at 800k tokens and, with the larger batch, near 1.2e-2 at 7M."""
    tokens = flops / (6 * parameters(width))
    batch = 128 * max(1, round(0.25 * tokens ** 0.571 / 128))
    return max(1, round(tokens / batch)), batch, 1.6e-2 * (tokens / 8.2e5) ** -0.165


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
        self.program, self.nice, self.jobs = args.program, args.nice, args.jobs
        self.work = pathlib.Path(args.work)
        self.work.mkdir(parents=True, exist_ok=True)

    def isoflop(self, *words):
        command = ["nice", "-n", str(self.nice), self.program, *map(str, words), "--json", "--quiet"]
        done = subprocess.run(command, cwd=self.work, text=True, stdout=subprocess.PIPE)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}")
        return json.loads(done.stdout)

    def prepare(self, texts):
        if (self.work / "valid.h5").exists():
            return
        texts = [str(pathlib.Path(t).resolve()) for t in texts]
        self.isoflop("tokenizer", "train", "--vocab", 512, "--threads", 1, "--out", "tok.json", *texts)
        self.isoflop("data", "build", "--tokenizer", "tok.json", "--out", "train.h5", "--valid-out",
                     "valid.h5", "--valid-fraction", 0.001, "--split", "tail", "--overwrite", "--threads", 1, *texts)

    def train(self, width, flops, seed):
        steps, batch, rate = schedule_for(width, flops)
        out = self.work / f"d{width}-{flops:.3g}-s{seed}"
        result = self.isoflop("train", HERE / "run.toml", "--out", out.resolve(), "--resume", "auto",
                              f"model.d_model={width}", f"model.heads={width // 8}", f"schedule.steps={steps}",
                              f"schedule.batch_tokens={batch}", f"optimizer.lr={rate:.4g}", f"data.seed={seed}")
        assert result["parameters"] == parameters(width), (result, parameters(width))
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return {"parameters": result["parameters"], "tokens": result["tokens"],
                "loss": f"{result['valid_loss']:.5f}", "flops": f"{flops:.4g}", "d_model": width,
                "seed": seed, "steps": steps}

    def missing(self, name, cells):
        have = {(r["d_model"], float(r["flops"]), r["seed"]) for r in rows(name)}
        return [c for c in cells if (str(c[0]), float(f"{c[1]:.4g}"), str(c[2])) not in have]

    def run_all(self, name, cells):
        left = sorted(self.missing(name, cells), key=lambda c: (c[2], -c[1]))  # the longest first
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as runs:
            ended = concurrent.futures.as_completed([runs.submit(self.train, *cell) for cell in left])
            for i, run in enumerate(ended):
                row = run.result()
                add(name, row, COLUMNS)
                print(f"{i + 1}/{len(left)} d_model {row['d_model']}, {row['flops']} FLOPs: {row['loss']}", flush=True)

    def ladder(self, texts):
        self.prepare(texts)
        for name, ladder in (("ladder.csv", LADDER), ("second-ladder.csv", SECOND)):
            self.run_all(name, [(w, c, s) for s in SEEDS for c, widths in ladder.items() for w in widths])

    def outcomes(self):
        promised = {(r["d_model"], r["flops"]) for r in rows("forecasts.csv")}
        cells = [(w, c, 1) for c, w in FORECASTS]
        for width, flops, _ in cells:
            if (str(width), f"{flops:.4g}") not in promised:
                sys.exit(f"no forecast of d_model {width} at {flops:.4g} FLOPs; run `forecast` first")
        self.run_all("outcomes.csv", cells)

    def forecast(self):
        promised = {(r["d_model"], r["flops"]) for r in rows("forecasts.csv")}  # a promise is not made twice
        cells = [(w, c) for c, w in FORECASTS if (str(w), f"{c:.4g}") not in promised]
        if not cells:
            sys.exit("forecasts.csv has them all")
        tokens = [math.prod(schedule_for(w, c)[:2]) for w, c in cells]
        at = [f"--at={parameters(w)},{t}" for (w, _), t in zip(cells, tokens)]
        for row in rows("ladder.csv") + rows("outcomes.csv"):
            if SMALLEST <= float(row["flops"]) <= LARGEST and row not in rows("second-ladder.csv"):
                add("second-ladder.csv", row, COLUMNS)
        known = rows("second-ladder.csv")
        fit = self.isoflop("fit", HERE / "second-ladder.csv", "--out", "law.json", *at)
        line = straight_line(known)
        for (width, flops), f in zip(cells, fit["forecasts"]):
            bent = f["loss_bent"] / f["loss"] if "loss_bent" in f else 1
            add("forecasts.csv",
                {"parameters": int(f["parameters"]), "tokens": int(f["tokens"]), "loss": f"{f['loss'] * bent:.5f}",
                 "low": f"{f['loss_low'] * bent:.5f}", "high": f"{f['loss_high'] * bent:.5f}",
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
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--nice", type=int, default=15)
    args = parser.parse_args()
    args.program = str(pathlib.Path(args.program).resolve())
    study = Study(args)
    study.ladder(args.text) if args.step == "ladder" else getattr(study, args.step)()


if __name__ == "__main__":
    main()
