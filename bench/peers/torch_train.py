#!/usr/bin/env python3
"""Trains a finished run of ours again in PyTorch and compares the loss of every step.

    scripts/peer_env                                            # once: PyTorch into build/peer-venv
    build/release/isoflop train run.toml --out runs/parity checkpoint.initial=true checkpoint.keep=0
    build/peer-venv/bin/python bench/peers/torch_train.py runs/parity --steps 200

Taken from the run: the initial weights (checkpoints/step-00000000), config.toml, and the exact tokens of
every step (`isoflop data batch --json`, or --batches FILE with its answers). Nothing else is shared: model,
gradients, clipping, schedule and AdamW are PyTorch's or written here, in fp32. Prints both losses of every
step; exit 1 when they differ by more than --tolerance anywhere.

    torch_train.py --self-test    checks this program itself against formulas written out
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import tomllib

import h5py
import numpy as np
import torch
from torch.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


# ---- what the run folder says


def read_config(run):
    with open(run / "config.toml", "rb") as file:
        config = tomllib.load(file)
    model = config["model"]

    def settled(key, fallback):
        value = model.get(key, "auto")
        return fallback if value == "auto" else value

    model["kv_heads"] = settled("kv_heads", model["heads"])
    model["head_dim"] = settled("head_dim", model["d_model"] // model["heads"])
    for key in ("embedding", "residual", "output", "attention"):
        model.setdefault(key + "_multiplier", 1.0)
    return config


def read_parameters(run, dtype=torch.float32):
    """Name -> tensor that wants a gradient. Vectors have one dimension, whatever the file's shape."""
    parameters = {}
    with h5py.File(run / "checkpoints" / "step-00000000" / "checkpoint.h5", "r") as file:

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                value = np.squeeze(item[()], 0) if item.ndim == 2 and item.shape[0] == 1 else item[()]
                parameters[name] = torch.tensor(value, dtype=dtype).requires_grad_()

        file["parameters"].visititems(visit)
    return parameters


def read_losses(run):
    """Steps count from 1: step n is the update made with batch n - 1."""
    losses, rates = {}, {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if "train/loss" in entry:
            losses[entry["step"]] = entry["train/loss"]
            rates[entry["step"]] = entry.get("optim/lr")
    return losses, rates


def batch_reader(run, arguments):
    """Batch number, counted from 0 -> (sequences, context + 1) token ids."""

    def to_tensor(sequences):
        return torch.tensor([sequence["ids"] for sequence in sequences])

    if arguments.batches:
        lines = (json.loads(line) for line in open(arguments.batches))
        table = {entry["step"]: entry["sequences"] for entry in lines}
        return lambda step: to_tensor(table[step])

    def ask(step):
        command = [arguments.isoflop, "data", "batch", str(run), "--step", str(step), "--json"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return to_tensor(answer["sequences"])

    return ask


# ---- the two architectures


def heads_first(x, heads):  # (B, T, heads * hd) -> (B, heads, T, hd)
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attend(q, k, v, model):
    scale = model["attention_multiplier"] / math.sqrt(model["head_dim"])
    groups = model["heads"] // model["kv_heads"]
    q, k, v = heads_first(q, model["heads"]), heads_first(k, model["kv_heads"]), heads_first(v, model["kv_heads"])
    if model["arch"] == "llama":
        q, k = rotate(q, model), rotate(k, model)
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2).flatten(-2)


def rotate(x, model):
    """Entries 2j and 2j + 1 of a head turn by position * base^(-2j / hd)."""
    hd, length = x.shape[-1], x.shape[-2]
    frequency = model["rope_base"] ** (-torch.arange(0, hd, 2, dtype=torch.float64) / hd)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * frequency
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


def gpt3_block(p, at, x, model):
    width, eps, r = model["d_model"], model["norm_eps"], model["residual_multiplier"]

    def linear(name, value):
        return F.linear(value, p[at + name + ".weight"], p[at + name + ".bias"])

    def norm(name, value):
        return F.layer_norm(value, (width,), p[at + name + ".weight"], p[at + name + ".bias"], eps)

    kv = model["kv_heads"] * model["head_dim"]
    q, k, v = linear("attention.qkv", norm("norm1", x)).split([model["heads"] * model["head_dim"], kv, kv], -1)
    x = x + r * linear("attention.out", attend(q, k, v, model))
    approximate = "none" if model["gelu"] == "erf" else "tanh"
    return x + r * linear("mlp.down", F.gelu(linear("mlp.up", norm("norm2", x)), approximate=approximate))


def llama_block(p, at, x, model):
    width, eps, r = model["d_model"], model["norm_eps"], model["residual_multiplier"]

    def linear(name, value):
        return F.linear(value, p[at + name + ".weight"])

    n = F.rms_norm(x, (width,), p[at + "norm1.weight"], eps)
    q, k, v = (linear("attention." + name, n) for name in "qkv")
    x = x + r * linear("attention.out", attend(q, k, v, model))
    n = F.rms_norm(x, (width,), p[at + "norm2.weight"], eps)
    return x + r * linear("mlp.down", F.silu(linear("mlp.gate", n)) * linear("mlp.up", n))


def mean_loss(p, tokens, model):
    """tokens (B, T + 1) -> mean nats per token."""
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    x = F.embedding(inputs, p["embedding.weight"])
    if model["arch"] == "gpt3":
        x = x + p["positions.weight"][: inputs.shape[1]]
    x = x * model["embedding_multiplier"]
    block = {"gpt3": gpt3_block, "llama": llama_block}[model["arch"]]
    for layer in range(model["layers"]):
        x = block(p, f"blocks.{layer}.", x, model)
    if model["arch"] == "gpt3":
        x = F.layer_norm(x, (model["d_model"],), p["norm.weight"], p["norm.bias"], model["norm_eps"])
    else:
        x = F.rms_norm(x, (model["d_model"],), p["norm.weight"], model["norm_eps"])
    head = p.get("head.weight", p["embedding.weight"])
    logits = F.linear(x, head) * model["output_multiplier"]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


# ---- training


def rate(schedule, peak, steps, step):
    """Rate of the update with batch `step`, counted from 0."""
    done = step + 1
    text = str(schedule["warmup"])
    if text.endswith("%"):
        warmup = round_half_up(float(text[:-1]) / 100 * steps)
    elif text.endswith("tok"):
        unit = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-4], 1)
        warmup = round_half_up(float(text[:-3].rstrip("kMG")) * unit / schedule["batch_tokens"])
    else:
        warmup = int(text.removesuffix("steps"))
    if done <= warmup:
        return peak * done / warmup
    fall, decay = 1 - schedule["final_lr_fraction"], schedule["decay"]
    t = (done - warmup) / (steps - warmup)
    if decay == "linear":
        return peak * (1 - fall * t)
    if decay == "cosine":
        return peak * (1 - fall * (1 - math.cos(math.pi * t)) / 2)
    if decay == "wsd":
        cooldown = min(round_half_up(schedule["cooldown_fraction"] * steps), steps - warmup)
        into = done - (steps - cooldown)
        return peak if into <= 0 else peak * (1 - fall * math.sqrt(into / cooldown))
    return peak


def round_half_up(x):
    return math.floor(x + 0.5)


class Trainer:
    def __init__(self, config, parameters):
        self.config, self.parameters = config, parameters
        adam = config["optimizer"]
        matrices = [p for p in parameters.values() if p.ndim == 2]
        vectors = [p for p in parameters.values() if p.ndim == 1]
        self.adamw = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": adam["weight_decay"]}, {"params": vectors, "weight_decay": 0.0}],
            lr=adam["lr"], betas=tuple(adam["betas"]), eps=adam["eps"])

    def step(self, number, tokens):
        schedule, adam = self.config["schedule"], self.config["optimizer"]
        self.adamw.zero_grad()
        loss = mean_loss(self.parameters, tokens, self.config["model"])
        loss.backward()
        if adam["clip"] > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), adam["clip"])  # min(1, clip / (norm + 1e-6))
        self.rate = rate(schedule, adam["lr"], schedule["steps"], number)
        for group in self.adamw.param_groups:
            group["lr"] = self.rate
        self.adamw.step()
        return loss.item()


def compare(run, arguments, say=print):
    """The largest difference over the steps."""
    losses, rates = read_losses(run)
    batch = batch_reader(run, arguments)
    trainer = Trainer(read_config(run), read_parameters(run))
    steps = min(arguments.steps or len(losses), len(losses))
    if steps == 0:
        raise SystemExit(f"{run / 'metrics.jsonl'}: no line has train/loss")
    worst = 0.0
    say(f"{'step':>6} {'isoflop':>12} {'PyTorch':>12} {'difference':>11}")
    for step in range(1, steps + 1):
        theirs = trainer.step(step - 1, batch(step - 1))
        difference = abs(losses[step] - theirs)
        worst = max(worst, difference if math.isfinite(difference) else math.inf)
        say(f"{step:6d} {losses[step]:12.6f} {theirs:12.6f} {difference:11.2e}")
        if rates[step] is not None and abs(rates[step] - trainer.rate) > 1e-6 * trainer.rate:
            raise SystemExit(f"step {step}: the run's rate is {rates[step]}, the config's schedule gives {trainer.rate}")
    say(f"largest difference over {steps} steps: {worst:.2e} (allowed {arguments.tolerance:.0e})")
    return worst


# ---- self-test: the same computation written out, in float64 and without autograd's help in the update


def plain_attention(q, k, v, scale):
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * scale
    hidden = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return torch.einsum("bhqk,bhkd->bhqd", scores.masked_fill(hidden, -math.inf).softmax(-1), v)


def plain_loss(p, tokens, model):
    """Independent of the functions above: no F.layer_norm, gelu, attention or cross_entropy."""
    def norm(x, name):
        if model["arch"] == "llama":
            return x / torch.sqrt((x * x).mean(-1, keepdim=True) + model["norm_eps"]) * p[name + ".weight"]
        c = x - x.mean(-1, keepdim=True)
        return c / torch.sqrt((c * c).mean(-1, keepdim=True) + model["norm_eps"]) * p[name + ".weight"] + p[name + ".bias"]

    def linear(x, name):
        y = x @ p[name + ".weight"].T
        return y + p[name + ".bias"] if name + ".bias" in p else y

    def turn(x):  # complex multiplication
        hd = x.shape[-1]
        angle = torch.outer(torch.arange(x.shape[-2], dtype=torch.float64),
                            torch.exp(-math.log(model["rope_base"]) * torch.arange(hd // 2).double() * 2 / hd))
        z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(angle), angle)
        return torch.view_as_real(z).flatten(-2)

    heads, kv, hd = model["heads"], model["kv_heads"], model["head_dim"]
    b, t = tokens.shape[0], tokens.shape[1] - 1
    x = p["embedding.weight"][tokens[:, :-1]]
    if model["arch"] == "gpt3":
        x = x + p["positions.weight"][:t]
    x = x * model["embedding_multiplier"]
    for layer in range(model["layers"]):
        at = f"blocks.{layer}."
        n = norm(x, at + "norm1")
        if model["arch"] == "gpt3":
            qkv = linear(n, at + "attention.qkv").view(b, t, heads + 2 * kv, hd).transpose(1, 2)
            q, k, v = qkv[:, :heads], qkv[:, heads:heads + kv], qkv[:, heads + kv:]
        else:
            q, k, v = (linear(n, at + "attention." + name).view(b, t, -1, hd).transpose(1, 2) for name in "qkv")
            q, k = turn(q), turn(k)
        pick = torch.arange(heads) // (heads // kv)
        scale = model["attention_multiplier"] / hd ** 0.5
        out = plain_attention(q, k[:, pick], v[:, pick], scale).transpose(1, 2).reshape(b, t, -1)
        x = x + model["residual_multiplier"] * linear(out, at + "attention.out")
        n = norm(x, at + "norm2")
        if model["arch"] == "gpt3":
            u = linear(n, at + "mlp.up")
            a = 0.5 * u * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u ** 3)))
        else:
            g = linear(n, at + "mlp.gate")
            a = g / (1 + torch.exp(-g)) * linear(n, at + "mlp.up")
        x = x + model["residual_multiplier"] * linear(a, at + "mlp.down")
    logits = norm(x, "norm") @ p.get("head.weight", p["embedding.weight"]).T * model["output_multiplier"]
    picked = logits.gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return (torch.logsumexp(logits, -1) - picked).mean()


def plain_training(config, parameters, batches):
    """Loss of every step, with AdamW and clipping written out."""
    adam, schedule = config["optimizer"], config["schedule"]
    moments = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in parameters.items()}
    losses = []
    for step, tokens in enumerate(batches):
        loss = plain_loss(parameters, tokens, config["model"])
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        norm = math.sqrt(sum((g * g).sum().item() for g in gradients))
        factor = min(1, adam["clip"] / (norm + 1e-6))
        lr = rate(schedule, adam["lr"], schedule["steps"], step)
        with torch.no_grad():
            for (name, p), g in zip(parameters.items(), gradients):
                m, v = moments[name]
                (b1, b2), g = adam["betas"], g * factor
                m.mul_(b1).add_((1 - b1) * g)
                v.mul_(b2).add_((1 - b2) * g * g)
                update = m / (1 - b1 ** (step + 1)) / ((v / (1 - b2 ** (step + 1))).sqrt() + adam["eps"])
                p -= lr * (update + (adam["weight_decay"] if p.ndim == 2 else 0) * p)
        losses.append(loss.item())
    return losses


def random_parameters(model, generator):
    d, f, v, hd = model["d_model"], model["d_ff"], model["vocabulary"], model["head_dim"]
    q, kv = model["heads"] * hd, model["kv_heads"] * hd
    shapes = {"embedding.weight": (v, d), "norm.weight": (d,)}
    for layer in range(model["layers"]):
        at = f"blocks.{layer}."
        linears = {"attention.out": (d, q), "mlp.up": (f, d), "mlp.down": (d, f)}
        if model["arch"] == "gpt3":
            linears["attention.qkv"] = (q + 2 * kv, d)
        else:
            linears |= {"attention.q": (q, d), "attention.k": (kv, d), "attention.v": (kv, d), "mlp.gate": (f, d)}
        for name, shape in linears.items():
            shapes[at + name + ".weight"] = shape
            if model["arch"] == "gpt3":
                shapes[at + name + ".bias"] = shape[:1]
        shapes |= {at + "norm1.weight": (d,), at + "norm2.weight": (d,)}
    if model["arch"] == "gpt3":
        shapes["positions.weight"] = (model["context"], d)
        shapes |= {name[:-6] + "bias": (d,) for name in list(shapes) if "norm" in name}
    if not model["tied_embeddings"]:
        shapes["head.weight"] = (v, d)
    return {name: generator.normal(1.0 if "norm" in name and "weight" in name else 0.0, 0.2, shape)
            for name, shape in shapes.items()}


def toml(config):
    return "\n".join(f"[{section}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
                     for section, keys in config.items())


def self_test_run(folder, arch, kv_heads, tied, decay):
    """Writes a run folder whose losses come from the written-out formulas, and judges it."""
    generator = np.random.default_rng(7)
    steps = 12
    model = dict(arch=arch, layers=2, d_model=24, heads=4, kv_heads=kv_heads, head_dim=6, d_ff=40, context=10,
                 vocabulary=50, tied_embeddings=tied, gelu="tanh", norm_eps=1e-5, rope_base=10000.0,
                 embedding_multiplier=1.5, residual_multiplier=0.7, output_multiplier=0.9, attention_multiplier=1.2)
    config = dict(model=model,
                  schedule=dict(steps=steps, batch_tokens=30, decay=decay, warmup="25%", final_lr_fraction=0.1,
                                cooldown_fraction=0.5),
                  optimizer=dict(lr=3e-2, betas=[0.9, 0.95], eps=1e-8, weight_decay=0.1, clip=1.0))
    values = random_parameters(model, generator)
    tokens = generator.integers(0, 50, (steps, 3, 11))
    (folder / "checkpoints" / "step-00000000").mkdir(parents=True)
    (folder / "config.toml").write_text(toml(config))
    with h5py.File(folder / "checkpoints" / "step-00000000" / "checkpoint.h5", "w") as file:
        for name, value in values.items():
            file["parameters/" + name] = value.astype(np.float32)
    batches = folder / "batches.jsonl"
    batches.write_text("".join(json.dumps({"step": i, "sequences": [{"ids": ids} for ids in s.tolist()]}) + "\n" for i, s in enumerate(tokens)))
    parameters = read_parameters(folder, torch.float64)
    losses = plain_training(config, parameters, [torch.tensor(s) for s in tokens])
    arguments = argparse.Namespace(batches=batches, steps=None, tolerance=1e-3)

    def judge(offset):
        lines = [{"step": i + 1, "train/loss": loss + (offset if i == 7 else 0)} for i, loss in enumerate(losses)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return compare(folder, arguments, say=lambda line: None)

    # fp32 against float64 over 12 steps at a high rate: rounding of 1e-7 grown by Adam's early steps.
    agreed, offset = judge(0), judge(2e-3)
    good = agreed < 1e-4 and 1.9e-3 < offset < 2.1e-3 and losses[-1] < losses[0] + 1
    print(f"{arch:6} kv_heads {kv_heads} tied {tied!s:5} {decay:7} largest difference {agreed:.1e}",
          "" if good else f"FAILED (a loss off by 2e-3 shows as {offset:.1e})")
    return good


def self_test():
    cases = [("gpt3", 4, True, "linear"), ("gpt3", 4, False, "constant"),
             ("llama", 4, False, "cosine"), ("llama", 2, True, "wsd")]
    results = []
    for case in cases:
        with tempfile.TemporaryDirectory() as name:
            results.append(self_test_run(pathlib.Path(name), *case))
    return 0 if all(results) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=pathlib.Path, help="a finished run folder of ours")
    parser.add_argument("--steps", type=int, help="only the first STEPS (default: all)")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="nats per token (default 1e-3)")
    parser.add_argument("--batches", type=pathlib.Path, help="lines as data batch --json prints them")
    parser.add_argument("--isoflop", default=str(ROOT / "build/release/isoflop"), help="the program")
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    if arguments.run is None:
        parser.error("name a run folder")
    return 1 if compare(arguments.run, arguments) > arguments.tolerance else 0


if __name__ == "__main__":
    sys.exit(main())
