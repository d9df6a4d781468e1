#!/usr/bin/env python3
"""Quantized blocks against llama.cpp's own quantizer: bytes of a whole file, and speed.

  llama_cpp_quantize.py bytes --source F32.gguf [--imatrix I.gguf] FILE.gguf...
  llama_cpp_quantize.py whole --library LIBLLAMA.so --source F32.gguf FILE.gguf...
  llama_cpp_quantize.py speed --bench build/release/bench/bench_quantize [--threads 2]

`bytes` quantizes each tensor of SOURCE with ggml_quantize_chunk into the type that FILE has for it and compares;
exit 1 when any byte differs. `whole` lets the library's llama_model_quantize make a file of FILE's own type
(general.file_type) out of SOURCE and compares names and types of all tensors: the recipe is its own. Exit 1 when one
differs. Blocks that differ are counted: none do in a library compiled without fused multiply-add, such as
libllamamodel-mainline-kompute-avxonly.so of the package gpt4all; with it Q5_K, Q4_K and Q6_K are rounded in another way now
and then. llama-cpp-python has such a function too. `speed` runs bench_quantize and the library in turns on matrices of the same shape and
prints the ratio of values per second of processor time (and of time passed, which other programs disturb).

The library of `bytes` and `speed` is the one inside the Python package xllamacpp, or --library FILE. Needs numpy and gguf.
"""
import argparse
import concurrent.futures
import ctypes
import glob
import json
import subprocess
import sys
import time

import numpy


def open_library(path):
    if not path:
        found = [f for p in sys.path for f in glob.glob(p + "/xllamacpp/xllamacpp*.so")]
        path = found[0] if found else sys.exit("no llama.cpp library: pip install xllamacpp, or --library FILE")
    function = ctypes.CDLL(path, ctypes.RTLD_GLOBAL).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    return function


def quantize(function, kind, values, importance, out, first, rows):
    """Rows first.. of `values` into `out`; the interpreter's lock is not held meanwhile."""
    pointer = importance.ctypes.data if importance is not None else None
    function(kind, values.ctypes.data, out.ctypes.data, first * values.shape[1], rows, values.shape[1], pointer)


def compare_bytes(options, function):
    import gguf

    source = {t.name: t for t in gguf.GGUFReader(options.source).tensors}
    importance = {}
    if options.imatrix:
        entries = {t.name: t.data.astype(numpy.float32).ravel() for t in gguf.GGUFReader(options.imatrix).tensors}
        for name, sums in entries.items():
            if name.endswith(".in_sum2"):
                weight = name[: -len(".in_sum2")]
                importance[weight] = sums / entries[weight + ".counts"][0]
    different = 0
    for path in options.files:
        types, wrong, size, count = {}, [], 0, 0
        for tensor in gguf.GGUFReader(path).tensors:
            types[tensor.tensor_type.name] = types.get(tensor.tensor_type.name, 0) + 1
            values = numpy.ascontiguousarray(source[tensor.name].data, dtype=numpy.float32)
            size, count = size + tensor.n_bytes, count + values.size
            if values.ndim == 1:
                same = numpy.array_equal(tensor.data, values)
            else:
                out = numpy.empty(tensor.n_bytes + 4096, dtype=numpy.uint8)
                weights = importance.get(tensor.name)
                if tensor.tensor_type.name == "F32":
                    same = numpy.array_equal(tensor.data, values)
                else:
                    quantize(function, int(tensor.tensor_type), values, weights, out, 0, values.shape[0])
                    same = tensor.data.tobytes() == out[: tensor.n_bytes].tobytes()
            if not same:
                wrong.append(tensor.name)
        different += len(wrong)
        print(json.dumps({"file": path, "bits_per_weight": round(8 * size / count, 4), "types": types,
                          "different": wrong}))
    return different == 0


class QuantizeParams(ctypes.Structure):
    """Of llama.h: the first members have kept their places; the rest is left at its defaults."""
    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("output_type", ctypes.c_int32),
                ("embedding_type", ctypes.c_int32), ("rest", ctypes.c_byte * 496)]


def compare_whole(options):
    import os
    import tempfile

    import gguf

    library = ctypes.CDLL(options.library, ctypes.RTLD_GLOBAL)
    library.llama_model_quantize_default_params.restype = QuantizeParams
    library.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(QuantizeParams)]
    different = 0
    for path in options.files:
        ours = gguf.GGUFReader(path)
        params = library.llama_model_quantize_default_params()
        if params.output_type != params.embedding_type or params.threads != 0:
            sys.exit("the library's llama_model_quantize_params are laid out in another way")
        params.threads = 2
        params.file_type = int(ours.fields["general.file_type"].contents())
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "reference.gguf")
            if library.llama_model_quantize(options.source.encode(), out.encode(), ctypes.byref(params)) != 0:
                sys.exit(f"llama_model_quantize failed on {options.source}")
            theirs = {t.name: t for t in gguf.GGUFReader(out).tensors}
            wrong = sorted(set(theirs) ^ {t.name for t in ours.tensors})
            types, blocks, other_blocks = {}, 0, 0
            for tensor in ours.tensors:
                kind = tensor.tensor_type
                types[kind.name] = types.get(kind.name, 0) + 1
                if tensor.name not in theirs:
                    continue
                other = theirs[tensor.name]
                if kind != other.tensor_type:
                    wrong.append(f"{tensor.name} {kind.name} {other.tensor_type.name}")
                elif tensor.data.ndim > 1:
                    size = gguf.GGML_QUANT_SIZES[kind][1]
                    a, b = (numpy.frombuffer(t.data.tobytes(), numpy.uint8).reshape(-1, size) for t in (tensor, other))
                    blocks, other_blocks = blocks + len(a), other_blocks + int((a != b).any(axis=1).sum())
                elif tensor.data.tobytes() != other.data.tobytes():
                    wrong.append(tensor.name)
        different += len(wrong)
        print(json.dumps({"file": path, "file_type": params.file_type, "types": types, "different": wrong,
                          "blocks": blocks, "other_blocks": other_blocks}), flush=True)
    return different == 0


def library_rates(function, kind, threads, weighted, repeats=5):
    rng = numpy.random.default_rng(1)
    values = rng.normal(0, 0.02, (4096, 1024)).astype(numpy.float32)
    importance = numpy.abs(rng.normal(0, 1, 1024)).astype(numpy.float32) if weighted else None
    out = numpy.empty(values.nbytes + 4096, dtype=numpy.uint8)
    step = 32
    wall = processor = 0.0
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            start, used = time.perf_counter(), time.process_time()
            list(pool.map(lambda first: quantize(function, kind, values, importance, out, first, step),
                          range(0, values.shape[0], step)))
            wall = max(wall, values.size / (time.perf_counter() - start))
            processor = max(processor, values.size / (time.process_time() - used))
    return wall / 1e6, processor / 1e6


def compare_speed(options, function):
    kinds = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 6, "Q5_1": 7, "Q8_0": 8, "Q4_K": 12, "Q5_K": 13, "Q6_K": 14}
    for name, kind in kinds.items():
        ours = subprocess.run([options.bench, str(options.threads), name], capture_output=True, text=True, check=True)
        for line in ours.stdout.splitlines():
            row = json.loads(line)
            wall, processor = library_rates(function, kind, options.threads, row["weighted"])
            row["llama_cpp_mvalues_per_s"] = round(wall, 1)
            row["llama_cpp_mvalues_per_processor_s"] = round(processor, 1)
            row["ratio"] = round(row["mvalues_per_s"] / wall, 2)
            row["processor_ratio"] = round(row["mvalues_per_processor_s"] / processor, 2)
            print(json.dumps(row), flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    of_bytes, of_whole, of_speed = (verbs.add_parser(verb) for verb in ("bytes", "whole", "speed"))
    of_whole.add_argument("--library", required=True)
    of_whole.add_argument("--source", required=True)
    of_whole.add_argument("files", nargs="+")
    for verb in (of_bytes, of_speed):
        verb.add_argument("--library")
    of_bytes.add_argument("--source", required=True)
    of_bytes.add_argument("--imatrix")
    of_bytes.add_argument("files", nargs="+")
    of_speed.add_argument("--bench", required=True)
    of_speed.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.verb == "whole":
        sys.exit(0 if compare_whole(options) else 1)
    function = open_library(options.library)
    run = compare_bytes if options.verb == "bytes" else compare_speed
    sys.exit(0 if run(options, function) else 1)


if __name__ == "__main__":
    main()
