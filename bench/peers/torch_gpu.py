#!/usr/bin/env python3
"""Training speed on one GPU: PyTorch, everything a tuned user would switch on, and isoflop beside it.

    bench/peers/torch_gpu.py --preset gpt3-125m --T 1024 --B 32 --sweep \\
        --ours-cmd "build/release/isoflop bench step --preset gpt3-125m model.context=1024 schedule.micro_batch=32 \\
                    schedule.slots=1 schedule.batch_tokens=32768"

Trains a decoder with random weights on random tokens: torch.compile, causal attention by cuDNN or FlashAttention,
bf16 with fp32 masters or autocast, fused AdamW, clipping, padded vocabulary. --sweep tries several of these, each in
a process of its own, and keeps the best. --ours-cmd runs our program afterwards (any that prints RESULT and an
object with tokens_per_s) and prints both rows and the ratio. Exit 77: there is neither a GPU nor a row.

MFU by two conventions; N is every weight of a matrix product, the head once, its vocabulary without padding:
  mfu_full    6 N + 12 L H dh T per token, of 989.4 TFLOP/s (dense bf16, H100 and H200)
  mfu_causal  6 N +  6 L H dh T
"""
import argparse, contextlib, json, math, os, shlex, statistics, subprocess, sys, time

PEAK_BF16_DENSE = 989.4e12  # H100/H200 SXM datasheet, dense bf16

PRESETS = {  # d, L, H, Hkv, ffn, T, V, arch
    "gpt3-125m": (768, 12, 12, 12, 0, 2048, 50257, "gpt3"),
    "gpt2-124m": (768, 12, 12, 12, 0, 1024, 50257, "gpt3"),
    "gpt3-350m": (1024, 24, 16, 16, 0, 2048, 50257, "gpt3"),
    "gpt3-760m": (1536, 24, 16, 16, 0, 2048, 50257, "gpt3"),
    "gpt3-1.3b": (2048, 24, 16, 16, 0, 2048, 50257, "gpt3"),
    "gpt2-1.5b": (1600, 48, 25, 25, 0, 1024, 50257, "gpt3"),
    "gpt3-2.7b": (2560, 32, 32, 32, 0, 2048, 50257, "gpt3"),
    "gpt3-6.7b": (4096, 32, 32, 32, 0, 2048, 50257, "gpt3"),
    "neox-160m": (768, 12, 12, 12, 0, 2048, 50304, "neox"),
    "neox-410m": (1024, 24, 16, 16, 0, 2048, 50304, "neox"),
    "neox-1.4b": (2048, 24, 16, 16, 0, 2048, 50304, "neox"),
    "neox-2.8b": (2560, 32, 32, 32, 0, 2048, 50304, "neox"),
    "neox-6.9b": (4096, 32, 32, 32, 0, 2048, 50432, "neox"),
    "llama-1b": (2048, 16, 32, 8, 8192, 4096, 128256, "llama"),
    "llama2-7b": (4096, 32, 32, 32, 11008, 4096, 32000, "llama"),
    "llama3-8b": (4096, 32, 32, 8, 14336, 8192, 128256, "llama"),
}


def parse(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--preset", choices=sorted(PRESETS))
    p.add_argument("--arch", choices=["gpt3", "neox", "llama"])
    p.add_argument("--d", type=int)
    p.add_argument("--L", type=int)
    p.add_argument("--H", type=int)
    p.add_argument("--Hkv", type=int, help="key/value heads (llama); default = H")
    p.add_argument("--ffn", type=int, help="MLP width; default 4d, or 8d/3 rounded up to 256 for llama")
    p.add_argument("--T", type=int)
    p.add_argument("--V", type=int)
    p.add_argument("--B", type=int, default=8, help="micro-batch in sequences")
    p.add_argument("--accum", type=int, default=1, help="micro-batches per optimizer step")
    p.add_argument("--untied", action="store_true", help="gpt3: separate output head (neox/llama always are)")
    p.add_argument("--pad-vocab", type=int, default=128)
    p.add_argument("--precision", choices=["amp", "master", "bf16"], default="master",
                   help="amp: fp32 weights + autocast (nanoGPT); master: bf16 weights and grads + fp32 master "
                        "(Megatron/llm.c style); bf16: all bf16, no master (upper bound, not a fair peer)")
    p.add_argument("--attn", choices=["cudnn", "flash", "auto", "math"], default="cudnn")
    p.add_argument("--compile", choices=["none", "default", "max-autotune-no-cudagraphs", "reduce-overhead",
                                         "max-autotune"], default="default")
    p.add_argument("--recompute", action="store_true", help="checkpoint every block")
    p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--warmup", type=int, default=8)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--device", default="cuda")
    p.add_argument("--seed", type=int, default=1234)
    p.add_argument("--peak", type=float, default=PEAK_BF16_DENSE)
    p.add_argument("--micro", action="store_true", help="also time this model's GEMM and attention shapes alone")
    p.add_argument("--sweep", action="store_true", help="try several settings, each in its own process; keep the best")
    p.add_argument("--time-budget", type=float, default=420, help="seconds for --sweep, peer side only")
    p.add_argument("--ours-cmd", help="command that prints a line 'RESULT {json with tokens_per_s}'")
    a = p.parse_args(argv)
    if a.preset:
        names = ["d", "L", "H", "Hkv", "ffn", "T", "V", "arch"]
        for n, v in zip(names, PRESETS[a.preset]):
            if getattr(a, n) is None:
                setattr(a, n, v)
    a.arch = a.arch or "gpt3"
    for n, v in (("d", 768), ("L", 12), ("H", 12), ("T", 1024), ("V", 50257)):
        if getattr(a, n) is None:
            setattr(a, n, v)
    a.Hkv = a.Hkv or a.H
    if not a.ffn:
        a.ffn = -(-8 * a.d // (3 * 256)) * 256 if a.arch == "llama" else 4 * a.d
    if a.d % a.H or a.H % a.Hkv:
        p.error("H must divide d, and Hkv must divide H")
    a.Vp = -(-a.V // a.pad_vocab) * a.pad_vocab
    a.tied = a.arch == "gpt3" and not a.untied
    return a


def flop_model(a):
    dh = a.d // a.H
    qkvo = a.d * dh * (2 * a.H + 2 * a.Hkv)
    mlp = (3 if a.arch == "llama" else 2) * a.d * a.ffn
    n_matmul = a.L * (qkvo + mlp) + a.V * a.d  # true V: padding is our own cost, not credited
    attn = a.L * a.H * dh * a.T
    return n_matmul, 6 * n_matmul + 12 * attn, 6 * n_matmul + 6 * attn


def build(a, torch):
    nn, F = torch.nn, torch.nn.functional
    dh = a.d // a.H

    class RMSNorm(nn.Module):
        def __init__(self, d, eps=1e-5):
            super().__init__()
            self.weight, self.eps = nn.Parameter(torch.ones(d)), eps

        def forward(self, x):
            y = x.float()
            return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight.to(x.dtype)

    def norm():
        return RMSNorm(a.d) if a.arch == "llama" else nn.LayerNorm(a.d)

    rot = {"gpt3": 0, "neox": max(2, dh // 4 // 2 * 2), "llama": dh}[a.arch]

    def rope(x, cos, sin):  # half-split rotation on the first `rot` channels
        r, keep = x[..., :rot], x[..., rot:]
        x1, x2 = r[..., :rot // 2], r[..., rot // 2:]
        y = torch.cat((x1 * cos - x2 * sin, x2 * cos + x1 * sin), -1).to(x.dtype)
        return y if rot == dh else torch.cat((y, keep), -1)

    def attention(q, k, v):
        if a.attn != "math":
            kw = {"enable_gqa": True} if a.Hkv != a.H else {}
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, **kw)
        if a.Hkv != a.H:
            k, v = (t.repeat_interleave(a.H // a.Hkv, 1) for t in (k, v))
        s = (q @ k.transpose(-2, -1)).float() / math.sqrt(dh)
        m = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).tril()
        return s.masked_fill(~m, float("-inf")).softmax(-1).to(q.dtype) @ v

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            bias = a.arch != "llama"
            self.n1, self.n2 = norm(), norm()
            self.qkv = nn.Linear(a.d, dh * (a.H + 2 * a.Hkv), bias=bias)
            self.proj = nn.Linear(a.d, a.d, bias=bias)
            self.up = nn.Linear(a.d, a.ffn * (2 if a.arch == "llama" else 1), bias=bias)
            self.down = nn.Linear(a.ffn, a.d, bias=bias)

        def attn(self, x, cos, sin):
            b, t, _ = x.shape
            q, k, v = self.qkv(x).split([dh * a.H, dh * a.Hkv, dh * a.Hkv], -1)
            q = q.view(b, t, a.H, dh).transpose(1, 2)
            k = k.view(b, t, a.Hkv, dh).transpose(1, 2)
            v = v.view(b, t, a.Hkv, dh).transpose(1, 2)
            if rot:
                q, k = rope(q, cos, sin), rope(k, cos, sin)
            return self.proj(attention(q, k, v).transpose(1, 2).reshape(b, t, a.d))

        def mlp(self, x):
            h = self.up(x)
            if a.arch == "llama":
                g, u = h.chunk(2, -1)
                return self.down(F.silu(g) * u)
            return self.down(F.gelu(h, approximate="tanh" if a.arch == "gpt3" else "none"))

        def forward(self, x, cos, sin):
            if a.arch == "neox":  # parallel residual
                return x + self.attn(self.n1(x), cos, sin) + self.mlp(self.n2(x))
            x = x + self.attn(self.n1(x), cos, sin)
            return x + self.mlp(self.n2(x))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok = nn.Embedding(a.Vp, a.d)
            self.pos = nn.Embedding(a.T, a.d) if a.arch == "gpt3" else None
            self.blocks = nn.ModuleList(Block() for _ in range(a.L))
            self.nf = norm()
            self.head = nn.Linear(a.d, a.Vp, bias=False)
            for n, w in self.named_parameters():
                if w.dim() == 2:
                    nn.init.normal_(w, std=0.02 / (math.sqrt(2 * a.L) if ("proj" in n or "down" in n) else 1))
                elif n.endswith("bias"):
                    nn.init.zeros_(w)
            if a.tied:
                self.head.weight = self.tok.weight
            cos = sin = torch.zeros(0)
            if rot:
                f = 10000.0 ** (-torch.arange(0, rot, 2).float() / rot)
                ang = torch.outer(torch.arange(a.T).float(), f)
                cos, sin = ang.cos(), ang.sin()
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)

        def forward(self, idx, tgt):
            x = self.tok(idx)
            if self.pos is not None:
                x = x + self.pos.weight[: idx.shape[1]]
            for blk in self.blocks:
                if a.recompute:
                    x = torch.utils.checkpoint.checkpoint(blk, x, self.cos, self.sin, use_reentrant=False)
                else:
                    x = blk(x, self.cos, self.sin)
            logits = self.head(self.nf(x))
            return F.cross_entropy(logits.view(-1, a.Vp).float(), tgt.view(-1))

    return Model()


def sdpa_context(a, torch):
    if a.attn in ("auto", "math") or a.device == "cpu":
        return contextlib.nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel
    return sdpa_kernel([{"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}[a.attn]])


class Timer:
    """Device-event times in ms; host clock off the GPU."""

    def __init__(self, torch, cuda):
        self.t, self.cuda, self.ms = torch, cuda, []

    def run(self, fn, n):
        if self.cuda:
            ev = [self.t.cuda.Event(enable_timing=True) for _ in range(n + 1)]
            ev[0].record()
            for i in range(n):
                fn(i)
                ev[i + 1].record()
            self.t.cuda.synchronize()
            self.ms = [ev[i].elapsed_time(ev[i + 1]) for i in range(n)]
        else:
            for i in range(n):
                t0 = time.perf_counter()
                fn(i)
                self.ms.append(1e3 * (time.perf_counter() - t0))
        return statistics.median(self.ms)


def micro(a, torch):
    """Ceilings for this model's own shapes: GEMM TFLOP/s per layer kind, attention fwd and fwd+bwd."""
    F, dh, M = torch.nn.functional, a.d // a.H, a.B * a.T
    out = {}
    shapes = {"qkv": (dh * (a.H + 2 * a.Hkv), a.d), "proj": (a.d, a.d),
              "up": (a.ffn * (2 if a.arch == "llama" else 1), a.d), "down": (a.d, a.ffn), "head": (a.Vp, a.d)}
    for name, (n, k) in shapes.items():
        x = torch.randn(M, k, device="cuda", dtype=torch.bfloat16)
        w = torch.randn(n, k, device="cuda", dtype=torch.bfloat16)
        dy = torch.randn(M, n, device="cuda", dtype=torch.bfloat16)
        for kind, fn in (("fprop", lambda i: x @ w.t()), ("dgrad", lambda i: dy @ w), ("wgrad", lambda i: dy.t() @ x)):
            for _ in range(3):
                fn(0)
            ms = Timer(torch, True).run(fn, 20)
            out[f"gemm_{name}_{kind}_tflops"] = round(2 * M * n * k / ms / 1e9, 1)
        del x, w, dy
    q = torch.randn(a.B, a.H, a.T, dh, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    k, v = (torch.randn(a.B, a.Hkv, a.T, dh, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in "kv")
    do = torch.randn_like(q)
    fl = 2 * a.B * a.H * a.T * a.T * dh  # causal forward: half of 4*B*H*T*T*dh
    kw = {"enable_gqa": True} if a.Hkv != a.H else {}
    with sdpa_context(a, torch):
        f = lambda i: F.scaled_dot_product_attention(q, k, v, is_causal=True, **kw)

        def fb(i):
            torch.autograd.grad(f(i), (q, k, v), do)

        for _ in range(3):
            fb(0)
        with torch.no_grad():
            tf = Timer(torch, True).run(f, 20)
        tb = Timer(torch, True).run(fb, 20)
    out["sdpa_fwd_tflops_causal"] = round(fl / tf / 1e9, 1)
    out["sdpa_fwdbwd_tflops_causal"] = round(3.5 * fl / tb / 1e9, 1)
    src = torch.empty(2 << 30, device="cuda", dtype=torch.uint8)
    dst = torch.empty_like(src)
    dst.copy_(src)
    ms = Timer(torch, True).run(lambda i: dst.copy_(src), 10)
    out["copy_GBps_read_plus_write"] = round(2 * src.numel() / ms / 1e6, 1)
    return out


def run_once(a):
    import torch
    import torch.utils.checkpoint  # noqa: F401
    cuda = a.device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        print("SKIP no CUDA device")
        return 77
    torch.manual_seed(a.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    res = {"peer": "pytorch " + torch.__version__, "arch": a.arch, "d": a.d, "L": a.L, "H": a.H, "Hkv": a.Hkv,
           "ffn": a.ffn, "T": a.T, "V": a.V, "B": a.B, "accum": a.accum, "precision": a.precision, "attn": a.attn,
           "compile": a.compile, "recompute": a.recompute, "clip": a.clip}
    if cuda:
        res["gpu"] = torch.cuda.get_device_name()
        res["cudnn"] = torch.backends.cudnn.version()
        if a.micro:
            res["micro"] = micro(a, torch)
            torch.cuda.empty_cache()
    model = build(a, torch).to(a.device)
    res["params"] = sum(p.numel() for p in model.parameters())
    if a.precision != "amp":
        cos, sin = model.cos, model.sin  # rotary tables stay fp32
        model = model.to(torch.bfloat16)
        model.cos, model.sin = cos, sin
    params = [p for p in model.parameters()]
    if a.precision == "master":
        masters = [p.detach().float().clone().requires_grad_() for p in params]
        for m in masters:
            m.grad = torch.zeros_like(m)
    else:
        masters = params
    groups = [{"params": [m for m in masters if m.dim() >= 2], "weight_decay": 0.1},
              {"params": [m for m in masters if m.dim() < 2], "weight_decay": 0.0}]
    kw = {"fused": True} if cuda else {}
    opt = torch.optim.AdamW(groups, lr=3e-4, betas=(0.9, 0.95), eps=1e-8, **kw)
    fwd = model
    if a.compile != "none":
        fwd = torch.compile(model, mode=None if a.compile == "default" else a.compile, dynamic=False)
    amp = (lambda: torch.autocast(device_type="cuda" if cuda else "cpu", dtype=torch.bfloat16)) \
        if a.precision == "amp" else contextlib.nullcontext
    copy_all = getattr(torch, "_foreach_copy_", lambda ds, ss: [d.copy_(s) for d, s in zip(ds, ss)])
    nb = 4
    data = torch.randint(0, a.V, (nb, a.B, a.T + 1), device=a.device)
    losses = []

    def step(i):
        total = None
        for m in range(a.accum):
            x = data[(i * a.accum + m) % nb]
            with amp():
                loss = fwd(x[:, :-1].contiguous(), x[:, 1:].contiguous())
            (loss / a.accum).backward()
            total = loss.detach() if total is None else total + loss.detach()
        if a.precision == "master":
            copy_all([m.grad for m in masters], [p.grad for p in params])
        if a.clip > 0:
            if cuda:
                torch.nn.utils.clip_grad_norm_(masters, a.clip, foreach=True)
            else:
                torch.nn.utils.clip_grad_norm_(masters, a.clip)
        opt.step()
        if a.precision == "master":
            with torch.no_grad():
                copy_all(params, masters)
        for p in params:
            p.grad = None
        losses.append(total / a.accum)

    with sdpa_context(a, torch):
        t0 = time.time()
        for i in range(a.warmup):
            step(i)
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        res["warmup_s"] = round(time.time() - t0, 1)
        timer = Timer(torch, cuda)
        med = timer.run(step, a.steps)
    toks = a.B * a.T * a.accum
    n_mm, f_full, f_causal = flop_model(a)
    tps = toks / med * 1e3
    q = sorted(timer.ms)
    res.update(n_matmul=n_mm, step_ms_median=round(med, 3), step_ms_p10=round(q[len(q) // 10], 3),
               step_ms_p90=round(q[min(len(q) - 1, 9 * len(q) // 10)], 3), tokens_per_s=round(tps, 1),
               mfu_full=round(tps * f_full / a.peak, 4), mfu_causal=round(tps * f_causal / a.peak, 4),
               tflops_full=round(tps * f_full / 1e12, 1), loss_first=round(float(losses[0]), 4),
               loss_last=round(float(losses[-1]), 4))
    if cuda:
        res["peak_alloc_GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        res["peak_reserved_GiB"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    if not (math.isfinite(res["loss_first"]) and math.isfinite(res["loss_last"])):
        print("FAIL loss is not finite")
        return 1
    if abs(res["loss_first"] - math.log(a.V)) > 1.5:
        print(f"WARN first loss {res['loss_first']} is far from ln V = {math.log(a.V):.3f}")
    print("RESULT " + json.dumps(res), flush=True)
    return 0


def result_of(cmd, timeout):
    """Runs a command, returns the last RESULT line's JSON (or None) and shows its tail on failure."""
    try:
        r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
        text = r.stdout
    except subprocess.TimeoutExpired as e:
        text = (e.stdout or b"").decode(errors="replace") if isinstance(e.stdout, bytes) else (e.stdout or "")
        text += "\n[timed out]"
    lines = [s[7:] for s in text.splitlines() if s.startswith("RESULT {")]
    if not lines:
        print("  no RESULT; tail:\n    " + "\n    ".join(text.splitlines()[-6:]), flush=True)
        return None
    return json.loads(lines[-1])


def row(name, r):
    return (f"{name:<34}{r['tokens_per_s']:>12,.0f}{100 * r.get('mfu_full', 0):>9.1f}{100 * r.get('mfu_causal', 0):>9.1f}"
            f"{r.get('step_ms_median', 0):>10.2f}{r.get('peak_alloc_GiB', 0):>9.1f}")


def main():
    a = parse()
    if not (a.sweep or a.ours_cmd):
        return run_once(a)
    base = [x for x in sys.argv[1:]]
    drop, keep, skip = {"--sweep": 0, "--ours-cmd": 1, "--time-budget": 1}, [], 0
    for x in base:
        if skip:
            skip -= 1
            continue
        k = x.split("=")[0]
        if k in drop:
            skip = 0 if "=" in x else drop[k]
            continue
        keep.append(x)
    tries = [("as given", [])]
    if a.sweep:  # most promising first, so that a cut-off sweep still has the likely winner
        tries = [(f"{p}/{t}/{c}", ["--precision", p, "--attn", t, "--compile", c]) for p, t, c in (
            ("master", "cudnn", "default"), ("master", "flash", "default"), ("amp", "cudnn", "default"),
            ("master", "cudnn", "max-autotune-no-cudagraphs"), ("master", "cudnn", "none"))]
    t_end, rows = time.time() + a.time_budget, []
    for name, extra in tries:
        left = t_end - time.time()
        if rows and left < 45:
            print(f"  (time budget used; skipping {name})")
            continue
        r = result_of([sys.executable, os.path.abspath(__file__)] + keep + extra, max(60, left))
        if r:
            rows.append((name, r))
            print(f"  {name}: {r['tokens_per_s']:,.0f} tok/s", flush=True)
    ours = result_of(shlex.split(a.ours_cmd), 300) if a.ours_cmd else None
    print(f"\n{'':<34}{'tokens/s':>12}{'MFU full':>9}{'MFU caus':>9}{'step ms':>10}{'peak GiB':>9}")
    for name, r in rows:
        print(row("torch " + name, r))
    best = max(rows, key=lambda x: x[1]["tokens_per_s"]) if rows else None
    if ours:
        n_mm, f_full, f_causal = flop_model(a)  # one FLOP model for both sides
        ours["mfu_full"] = ours["tokens_per_s"] * f_full / a.peak
        ours["mfu_causal"] = ours["tokens_per_s"] * f_causal / a.peak
        print(row("ours", ours))
    if ours and best:
        print(f"RATIO ours/best-peer = {ours['tokens_per_s'] / best[1]['tokens_per_s']:.3f}  (peer: {best[0]})")
    print("SUMMARY " + json.dumps({"peer": best[1] if best else None, "ours": ours}))
    return 0 if (best or ours) else 77


if __name__ == "__main__":
    sys.exit(main())
