"""What does a load of an 8B model's adapter cost the processor, by our way to a GPU and by vLLM's?

    python tests/bench/staging.py [--rounds 5] [--rank 16] [--slot-rank 16]

Neither a GPU nor an engine is needed, and nothing is pinned: this is the work of the thread that
prepares the load, and of the commit between two steps. The slots are vLLM's stacks of one adapter,
in main memory, so what is a copy over the bus on a GPU is a copy in memory here.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from vllm.lora.layers.column_parallel_linear import MergedColumnParallelLinearWithLoRA
from vllm.lora.layers.replicated_linear import ReplicatedLinearWithLoRA
from vllm.lora.lora_model import LoRAModel
from vllm.lora.lora_weights import PackedLoRALayerWeights
from vllm.lora.peft_helper import PEFTHelper

from support import builders
from veneer_server.engine.vllm.lora.pack import pack
from veneer_server.engine.vllm.lora.spans import split_layer
from veneer_server.engine.vllm.lora.staging import StagedSlots

LAYERS = 32
PARTS = {
    "self_attn.qkv_proj": (4096, {"q_proj": 4096, "k_proj": 1024, "v_proj": 1024}),
    "self_attn.o_proj": (4096, {"o_proj": 4096}),
    "mlp.gate_up_proj": (4096, {"gate_proj": 14336, "up_proj": 14336}),
    "mlp.down_proj": (14336, {"down_proj": 4096}),
}
"""The linear layers of Llama 3 8B: columns of the input, and of the output of each module."""


class Model:
    """vLLM's layers, as far as slots are concerned, and which modules they compute."""

    def __init__(self, rank: int) -> None:
        self.layers: dict[str, Any] = {}
        self.parts: dict[str, list[str]] = {}
        self.spans: dict[str, Any] = {}
        self.modules: dict[str, tuple[int, int]] = {}
        for n in range(LAYERS):
            for name, (inputs, parts) in PARTS.items():
                self._add(f"model.layers.{n}.{name}", inputs, parts, rank)

    def _add(self, name: str, inputs: int, parts: dict[str, int], rank: int) -> None:
        outs = list(parts.values())
        cls = MergedColumnParallelLinearWithLoRA if len(outs) > 1 else ReplicatedLinearWithLoRA
        layer = cls.__new__(cls)
        torch.nn.Module.__init__(layer)
        layer.tp_size, layer.n_slices = 1, len(outs)
        bf16 = torch.bfloat16
        layer.lora_a_stacked = tuple(torch.zeros(1, 1, rank, inputs, dtype=bf16) for _ in outs)
        layer.lora_b_stacked = tuple(torch.zeros(1, 1, out, rank, dtype=bf16) for out in outs)
        names = [f"{name.rpartition('.')[0]}.{part}" for part in parts]
        self.layers[name], self.parts[name] = layer, names
        self.spans |= split_layer(name, names, inputs, outs, {})
        self.modules |= {part: (inputs, out) for part, out in zip(names, outs, strict=True)}


def make(folder: Path, model: Model, rank: int) -> None:
    made = builders.tensors(model.modules, rank=rank, dtype="BF16")
    targets = sorted({name.rpartition(".")[2] for name in model.modules})
    builders.write(
        folder,
        weights=builders.safetensors(made),
        r=rank,
        lora_alpha=2 * rank,
        target_modules=targets,
    )


def by_us(folder: Path, model: Model) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Return what prepares a load, and what commits it."""
    staged = StagedSlots(model.layers, model.spans)

    def prepare() -> None:
        staged.write(0, pack(folder, staged.stored, by_output=staged.by_output))

    return prepare, lambda _: None


def by_vllm(folder: Path, model: Model) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    targets = {name.rpartition(".")[2] for name in model.modules}

    def prepare() -> dict[str, Any]:
        loaded = LoRAModel.from_local_checkpoint(
            str(folder),
            expected_lora_modules=targets,
            peft_helper=PEFTHelper.from_local_dir(str(folder), 4096),
            lora_model_id=1,
            device="cpu",
            dtype=torch.bfloat16,
        )
        ready = {}
        for name, parts in model.parts.items():
            of = [loaded.loras[part] for part in parts]
            ready[name] = PackedLoRALayerWeights.pack(of) if len(of) > 1 else of[0]
            if len(of) == 1:
                of[0].optimize()
        return ready

    def commit(ready: dict[str, Any]) -> None:
        for name, weights in ready.items():
            model.layers[name].set_lora(0, weights.lora_a, weights.lora_b)

    return prepare, commit


def measure(prepare: Callable[[], Any], commit: Callable[[Any], None]) -> tuple[float, float]:
    """Return the milliseconds of both."""
    began = time.perf_counter()
    ready = prepare()
    prepared = time.perf_counter()
    commit(ready)
    return 1000 * (prepared - began), 1000 * (time.perf_counter() - prepared)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rank", type=int, default=16, help="of the adapter")
    parser.add_argument("--slot-rank", type=int, help="if it is not the adapter's")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        slot_rank = asked.slot_rank or asked.rank
        ours, vllms = Model(slot_rank), Model(slot_rank)
        make(Path(folder) / "adapter", ours, asked.rank)
        ways = {
            "ours": by_us(Path(folder) / "adapter", ours),
            "vLLM's": by_vllm(Path(folder) / "adapter", vllms),
        }
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for n in range(asked.rounds + 1):
            for name, way in ways.items():
                found = measure(*way)
                if n:
                    seen[name].append(found)
        for one, other in zip(ours.layers.values(), vllms.layers.values(), strict=True):
            assert all(map(torch.equal, one.lora_a_stacked, other.lora_a_stacked))
            assert all(map(torch.equal, one.lora_b_stacked, other.lora_b_stacked))
    for name, of in seen.items():
        prepared, committed = np.array(of).T
        row = {
            "prepare_ms": round(statistics.median(prepared), 1),
            "commit_ms": round(statistics.median(committed), 1),
            "rounds": [f"{p:.0f}+{c:.0f}" for p, c in of],
        }
        print(json.dumps({name: row}))


if __name__ == "__main__":
    main()
