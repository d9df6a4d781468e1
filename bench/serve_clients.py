#!/usr/bin/env python3
"""A minute of many clients at once against `isoflop serve`, two thirds of them ill-behaved.

    serve_clients.py PROGRAM MODEL [--clients 100] [--seconds 60] [SERVE FLAG...]

Starts the server on a free port, and prints one JSON object: answers by status, what the server's
memory and threads were after a warm-up and at the end, and its exit code after SIGTERM. Standard library only.
"""
import argparse
import collections
import json
import random
import re
import signal
import socket
import subprocess
import threading
import time


def proc(pid, key):
    return int(re.search(key + r":\s+(\d+)", open("/proc/%d/status" % pid).read()).group(1))


def request(body):
    text = json.dumps(body).encode()
    return (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            % len(text)) + text


def client(number, port, end, seen):
    rng = random.Random(number)
    kind = ("good", "stream", "good", "silent", "slow", "leaves", "half", "large", "garbage")[number % 9]
    while time.time() < end:
        try:
            s = socket.create_connection(("127.0.0.1", port), timeout=90)
            body = {"prompt": "word %d " % rng.randrange(1000), "max_tokens": 8, "stream": kind == "stream"}
            if kind == "silent":
                s.settimeout(15)
            elif kind == "slow":
                for byte in request(body):
                    s.send(bytes([byte]))
                    time.sleep(0.2)
                    if time.time() > end:
                        break
            elif kind == "leaves":
                s.sendall(request(body))
                time.sleep(rng.random() / 10)
                s.close()
                seen["left"] += 1
                continue
            elif kind == "half":
                s.sendall(request(body)[:60])
                s.shutdown(socket.SHUT_WR)
            elif kind == "large":
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100000)
            elif kind == "garbage":
                s.sendall(bytes(rng.randrange(256) for _ in range(500)) + b"\r\n\r\n")
            else:
                s.sendall(request(body))
            data = b""
            while True:
                piece = s.recv(65536)
                if not piece:
                    break
                data += piece
            seen[kind + " " + (data[9:12].decode("ascii", "replace") or "closed")] += 1
            s.close()
        except OSError as error:
            seen[kind + " " + type(error).__name__] += 1
        time.sleep(0.02)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60)
    args, flags = parser.parse_known_args()
    server = subprocess.Popen([args.program, "serve", args.model, "--port", "0"] + flags,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    port = int(re.search(r":(\d+)/v1", server.stdout.readline()).group(1))
    seen = collections.Counter()

    def crowd(seconds):
        end = time.time() + seconds
        threads = [threading.Thread(target=client, args=(i, port, end, seen)) for i in range(args.clients)]
        for t in threads:
            t.start()
        most = 0
        while any(t.is_alive() for t in threads):
            most = max(most, proc(server.pid, "Threads"))
            time.sleep(0.2)
        return most

    crowd(args.seconds / 6)  # warm-up: caches, malloc's arenas
    warm = proc(server.pid, "VmRSS")
    seen.clear()
    threads = crowd(args.seconds)
    result = {"clients": args.clients, "seconds": args.seconds, "answers": dict(sorted(seen.items())),
              "rss_kib_warm": warm, "rss_kib_end": proc(server.pid, "VmRSS"), "most_threads": threads}
    server.send_signal(signal.SIGTERM)
    result["exit_code"] = server.wait(timeout=60)
    print(json.dumps(result, indent=1))


main()
