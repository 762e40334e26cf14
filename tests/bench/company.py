"""Does an answer depend on who else is served? By dtype: how many differ.

    python tests/bench/company.py [--dtypes bfloat16 float32] [--prompts 16] [--adapters PATH ...]
    python tests/bench/company.py --rows
    python tests/bench/company.py --products

The real engine runs in this process, on the embedded model with demo adapters. Each prompt is
answered greedily alone, alone again, in twos and fours (copies of the same request at once), and
among requests for the base and every adapter. An answer differs when its first tokens do.
``dtypes.py`` says how fast and how right each dtype is.

``--rows`` asks single operations instead: in which numbers of rows is a row rounded otherwise than
among 256? ``--products`` measures how long all products of a step take, in one thread.
Both need no model.
"""

import argparse
import asyncio
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer_server.engine.base import Answer, Call, Endpoint
from veneer_server.engine.vllm import embedded
from veneer_server.engine.vllm.options import EngineOptions, environment

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "adapters" / "demo"
FIRST = 8
PROMPTS = [
    f"{verb} {thing}."
    for verb in ("Tell me about", "Write a line on", "Explain", "Describe")
    for thing in ("the sea", "a storm", "gold", "the moon", "a long road", "winter")
]
ROWS = (1, 2, 3, 4, 5, 8, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 128, 192, 256)
SHAPES = {
    "qkv": (576, 960),
    "o": (576, 576),
    "gate, up": (576, 3072),
    "down": (1536, 576),
    "head": (576, 49152),
}
LAYERS = 30


@dataclass(frozen=True)
class Told:
    """One greedy answer: its tokens, and the log-probability of each."""

    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Models:
    """The engine and the internal names of what it serves."""

    engine: Any
    names: dict[str, str]
    numbers: Iterator[int]
    tokens: int

    async def ask(self, endpoint: Endpoint, body: dict[str, Any]) -> Any:
        answer = await self.engine.respond(Call(endpoint, body, f"c{next(self.numbers)}"))
        assert isinstance(answer, Answer)
        return answer.body

    async def tell(self, model: str, prompt: str) -> Told:
        body = {
            "model": self.names[model],
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": self.tokens,
            "temperature": 0,
            "logprobs": True,
        }
        found = (await self.ask(Endpoint.CHAT, body))["choices"][0]["logprobs"]["content"]
        return Told(tuple(t["token"] for t in found), tuple(t["logprob"] for t in found))


def differ(alone: Sequence[Told], other: Sequence[Told]) -> dict[str, Any]:
    pairs = list(zip(alone, other, strict=True))
    return {
        "of": len(pairs),
        "first_8": sum(a.tokens[:FIRST] != b.tokens[:FIRST] for a, b in pairs),
        "all": sum(a.tokens != b.tokens for a, b in pairs),
        "largest_change": round(max(change(a, b) for a, b in pairs), 5),
    }


def change(one: Told, other: Told) -> float:
    """Return the largest difference of a log-probability, up to the first other token."""
    largest = 0.0
    for at, (a, b) in enumerate(zip(one.logprobs, other.logprobs, strict=False)):
        largest = max(largest, abs(a - b))
        if one.tokens[at] != other.tokens[at]:
            break
    return largest


async def compare(models: Models, prompts: Sequence[str]) -> dict[str, Any]:
    """Return, for each model and each company, how many answers differ from those alone."""
    alone = {m: [await models.tell(m, p) for p in prompts] for m in models.names}
    found: dict[str, Any] = {}
    for model in models.names:
        again = [await models.tell(model, p) for p in prompts]
        found[model] = {"alone again": differ(alone[model], again)}
        for copies in (2, 4):
            told = [
                await asyncio.gather(*(models.tell(model, p) for _ in range(copies)))
                for p in prompts
            ]
            flat = [t for group in told for t in group]
            repeated = [t for t in alone[model] for _ in range(copies)]
            found[model][f"{copies} copies"] = differ(repeated, flat)
    jobs = [(m, i) for i in range(len(prompts)) for m in models.names]
    mixed: dict[tuple[str, int], Told] = {}
    for start in range(0, len(jobs), 12):
        some = jobs[start : start + 12]
        told_now = await asyncio.gather(*(models.tell(m, prompts[i]) for m, i in some))
        mixed |= dict(zip(some, told_now, strict=True))
    for model in models.names:
        found[model]["12 mixed"] = differ(
            alone[model], [mixed[model, i] for i in range(len(prompts))]
        )
    return found


async def measure(dtype: str, asked: argparse.Namespace) -> dict[str, Any]:
    from veneer_server.engine.vllm.engine import VllmEngine

    options = EngineOptions(
        model=str(embedded.ensure_checkpoint()),
        name="base",
        root=embedded.ROOT,
        dtype=dtype,
        max_len=2048,
        kv_cache_bytes=2**30,
        device_slots=8,
        host_slots=16,
        max_rank=16,
        chat_template=embedded.CHAT_TEMPLATE,
        args={"enable_prefix_caching": False},
    )
    engine = await VllmEngine.start(options)
    try:
        names = {"base": "base"}
        for number, folder in enumerate(asked.adapters, 1):
            names[folder.name] = f"{folder.name}@sha256:{number}"
            await engine.load_adapter(number, names[folder.name], folder)
        models = Models(engine, names, itertools.count(), asked.tokens)
        return await compare(models, PROMPTS[: asked.prompts])
    finally:
        engine.stop()


def rows() -> None:
    """Print, for each operation, how many outputs differ when 256 rows come in parts of some."""
    import torch
    import vllm._custom_ops as ops

    torch.manual_seed(0)
    for dtype in (torch.bfloat16, torch.float32):
        for name, (width, out) in SHAPES.items():
            weight = (torch.randn(out, width) * width**-0.5).to(dtype)
            x = torch.randn(max(ROWS), width).to(dtype)
            handler = ops.create_onednn_mm(weight.t().clone().t().t(), 32)
            ways: dict[str, Callable[[Any], Any]] = {
                "torch": lambda part, w=weight: torch.nn.functional.linear(part, w),
                "oneDNN": lambda part, h=handler: ops.onednn_mm(h, part, None),
            }
            for way, compute in ways.items():
                whole = compute(x)
                # One row is not enough: of some thousand outputs a single one differs.
                found = {n: int((torch.cat([*map(compute, x.split(n))]) != whole).sum())
                         for n in ROWS}  # fmt: skip
                other = {n: count for n, count in found.items() if count}
                print(f"{str(dtype)[6:]:9} {way:7} {name:9} of {whole.numel()}: {other or 'none'}")


def products() -> None:
    """Print how long the products of one step take, for each dtype and number of rows."""
    import torch
    import vllm._custom_ops as ops

    torch.set_num_threads(1)
    for dtype, (name, (width, out)) in itertools.product(
        (torch.bfloat16, torch.float32), SHAPES.items()
    ):
        layers = 1 if name == "head" else LAYERS  # each its own weights, as in the model
        weights = [(torch.randn(out, width) * width**-0.5).to(dtype) for _ in range(layers)]
        handlers = [ops.create_onednn_mm(w.t().clone().t().t(), 32) for w in weights]
        took = {}
        for n in (1, 2, 4, 8, 16, 32, 128, 256):
            x, tries = torch.randn(n, width).to(dtype), []
            for _ in range(3):
                began = time.thread_time()
                for handler in handlers:
                    ops.onednn_mm(handler, x, None)
                tries.append(1000 * (time.thread_time() - began))
            took[n] = round(min(tries), 1)
        print(f"{str(dtype)[6:]:9} {name:9} ms by rows: {took}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", action="store_true")
    parser.add_argument("--products", action="store_true")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument(
        "--adapters", nargs="+", type=Path, default=[DEMO / "haiku", DEMO / "pirate"]
    )
    parser.add_argument("--tokens", type=int, default=24)
    asked = parser.parse_args()
    if asked.rows:
        rows()
        return
    if asked.products:
        products()
        return
    os.environ.update(environment(os.environ, os.sched_getaffinity(0), os.getpid(), 600.0))
    print("load average", os.getloadavg()[0], "CPUs", len(os.sched_getaffinity(0)))
    for dtype in asked.dtypes:
        found = asyncio.run(measure(dtype, asked))
        print(dtype, json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
