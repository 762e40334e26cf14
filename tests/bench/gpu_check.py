"""``make gpu-check``: does the main job work on this GPU, is it exact, and how fast is it?

    python tests/bench/gpu_check.py [--shape 8b] [--work FOLDER] [--skip STEP ...]

It makes a random model of that shape and 32 adapters of rank 16, downloads nothing, and serves them
with Veneer and with vLLM's own server, one after the other. The steps are `main` (answers, a hot
folder, publish and roll back, mixed against alone, first against second request), `throughput` and
`loads` on both servers, and `contract` (the engine's own tests). Each step is bounded; one that
fails does not end the others. It prints one table and adds it to tests/bench/GPU.md.

Without a GPU the same steps run on this CPU with a tiny model, which proves the script and nothing
else; then nothing is added to GPU.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from gpu_facts import commit, device_name, versions

from veneer_server.bench.clients.load import Load, Outcome, Request, send
from veneer_server.bench.peers.adapters import PLAIN, Shelf, shape_of
from veneer_server.bench.peers.peers import BASE, TARGETS, Name, Peer, Rig
from veneer_server.bench.peers.running import BenchFailed, Running, start

ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "tests" / "bench" / "GPU.md"
SHAPES = {
    "8b": (4096, 14336, 32, 32, 8, 128),
    "1b": (2048, 8192, 16, 32, 8, 64),
    "tiny": (256, 512, 2, 4, 2, 64),
}
VOCABULARY, RANK, ADAPTERS, SLOTS = 49152, 16, 32, 16
NAMES = [f"a{n}" for n in range(ADAPTERS)]
CONTRACT = ("test_vllm_names.py", "test_contract.py", "test_loads.py")
COMPLETIONS = "/v1/completions"
WHAT_IS_MISSING = {} if find_spec("flashinfer") else {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
"""For both servers: vLLM 0.32 does not start on CUDA without flashinfer, unless told to."""
Row = tuple[str, str]


@dataclass
class Check:
    """What is checked, with how much work, and what was found."""

    shape: str
    work: Path
    port: int
    is_gpu: bool
    rows: dict[str, list[Row]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def model(self) -> Path:
        return self.work / "model"

    @property
    def adapters(self) -> Path:
        return self.work / "adapters"

    @property
    def requests(self) -> tuple[int, int, int, int]:
        """Streams at once, requests of each, tokens in, tokens out."""
        return (64, 4, 256, 128) if self.is_gpu else (4, 1, 16, 8)

    def note(self, who: str, what: str, value: str) -> None:
        self.rows.setdefault(what, []).append((who, value))
        print(f"  {who}: {what}: {value}", flush=True)

    def step(self, name: str, act: Callable[[], None]) -> None:
        began = time.monotonic()
        print(f"== {name}", flush=True)
        try:
            act()
        except (BenchFailed, AssertionError, httpx.HTTPError, OSError, KeyError) as error:
            self.failures.append(f"{name}: {type(error).__name__}: {error}")
            print(f"  FAILED: {error}"[:1000], flush=True)
        print(f"   {time.monotonic() - began:.0f} s", flush=True)


def make_model(check: Check) -> None:
    """Write a random model of the shape, on the GPU if there is one."""
    import torch
    from safetensors.torch import save_file

    hidden, ffn, layers, heads, kv_heads, head = SHAPES[check.shape]
    check.model.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (check.model / "config.json").write_text(json.dumps(config))
    _write_tokenizer(check.model)
    device = "cuda" if check.is_gpu else "cpu"
    chance = torch.Generator(device=device).manual_seed(7)

    def values(*size: int, scale: float) -> Any:
        made = torch.randn(*size, generator=chance, device=device, dtype=torch.bfloat16)
        return (made * scale).cpu()

    weights, sizes = {}, shape_of(check.model).modules
    outer = {
        "model.embed_tokens.weight": values(VOCABULARY, hidden, scale=1.0),
        "lm_head.weight": values(VOCABULARY, hidden, scale=0.06),
        "model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16),
    }
    shards = [outer]
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        inner = {
            f"{prefix}{path}.weight": values(out, wide, scale=wide**-0.5)
            for path, (wide, out) in sizes.items()
        }
        for norm in ("input_layernorm", "post_attention_layernorm"):
            inner[f"{prefix}{norm}.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
        shards.append(inner)
    for number, shard in enumerate(shards):
        name = f"model-{number}.safetensors"
        save_file(shard, check.model / name, {"format": "pt"})
        weights |= dict.fromkeys(shard, name)
    index = {"metadata": {}, "weight_map": weights}
    (check.model / "model.safetensors.index.json").write_text(json.dumps(index))
    _write_adapters(check)


def _write_adapters(check: Check) -> None:
    shelf = Shelf(check.adapters, shape_of(check.model))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # 3 s of one CPU for each
        for _ in pool.map(lambda name: shelf.take([name], RANK, strength=PLAIN), NAMES):
            pass


def _write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of one word for each token: nothing is downloaded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = {f"w{n}": n for n in range(VOCABULARY - 1)} | {"<unk>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.ByteLevel()  # one that the grammars' library understands
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


def veneer(check: Check) -> Peer:
    """Our server, with its own defaults but for what must be as in vLLM's."""
    environ = {
        "VENEER_MODEL__NAME": BASE,
        "VENEER_MODEL__MAX_LEN": "4096",
        "VENEER_STATE__DIR": str(check.work / "rig" / "state"),
        "VENEER_ADAPTERS__DIR": str(check.work / "rig" / "adapters"),
        "VENEER_ADAPTERS__ROOTS": json.dumps([str(check.adapters)]),
        "VENEER_ADAPTERS__DEVICE_SLOTS": str(SLOTS),
        "VENEER_LIMITS__MAX_SEQS": "64",
        "VENEER_ENGINE__ARGS__ENABLE_PREFIX_CACHING": "false",
    }
    if not check.is_gpu:
        environ["VENEER_ENGINE__KV_CACHE_GIB"] = "1"
    environ |= WHAT_IS_MISSING
    code = "from veneer_server.commands.main import main; main()"
    command = [sys.executable, "-c", code, "serve", "--model", str(check.model)]
    return Peer(Name.VENEER, [*command, "--port", str(check.port)], environ, "/readyz")


def stock(check: Check) -> Peer:
    """vLLM's own server with the same slots, sequences and modules."""
    half = [f"{name}={check.adapters / name}" for name in NAMES[:SLOTS]]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(check.model), "--served-model-name", BASE, "--dtype", "bfloat16"]
    command += ["--host", "127.0.0.1", "--port", str(check.port), "--max-num-seqs", "64"]
    command += ["--max-model-len", "4096", "--no-enable-prefix-caching", "--enable-lora"]
    command += ["--max-loras", str(SLOTS), "--max-cpu-loras", str(ADAPTERS)]
    command += ["--max-lora-rank", str(RANK), "--lora-target-modules", *TARGETS]
    command += ["--lora-modules", *half]
    if not check.is_gpu:
        command += ["--kv-cache-memory-bytes", str(2**30)]
    environ = {"VLLM_PLUGINS": "", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", **WHAT_IS_MISSING}
    return Peer(Name.DEFAULT, command, environ)


@contextmanager
def served(check: Check, peer: Peer) -> Iterator[Running]:
    rig = Rig(check.model, check.port, check.work / "rig", sorted(os.sched_getaffinity(0)))
    with start(peer, rig, os.environ, check.work / f"{peer.name}.log".replace(" ", "-")) as found:
        check.note(peer.name, "start to ready, s", f"{found.start_s:.0f}")
        yield found


def ask(model: str, seed: int, tokens_in: int, tokens_out: int, **more: Any) -> Request:
    prompt = [100 + (seed * 7919 + n * 104729) % (VOCABULARY - 200) for n in range(tokens_in)]
    body = {"model": model, "prompt": prompt, "max_tokens": tokens_out, "temperature": 0}
    return COMPLETIONS, {**body, "ignore_eos": True, **more}


def stream(model: str, seed: int, tokens_in: int, tokens_out: int) -> Request:
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    return ask(model, seed, tokens_in, tokens_out, **usage)


def texts(found: Outcome) -> list[str]:
    return [json.loads(told.text)["choices"][0]["text"] for told in found.answers()]


def main_job(check: Check, server: Running) -> None:
    """First and second requests, mixed against alone, a hot folder, a publish and a roll back."""
    version_ = httpx.get(f"{server.url}/version").json()
    print(f"  /version: {json.dumps(version_)}", flush=True)
    check.note(Name.VENEER, "LoRA op, dtype", f"{version_['lora_op']}, {version_['dtype']}")
    for name, model in (("base", BASE), ("adapter", NAMES[0])):
        took = [send(Load(server.url, [[ask(model, n, 64, 4)]])) for n in (1, 2, 3)]
        first, *later = (x.answers()[0].total_s - (x.answers()[0].cold_ms or 0) / 1e3 for x in took)
        ratio = f"{1e3 * first:.0f}, {1e3 * median(later):.0f}"
        check.note(Name.VENEER, f"first and later request, {name}, ms", ratio)
    jobs = [ask(model, n, 32, 8) for n in range(20) for model in (BASE, *NAMES[:7])]
    alone = texts(send(Load(server.url, [jobs])))
    mixed = texts(send(Load(server.url, [[job] for job in jobs])))
    wrong = sum(a != b for a, b in zip(alone, mixed, strict=True))
    check.note(Name.VENEER, "mixed answers that differ from alone", f"{wrong} of {len(jobs)}")
    assert len({tuple(alone[model::8]) for model in range(8)}) == 8, "two models answer alike"
    _hot_folder(check, server)


def _hot_folder(check: Check, server: Running) -> None:
    job = ask("hot", 5, 32, 8)
    folder = check.work / "rig" / "adapters"
    shutil.copytree(check.adapters / NAMES[8], folder / ".hot")
    began = time.monotonic()
    (folder / ".hot").rename(folder / "hot")
    while send(Load(server.url, [[job]]), strict=False).answers()[0].status != httpx.codes.OK:
        assert time.monotonic() - began < 60, "the folder did not become an adapter"
    check.note(Name.VENEER, "hot folder to first answer, s", f"{time.monotonic() - began:.1f}")
    one = texts(send(Load(server.url, [[job]])))
    with httpx.Client(base_url=server.url, timeout=60) as client:
        source = {"source": str(check.adapters / NAMES[9])}
        client.post("/v1/adapters/hot/revisions", json=source).raise_for_status()
        two = texts(send(Load(server.url, [[job]])))
        client.post("/v1/adapters/hot/aliases/live/rollback").raise_for_status()
    three = texts(send(Load(server.url, [[job]])))
    assert one == three != two, "publish and roll back do not change the answer as they should"
    check.note(Name.VENEER, "publish and roll back", "right")


def throughput(check: Check, server: Running) -> None:
    at_once, each, tokens_in, tokens_out = check.requests
    for name, models in (("base", [BASE]), ("mixed", NAMES[:SLOTS])):
        lanes = [
            [
                stream(models[(lane + n) % len(models)], lane * 100 + n, tokens_in, tokens_out)
                for n in range(each)
            ]
            for lane in range(at_once)
        ]
        send(Load(server.url, [lane[:1] for lane in lanes]))  # what compiles compiles now
        before = server.cpu_s()
        found = send(Load(server.url, lanes))
        cpu_s = server.cpu_s() - before
        tokens = sum(told.tokens for told in found.answers())
        gaps = sorted(gap for told in found.answers() for gap in told.itl_s)
        check.note(server.peer.name, f"{name}, tok/s", f"{tokens / found.total_s:.0f}")
        check.note(server.peer.name, f"{name}, ITL p50, ms", f"{1e3 * median(gaps):.1f}")
        cpu = f"{1e6 * cpu_s / tokens:.0f}"
        check.note(server.peer.name, f"{name}, API process, us CPU a token", cpu)


def loads(check: Check, server: Running) -> None:
    """Thirty loads beside eight streams: how long a load takes, and the longest gap."""
    lane: list[Request] = []
    for n, name in enumerate([*NAMES[SLOTS:], *NAMES[:SLOTS]][:30]):
        if not server.peer.name.is_ours and n < SLOTS:
            body = {"lora_name": name, "lora_path": str(check.adapters / name)}
            lane.append(("/v1/load_lora_adapter", body))
        lane.append(ask(name, 1000 + n, 16, 1))
    length = 1500 if check.is_gpu else 100
    streams = [[stream(BASE, 2000 + n, 64, length)] for n in range(8)]
    quiet = send(Load(server.url, [[ask(BASE, 1, 16, 32)]], streams))
    found = send(Load(server.url, [lane], streams))

    def longest(outcome: Outcome) -> float:
        gaps = (gap for told in outcome.background for one in told for gap in one.itl_s)
        return 1e3 * max(gaps, default=0.0)

    fresh = [told.total_s for told in found.answers()][:SLOTS]
    check.note(server.peer.name, "fresh load and one token, ms", f"{1e3 * median(fresh):.0f}")
    gaps = f"{longest(quiet):.0f}, {longest(found):.0f}"
    check.note(server.peer.name, "longest ITL quiet and beside loads, ms", gaps)


def contract(check: Check) -> None:
    tests = [str(ROOT / "tests" / "engine" / name) for name in CONTRACT]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "engine", "-W", "ignore", *tests],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )
    check.note(Name.VENEER, "contract tests", done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout[-1500:]


def to_table(check: Check, device: str, took_s: float) -> str:
    """Return the entry for GPU.md."""
    names = [Name.VENEER, Name.DEFAULT]
    lines = [
        f"## {datetime.now(UTC):%Y-%m-%d}: {device}, a random model of the shape {check.shape}",
        "",
        f"`make gpu-check`, {took_s / 60:.0f} minutes; {versions()}; commit {commit()}.",
        "",
        f"| | {' | '.join(names)} |",
        "|---|---|---|",
    ]
    for what, found in check.rows.items():
        cells = [next((v for who, v in found if who == name), "") for name in names]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    failed = check.failures or ["Nothing failed."]
    return "\n".join([*lines, "", *(f"- {one}" for one in failed), ""])


def run(check: Check, skipped: Sequence[str]) -> None:
    check.step("model", lambda: make_model(check))
    for peer in (veneer(check), stock(check)):
        steps = [(throughput, "throughput"), (loads, "loads")]
        if peer.name.is_ours:
            steps.insert(0, (main_job, "main"))

        def serve(peer: Peer = peer, steps: Any = steps) -> None:
            with served(check, peer) as server:
                for act, name in steps:
                    if name not in skipped:
                        check.step(f"{peer.name}: {name}", lambda act=act: act(check, server))

        if "stock" not in skipped or peer.name.is_ours:
            check.step(peer.name, serve)
    if "contract" not in skipped:
        check.step("contract tests", lambda: contract(check))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default=None)
    parser.add_argument("--work", type=Path, default=None, help="folder with 25 GB of room")
    parser.add_argument("--port", type=int, default=8378)
    parser.add_argument("--skip", nargs="+", default=[], metavar="STEP")
    asked = parser.parse_args()
    device, began = device_name(), time.monotonic()
    if device is None:
        print(
            "There is no GPU that vLLM can use, so this proves nothing about one: the same steps"
            " run on this CPU with a tiny model, to show that the script works."
        )
    shape = asked.shape or ("8b" if device else "tiny")
    with tempfile.TemporaryDirectory(prefix="gpu-check-", dir=asked.work) as folder:
        check = Check(shape, Path(folder), asked.port, is_gpu=device is not None)
        run(check, asked.skip)
    table = to_table(check, device or "no GPU", time.monotonic() - began)
    print(f"\n{table}")
    if device is not None:
        RECORD.write_text(RECORD.read_text().rstrip() + "\n\n" + table)
        print(f"Added to {RECORD.relative_to(ROOT)}.")
    sys.exit(1 if check.failures else 0)


if __name__ == "__main__":
    main()
