#!/usr/bin/env python3
"""A Hugging Face folder whose model.safetensors is damaged in many ways, each opened by isoflop: read or refused.

  damaged_folder.py --isoflop build/release/isoflop FOLDER [--files 10000] [--seed 1]

Damages the file (bits of the header and of the values, numbers of the header, lengths, pieces cut out, doubled or taken
from elsewhere, the end cut off) and lets `isoflop inspect FOLDER` read it, a process each. Each has to end with 0, or
with 2 and one message that names a file of the folder, within the memory that the sound folder takes and twice the
file's size (it is mapped, and its header is parsed), and within 10 s. Prints what came out; exit 1 when anything else
did. Standard library only.
"""
import argparse
import collections
import json
import os
import pathlib
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile


def damaged(good, random):
    data = bytearray(good)
    header = 8 + int.from_bytes(good[:8], "little")
    how = random.choice(["header bits", "number", "length", "value bits", "cut", "drop", "double", "splice", "field"])
    at = random.randrange(header)
    if how == "header bits":
        for _ in range(random.randrange(1, 6)):
            data[random.randrange(header)] ^= 1 << random.randrange(8)
    elif how == "number":  # one of the header's numbers becomes another, of the same length or not
        found = random.choice(list(re.finditer(rb"\d+", good[:header])))
        value = random.choice([0, 1, 2**31, 2**32, 2**63 - 1, 2**64, 10**30, -1, random.randrange(10**6)])
        data[found.start():found.end()] = str(value).encode()
        data[:8] = (len(data) - len(good) + header - 8).to_bytes(8, "little")
    elif how == "length":
        data[:8] = random.choice([0, 1, header, len(good), 2**31, 2**63, 2**64 - 1,
                                  random.randrange(2**32)]).to_bytes(8, "little")
    elif how == "value bits":
        for _ in range(random.randrange(1, 50)):
            data[random.randrange(header, len(good))] ^= 1 << random.randrange(8)
    elif how == "cut":
        del data[random.choice([at, random.randrange(len(good))]):]
    elif how == "drop":
        del data[at:at + random.randrange(1, 64)]
    elif how == "double":
        data[at:at] = data[at:at + random.randrange(1, 256)]
    elif how == "splice":
        other = random.randrange(len(good))
        data[at:at + 32] = good[other:other + 32]
    else:  # a name, a type
        found = random.choice(list(re.finditer(rb'"[^"]*"', good[:header])))
        data[found.start():found.end()] = random.choice(
            [b'""', b'"F32"', b'"BF16"', b'"F33"', b"null", b"{}", b"[]", b'"\xff"', b'"' + b"a" * 5000 + b'"'])
        data[:8] = (len(data) - len(good) + header - 8).to_bytes(8, "little")
    return how, bytes(data)


def run(options, folder):
    """Exit status, what was said, and the peak of its memory in bytes."""
    process = subprocess.Popen([options.isoflop, "inspect", folder, "--quiet", "--json"], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, errors="replace",
                               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (10, 10)))
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, said, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isoflop", required=True)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--files", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    good = (options.folder / "model.safetensors").read_bytes()
    generator = random.Random(options.seed)
    counts, wrong, most = collections.Counter(), [], 0
    with tempfile.TemporaryDirectory() as work:
        folder = pathlib.Path(work) / "model"
        shutil.copytree(options.folder, folder)
        code, said, sound = run(options, folder)
        if code != 0:
            sys.exit(f"the sound folder is refused: {said}")
        for number in range(options.files):
            how, data = damaged(good, generator)
            (folder / "model.safetensors").write_bytes(data)
            code, said, peak = run(options, folder)
            most = max(most, peak)
            counts[how, "read" if code == 0 else "refused"] += 1
            clear = code == 0 or (code == 2 and said.startswith("isoflop: ") and str(folder) in said and
                                  said.count("\n") == 1)
            if not clear or peak > sound + 2 * len(data):
                wrong.append((number, how, code, peak, said[-300:]))
    for number, how, code, peak, said in wrong[:10]:
        print(f"number {number} ({how}): exit {code}, {peak} bytes: {said}", file=sys.stderr)
    print(json.dumps({"files": options.files, "bytes": len(good), "wrong": len(wrong), "peak_sound": sound,
                      "peak": most, "counts": {f"{how}, {what}": n for (how, what), n in sorted(counts.items())}}))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
