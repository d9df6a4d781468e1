#!/usr/bin/env python3
"""The same text through the same tokenizer, here and in Hugging Face's `tokenizers`: speed and ids.

  hf_tokenizers.py --bench build/release/bench/bench_tokenizer --tokenizer tokenizer.json --text FILE
                   [--megabytes 20] [--pairs 5]

One thread each, documents of about 32 KiB cut at line ends, in turns; the ratio of each pair is printed, and
their median. The tokenizer is first written as we write it (`isoflop tokenizer import`), so both read one
file. Exit 1 when the ids differ. Needs the package `tokenizers`.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer  # noqa: E402  (reads the environment)


def documents_of(path, size):
    text = open(path, encoding="utf-8").read(size).replace("\0", "")
    documents, begin = [], 0
    while begin < len(text):
        end = text.find("\n", begin + 32768) + 1 or len(text)
        documents.append(text[begin:end])
        begin = end
    return documents


def theirs(tokenizer, documents):
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    start = time.perf_counter()
    encoded = encode(documents, add_special_tokens=False)
    seconds = time.perf_counter() - start
    checksum = 0
    for one in encoded:
        for id in one.ids:
            checksum = (checksum * 31 + id) & 0xFFFFFFFFFFFFFFFF
    return seconds, checksum


def ours(options, file):
    done = subprocess.run([options.bench, "encode", options.tokenizer, file], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout.split("RESULT", 1)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("bench", "tokenizer", "text"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    documents = documents_of(options.text, options.megabytes * 1000000)
    size = sum(len(document.encode()) for document in documents) / 1e6
    tokenizer = Tokenizer.from_file(options.tokenizer)
    tokenizer.encode_special_tokens = True

    ratios, same = [], True
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\0".join(document.encode() for document in documents))
        file.flush()
        for _ in range(options.pairs):
            result = ours(options, file.name)
            seconds, checksum = theirs(tokenizer, documents)
            same = same and checksum == result["checksum"]
            ratios.append(result["mb_per_s"] / (size / seconds))
            print(f"ours {result['mb_per_s']:.1f} MB/s, tokenizers {size / seconds:.2f} MB/s, ratio {ratios[-1]:.2f}")
    print("RESULT", json.dumps({"ratio": round(statistics.median(ratios), 2), "same_ids": same}))
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
