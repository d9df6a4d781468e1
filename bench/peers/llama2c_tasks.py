#!/usr/bin/env python3
"""Multiple choice on a llama2.c model, item by item against isoflop: texts, ids and likelihoods computed here.

  llama2c_tasks.py --isoflop build/release/isoflop --weights stories260K.bin --tokenizer tok512.bin --model RUN
                   (--piqa valid.jsonl --labels valid-labels.lst | --generic copa.jsonl) [--items N] [--tolerance 1e-3]

RUN is what `isoflop import` made of the weights. The forward pass is that of llama2c_numpy.py, in double precision;
the tokenizer is written out here (SentencePiece's BPE: best score first, bytes for what has no piece). Exit 1 when a
log-likelihood is off by more than the tolerance, an argmax of a whole answer differs, or a choice does (by sum, per
character, per byte) that is not a tie within the tolerance. Needs numpy.
"""
import argparse
import json
import struct
import sys

import numpy as np

from llama2c_numpy import Model, nll, run


class Pieces:
    def __init__(self, path, size):
        data = open(path, "rb").read()
        at, self.texts, self.scores = 4, [], []
        for _ in range(size):
            score, length = struct.unpack_from("<fi", data, at)
            self.texts.append(data[at + 8 : at + 8 + length].decode("utf-8", "surrogateescape"))
            self.scores.append(score)
            at += 8 + length
        self.ids = {}
        for i, text in enumerate(self.texts):
            self.ids.setdefault(text, i)

    def encode(self, text):
        if not text:
            return []
        tokens = []
        for character in " " + text:
            if character in self.ids:
                tokens.append(self.ids[character])
            else:
                tokens += [3 + byte for byte in character.encode()]
        while True:
            best, where = -1e30, -1
            for i in range(len(tokens) - 1):
                merged = self.ids.get(self.texts[tokens[i]] + self.texts[tokens[i + 1]])
                if merged is not None and self.scores[merged] > best:
                    best, where = self.scores[merged], i
            if where < 0:
                return tokens
            tokens[where : where + 2] = [self.ids[self.texts[tokens[where]] + self.texts[tokens[where + 1]]]]


def likelihood(model, pieces, context, continuation):
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, continuation = context[:-spaces], context[-spaces:] + continuation
    whole = pieces.encode(context + continuation)
    scored = len(whole) - len(pieces.encode(context))
    whole = whole[-(model.context + 1) :]
    scored = min(scored, len(whole) - 1)
    logits = model.logits(np.array(whole[:-1]))[-scored:]
    targets = np.array(whole[-scored:])
    return -float(nll(logits, targets).sum()), bool((logits.argmax(-1) == targets).all()), scored


def read_items(options):
    if options.generic:
        for line in open(options.generic, encoding="utf-8"):
            item = json.loads(line)
            yield item["query"], item["choices"], item["gold"]
        return
    labels = [int(line) for line in open(options.labels)]
    for line, label in zip(open(options.piqa, encoding="utf-8"), labels):
        item = json.loads(line)
        yield f"Question: {item['goal']}\nAnswer:", [item["sol1"], item["sol2"]], label


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("isoflop", "weights", "tokenizer", "model"):
        parser.add_argument("--" + name, required=True)
    for name in ("piqa", "labels", "generic"):
        parser.add_argument("--" + name)
    parser.add_argument("--items", type=int, default=1 << 30)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    options = parser.parse_args()
    model = Model(options.weights)
    pieces = Pieces(options.tokenizer, len(model.embedding))
    task = f"piqa={options.piqa}" if options.piqa else f"generic={options.generic}"
    result = run([options.isoflop, "eval", options.model, "--tasks", task, "--per-item", "--json"])
    ours = next(iter(result["tasks"].values()))
    worst, wrong, right, count = 0.0, 0, {"acc": 0, "acc_norm": 0, "acc_bytes": 0}, 0
    for (context, answers, gold), item in zip(read_items(options), ours["per_item"]):
        if count >= options.items:
            break
        count += 1
        scores = []
        for answer, choice in zip(answers, item["choices"]):
            nats, greedy, tokens = likelihood(model, pieces, context, " " + answer)
            scores.append(nats)
            worst = max(worst, abs(nats - choice["log_likelihood"]))
            wrong += greedy != choice["greedy"] or tokens != choice["tokens"]
        lengths = {"acc": lambda a: 1, "acc_norm": len, "acc_bytes": lambda a: len(a.encode())}
        for name, length in lengths.items():
            values = [score / length(answer) for score, answer in zip(scores, answers)]
            choice = int(np.argmax(values))
            right[name] += choice == gold
            if choice != item[name] and abs(values[choice] - values[item[name]]) > options.tolerance:
                wrong += 1
    same = count < len(ours["per_item"]) or all(
        abs(right[name] / count - ours[name]) < 1e-12 for name in right)
    print(json.dumps({"items": count, "max_difference": worst, "other_choices_or_ids": wrong,
                      **{name: value / count for name, value in right.items()}, "same_accuracies": same}))
    return 0 if worst <= options.tolerance and wrong == 0 and same else 1


if __name__ == "__main__":
    sys.exit(main())
