#!/usr/bin/env python3
"""A llama2.c model in plain numpy and double precision, against isoflop on the same weights.

  llama2c_numpy.py --isoflop build/release/isoflop --weights stories260K.bin --model RUN --text FILE
                   [--tolerance 1e-4] [--greedy 64]

RUN is what `isoflop import` made of the weights. Compares the loss of every token of the text and the greedy
continuation of its first tokens; exit 1 when a loss is off by more than the tolerance or a greedy id differs.
Needs numpy. Written from the papers (RMSNorm, rotary pairs (2i, 2i+1), grouped keys, SwiGLU), not from a program.
"""
import argparse
import json
import struct
import subprocess
import sys

import numpy as np


class Model:
    def __init__(self, path):
        data = open(path, "rb").read()
        d, f, layers, heads, kv, vocabulary, context = struct.unpack_from("<7i", data)
        self.heads, self.kv, self.hd, self.layers, self.context = heads, kv, d // heads, layers, context
        values = np.frombuffer(data, "<f4", offset=28).astype(np.float64)
        at = 0

        def take(*shape):
            nonlocal at
            size = int(np.prod(shape))
            at += size
            return values[at - size : at].reshape(shape)

        rows = abs(vocabulary)
        self.embedding = take(rows, d)
        self.norm1 = take(layers, d)
        self.q = take(layers, heads * self.hd, d)
        self.k, self.v = take(layers, kv * self.hd, d), take(layers, kv * self.hd, d)
        self.out = take(layers, d, heads * self.hd)
        self.norm2 = take(layers, d)
        self.gate, self.down, self.up = take(layers, f, d), take(layers, d, f), take(layers, f, d)
        self.norm = take(d)
        take(context * self.hd)  # rotations as tables; computed anew below
        self.head = self.embedding if vocabulary > 0 else take(rows, d)
        assert at == len(values), "the file has another size"

    def logits(self, ids):
        x = self.embedding[ids]
        length, half = len(ids), self.hd // 2
        angle = np.outer(np.arange(length), 10000.0 ** (-2.0 * np.arange(half) / self.hd))
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

        def normed(y, gain):
            return y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-5) * gain

        def rotated(y):
            even, odd = y[..., 0::2], y[..., 1::2]
            both = np.empty_like(y)
            both[..., 0::2], both[..., 1::2] = even * cos - odd * sin, even * sin + odd * cos
            return both

        hidden = np.triu(np.full((length, length), -np.inf), 1)
        for i in range(self.layers):
            n = normed(x, self.norm1[i])
            q = rotated((n @ self.q[i].T).reshape(length, self.heads, self.hd))
            k = rotated((n @ self.k[i].T).reshape(length, self.kv, self.hd))
            v = (n @ self.v[i].T).reshape(length, self.kv, self.hd)
            k, v = (np.repeat(y, self.heads // self.kv, axis=1) for y in (k, v))
            scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.hd) + hidden
            p = np.exp(scores - scores.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            x = x + np.einsum("hqk,khd->qhd", p, v).reshape(length, -1) @ self.out[i].T
            n = normed(x, self.norm2[i])
            g = n @ self.gate[i].T
            x = x + (g / (1 + np.exp(-g)) * (n @ self.up[i].T)) @ self.down[i].T
        return normed(x, self.norm) @ self.head.T


def nll(logits, targets):
    top = logits.max(-1, keepdims=True)
    log_sum = (top + np.log(np.exp(logits - top).sum(-1, keepdims=True)))[:, 0]
    return log_sum - logits[np.arange(len(targets)), targets]


def run(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("isoflop", "weights", "model", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--greedy", type=int, default=64)
    options = parser.parse_args()
    model = Model(options.weights)
    scored = run([options.isoflop, "eval", options.model, "--text", options.text, "--per-token", "--json"])
    ids = scored["ids"]
    # Windows as in evaluation: stride and length are the context; a separator stands in front of the first token.
    separator = run([options.isoflop, "tokenizer", "inspect", options.model, "--json"]).get("separator", -1)
    sequence = [separator] + ids if separator >= 0 else ids
    worst, at = 0.0, 0
    ours = scored["nll"]
    while at < len(ours):
        window = sequence[at : at + model.context + 1]
        theirs = nll(model.logits(window[:-1]), window[1:])
        worst = max(worst, float(np.abs(theirs - ours[at : at + len(theirs)]).max()))
        at += len(theirs)

    prompt = ids[:8]
    greedy = list(prompt)
    for _ in range(options.greedy):
        greedy.append(int(model.logits(greedy)[-1].argmax()))
    text = run([options.isoflop, "tokenizer", "decode", "--tokenizer", options.model, "--json", *map(str, prompt)])["text"]
    written = run([options.isoflop, "generate", options.model, text, "-n", str(options.greedy), "--temperature", "0", "--json"])
    same = greedy[len(prompt):] == written["ids"][-options.greedy:]
    result = {"tokens": len(ours), "max_nll_difference": worst, "greedy": options.greedy, "same_greedy": same}
    print(json.dumps(result))
    return 0 if worst <= options.tolerance and same else 1


if __name__ == "__main__":
    sys.exit(main())
