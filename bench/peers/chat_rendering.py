#!/usr/bin/env python3
"""A three-turn chat: the prompts of `isoflop chat` against jinja2's and llama.cpp's of the same template.

    chat_rendering.py PROGRAM MODEL.gguf [LIBRARY]

Prints one JSON object and exits 1 where a prompt differs. jinja2 renders the template in the file; LIBRARY is a
libllama with llama_chat_apply_template (xllamacpp's extension module serves), which has its own code for
templates that it recognizes. Needs: pip install jinja2.
"""
import ctypes
import json
import struct
import subprocess
import sys

from jinja_templates import environment

QUESTIONS = ["Hello! What is the capital of France?", "And of  Italy?", "Say it in one word, please: \u00e9\u20ac."]


def gguf_texts(path, wanted):
    """Values of string keys; nothing else of the file."""
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    found = {}
    with open(path, "rb") as f:
        def number(form):
            return struct.unpack("<" + form, f.read(struct.calcsize(form)))[0]

        def text():
            return f.read(number("Q")).decode("utf-8", "replace")

        def value(kind):
            if kind == 8:
                return text()
            if kind == 9:
                inner, count = number("I"), number("Q")
                return [value(inner) for _ in range(count)]
            raw = f.read(sizes[kind])
            return int.from_bytes(raw, "little") if kind in (4, 5) else raw

        f.read(8)
        number("q")
        for _ in range(number("q")):
            key = text()
            item = value(number("I"))
            if key in wanted:
                found[key] = item
    return found


class Message(ctypes.Structure):
    _fields_ = [("role", ctypes.c_char_p), ("content", ctypes.c_char_p)]


def llama_rendering(library, template, messages):
    apply = ctypes.CDLL(library).llama_chat_apply_template
    apply.restype = ctypes.c_int32
    apply.argtypes = [ctypes.c_char_p, ctypes.POINTER(Message), ctypes.c_size_t, ctypes.c_bool,
                      ctypes.c_char_p, ctypes.c_int32]
    chat = (Message * len(messages))(*[Message(m["role"].encode(), m["content"].encode()) for m in messages])
    buffer = ctypes.create_string_buffer(1 << 16)
    size = apply(template.encode(), chat, len(messages), True, buffer, len(buffer))
    return None if size < 0 else buffer.raw[:size].decode()


def main():
    program, model = sys.argv[1:3]
    library = sys.argv[3] if len(sys.argv) > 3 else None
    keys = gguf_texts(model, {"tokenizer.chat_template", "tokenizer.ggml.tokens", "tokenizer.ggml.bos_token_id",
                              "tokenizer.ggml.eos_token_id"})
    tokens = keys["tokenizer.ggml.tokens"]
    template = keys["tokenizer.chat_template"]
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    out = subprocess.run([program, "chat", model, "--system", system, "--temperature", "0", "-n", "24", "--json"],
                         input="\n".join(QUESTIONS) + "\n", capture_output=True, text=True, check=True).stdout
    messages, result = [{"role": "system", "content": system}], {"turns": []}
    for question, turn in zip(QUESTIONS, json.loads(out)["turns"]):
        messages.append({"role": "user", "content": question})
        variables = {"messages": messages, "add_generation_prompt": True,
                     "bos_token": tokens[keys["tokenizer.ggml.bos_token_id"]],
                     "eos_token": tokens[keys["tokenizer.ggml.eos_token_id"]]}
        jinja = environment().from_string(template).render(**variables)
        llama = llama_rendering(library, template, messages) if library else None
        result["turns"].append({"prompt_tokens": len(turn["prompt_ids"]), "reused_tokens": turn["reused_tokens"],
                                "as_jinja2": turn["prompt"] == jinja,
                                "as_llama_cpp": None if llama is None else turn["prompt"] == llama,
                                "answer": turn["text"]})
        messages.append({"role": "assistant", "content": turn["text"]})
    print(json.dumps(result, indent=1, ensure_ascii=False))
    if len(result["turns"]) != 3 or not all(t["as_jinja2"] and t["as_llama_cpp"] in (None, True)
                                            for t in result["turns"]):
        sys.exit(1)


main()
