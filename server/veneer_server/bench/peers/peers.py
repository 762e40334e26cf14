"""The commands that start the servers of the comparison.

Rule 1: every peer takes what must be equal (weights, precision, rank, slots, sequences, KV cache,
no prefix cache) from one ``Rig`` or from the constants of this file.
Rule 2: this file starts nothing.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
KV_GIB = 2
MAX_SEQS = 32
LLAMA_STREAMS, LLAMA_CONTEXT = 16, 512
"""llama.cpp's streams, and the tokens of each: enough for a prompt of 100 and an answer of 64."""
BASE = "base"
"""The id of the base model on every peer."""


class Name(StrEnum):
    """All peers."""

    VENEER = "Veneer"
    DEFAULT = "vLLM default"
    TUNED = "vLLM tuned"
    PLAIN = "vLLM without LoRA"
    LLAMA_Q4 = "llama.cpp Q4_1"
    LLAMA_BF16 = "llama.cpp bf16"
    VENEER_64 = "Veneer, rank 64"
    DEFAULT_64 = "vLLM default, rank 64"
    VENEER_WIDE = "Veneer, 64 slots"
    VENEER_ONE = "Veneer, one slot"
    VENEER_FP32 = "Veneer, fp32"

    @property
    def is_ours(self) -> bool:
        """Return whether the peer is this server, with any settings."""
        return self.startswith("Veneer")

    @property
    def is_llama(self) -> bool:
        """Return whether the peer is llama.cpp."""
        return self.startswith("llama.cpp")


@dataclass(frozen=True, slots=True)
class Rig:
    """The settings that the peers of one comparison have in common."""

    model: Path
    port: int
    folder: Path
    """The folder for adapters and state; it is empty before each start of a peer."""
    threads: Sequence[int]
    """The CPUs that a peer may use."""
    gguf: Path | None = None
    """The model for llama.cpp; ``adapters/<index>.gguf`` beside it are its adapters."""
    llama_server: Path | None = None
    """A program llama-server that was built for this CPU; None means that of the package."""
    max_rank: int = 16
    device_slots: int = 32
    host_slots: int = 64
    dtype: str = "bfloat16"
    lora_dtype: str = "auto"
    """Of the adapters' weights in the slots of ours and of vLLM; ``auto``: as ``dtype``."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One server: how it is started, and how the bench knows that it is ready and the right one."""

    name: Name
    command: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    ready_path: str = "/health"
    must_log: str | None = None
    """Words that its log must have, so that our plugin is never measured as vLLM's own op."""


def peer(name: Name, rig: Rig) -> Peer:
    """Return the peer ``name`` with the settings of ``rig``."""
    if name.is_ours:
        return _veneer(name, rig)
    return _llama(name, rig) if name.is_llama else _vllm(name, rig)


def _veneer(name: Name, rig: Rig) -> Peer:
    environ = {
        "VENEER_MODEL__NAME": BASE,
        "VENEER_MODEL__DTYPE": rig.dtype,
        "VENEER_STATE__DIR": str(rig.folder / "state"),
        "VENEER_ADAPTERS__DIR": str(rig.folder / "adapters"),
        "VENEER_ADAPTERS__MAX_RANK": str(rig.max_rank),
        "VENEER_ADAPTERS__DEVICE_SLOTS": str(rig.device_slots),
        "VENEER_ADAPTERS__HOST_SLOTS": str(rig.host_slots),
        "VENEER_LIMITS__MAX_SEQS": str(MAX_SEQS),
        "VENEER_ENGINE__KV_CACHE_GIB": str(KV_GIB),
        "VENEER_ENGINE__ARGS__ENABLE_PREFIX_CACHING": "false",
        "VENEER_ENGINE__ARGS__LORA_DTYPE": rig.lora_dtype,
    }
    code = "from veneer_server.commands.main import main; main()"
    flags = ["serve", "--model", str(rig.model), "--port", str(rig.port)]
    return Peer(name, [sys.executable, "-c", code, *flags], environ, "/readyz")


def _vllm(name: Name, rig: Rig) -> Peer:
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(rig.model), "--served-model-name", BASE, "--dtype", rig.dtype]
    command += ["--host", "127.0.0.1", "--port", str(rig.port), "--max-num-seqs", str(MAX_SEQS)]
    command += ["--kv-cache-memory-bytes", str(KV_GIB * 2**30), "--no-enable-prefix-caching"]
    environ = {"VLLM_PLUGINS": "", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    if name is Name.PLAIN:
        return Peer(name, command, environ)
    command += ["--enable-lora", "--max-lora-rank", str(rig.max_rank)]
    command += ["--lora-dtype", rig.lora_dtype]
    command += ["--max-loras", str(rig.device_slots), "--max-cpu-loras", str(rig.host_slots)]
    if name is Name.TUNED:
        command += ["--lora-target-modules", *TARGETS]
        environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, rig.threads))
    return Peer(name, command, environ, must_log="PunicaWrapperCPU")


def _llama(name: Name, rig: Rig) -> Peer:
    adapters = sorted(map(str, rig.gguf.parent.glob("adapters/*.gguf"))) if rig.gguf else []
    if rig.llama_server:
        return Peer(name, [str(rig.llama_server), *_llama_flags(rig, adapters)])
    asked = {
        "gguf": str(rig.gguf),
        "port": rig.port,
        "threads": len(rig.threads),
        "parallel": LLAMA_STREAMS,
        "context": LLAMA_CONTEXT * LLAMA_STREAMS,
        "adapters": adapters,
    }
    return Peer(name, [sys.executable, "-m", "veneer_server.bench.peers.llama", json.dumps(asked)])


def _llama_flags(rig: Rig, adapters: Sequence[str]) -> list[str]:
    """Return the flags of the program that say what ``peers.llama`` says to the package."""
    valued = {
        "--model": rig.gguf,
        "--host": "127.0.0.1",
        "--port": rig.port,
        "--parallel": LLAMA_STREAMS,
        "--ctx-size": LLAMA_CONTEXT * LLAMA_STREAMS,
        "--threads": len(rig.threads),
        "--threads-batch": len(rig.threads),
    }
    words = [str(word) for pair in valued.items() for word in pair]
    words += ["--no-cache-prompt", "--lora-init-without-apply"]
    return words + [word for path in adapters for word in ("--lora", path)]
