#!/usr/bin/env python3
"""PIQA on a Hugging Face folder, item by item: isoflop against transformers on the same folder.

  hf_tasks.py --isoflop build/release/isoflop --piqa valid.jsonl --labels valid-labels.lst [--items N] FOLDER

Texts, ids, likelihoods and choices are computed here, as lm-evaluation-harness defines them. Exit 1 when a
log-likelihood is off by more than the tolerance, the tokens that are scored or an argmax of a whole answer differ, or a
choice does (by sum, per character, per byte) that is not a tie within the tolerance. Needs torch and transformers
(scripts/peer_env, then pip install transformers safetensors tokenizers).
"""
import argparse
import json
import os
import subprocess
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error",
                  TOKENIZERS_PARALLELISM="false")
import torch  # noqa: E402
import transformers  # noqa: E402

BATCH = 16


def scored(tokenizer, context, continuation, most):
    whole = tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    count = len(whole) - len(tokenizer(context, add_special_tokens=False)["input_ids"])
    whole = whole[-(most + 1):]
    return whole, min(count, len(whole) - 1)


@torch.no_grad()
def likelihoods(model, texts):
    """Sum of log p and whether all are argmaxes, for each (ids, scored); of similar lengths together."""
    results = [None] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i][0]))
    for first in range(0, len(order), BATCH):
        batch = order[first:first + BATCH]
        width = max(len(texts[i][0]) for i in batch) - 1
        ids = torch.zeros((len(batch), width), dtype=torch.long)  # padded behind, where no token looks
        for row, i in enumerate(batch):
            ids[row, :len(texts[i][0]) - 1] = torch.tensor(texts[i][0][:-1])
        log_p = torch.log_softmax(model(ids).logits.float(), -1)
        for row, i in enumerate(batch):
            whole, count = texts[i]
            at = log_p[row, len(whole) - 1 - count:len(whole) - 1]
            targets = torch.tensor(whole[-count:])
            results[i] = (at.gather(1, targets[:, None]).double().sum().item(),
                          bool((at.argmax(-1) == targets).all()), count)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("isoflop", "piqa", "labels"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("folder")
    parser.add_argument("--items", type=int, default=1 << 30)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.folder)
    most = model.config.max_position_embeddings
    lines = [json.loads(line) for line in open(options.piqa, encoding="utf-8")][:options.items]
    labels = [int(line) for line in open(options.labels)]
    answers = [[item["sol1"], item["sol2"]] for item in lines]
    texts = [scored(tokenizer, f"Question: {item['goal']}\nAnswer:", " " + answer, most)
             for item, pair in zip(lines, answers) for answer in pair]
    theirs = likelihoods(model, texts)

    done = subprocess.run([options.isoflop, "eval", options.folder, "--tasks", "piqa=" + options.piqa, "--per-item",
                           "--json"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    ours = next(iter(json.loads(done.stdout)["tasks"].values()))
    worst, wrong, right = 0.0, 0, {"acc": 0, "acc_norm": 0, "acc_bytes": 0}
    lengths = {"acc": lambda a: 1, "acc_norm": len, "acc_bytes": lambda a: len(a.encode())}
    for k, (pair, label, item) in enumerate(zip(answers, labels, ours["per_item"])):
        own = theirs[2 * k:2 * k + 2]
        for (nats, greedy, count), choice in zip(own, item["choices"]):
            worst = max(worst, abs(nats - choice["log_likelihood"]))
            wrong += greedy != choice["greedy"] or count != choice["tokens"]
        for name, length in lengths.items():
            values = [nats / length(answer) for (nats, _, _), answer in zip(own, pair)]
            choice = int(values[1] > values[0])
            right[name] += choice == label
            wrong += choice != item[name] and abs(values[0] - values[1]) > options.tolerance
    print(json.dumps({"items": len(lines), "max_difference": worst, "other_choices_or_tokens": wrong,
                      **{name: round(value / len(lines), 4) for name, value in right.items()},
                      "isoflop": {name: round(ours[name], 4) for name in right}}))
    sys.exit(0 if worst <= options.tolerance and wrong == 0 else 1)


if __name__ == "__main__":
    main()
