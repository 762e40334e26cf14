"""With the real engine: an answer does not depend on which adapters share the batch."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio

from support.asked import need

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="module"),
]

torch = need("torch")
need("vllm")

DEFAULT_MODEL = Path.home() / ".cache/veneer/models/SmolLM2-135M-Instruct"
TOKENS = 8
ADAPTERS = {
    # name: (rank, modules, strength); strength 1 is felt, 30 turns any answer into noise
    "attention": (8, ("q_proj", "v_proj"), 2.0),
    "everything": (64, ("proj",), 0.5),
    "mlp": (3, ("gate_proj", "up_proj", "down_proj"), 1.0),
    "strong": (16, ("proj",), 30.0),
}
SUBJECTS = [
    "sea",
    "bread",
    "music",
    "rain",
    "clocks",
    "paper",
    "winter",
    "trains",
    "horses",
    "glass",
]
OPENINGS = (
    "Tell me about",
    "Write a sentence on",
    "Why do people like",
    "The history of",
    "Give me three facts about",
    "A short poem about",
    "What is the opposite of",
    "Once upon a time there was",
    "How would you explain",
    "My favourite thing about",
)
PROMPTS = [f"{opening} {subject}" for opening in OPENINGS for subject in SUBJECTS]


class Served(Protocol):
    """An engine in fp32 without prefix cache, whose device slots are exactly filled.

    The strong adapter is in the last slot: it is the one vLLM's stock op gives to base rows.
    """

    async def modules(self) -> Mapping[str, tuple[int, int]]:
        """Return the modules an adapter may touch, with their sizes."""

    async def load(self, name: str, path: Path) -> None:
        """Make ``name`` answer with the adapter in ``path``."""

    async def unload(self, name: str) -> None:
        """Free the slots of ``name``."""

    async def resident(self) -> Mapping[str, list[int]]:
        """Return the engine ids in host and in device slots."""

    async def answer(self, prompt: str, adapter: str | None, max_tokens: int) -> tuple[int, ...]:
        """Return the greedy tokens after ``prompt``; the base model's without an adapter."""

    async def counts(self) -> Mapping[str, int]:
        """Return the worker's counters of mixed steps."""


class EngineAlone:
    """AsyncLLM without our server around it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._requests: dict[str, Any] = {}
        self._loaded = 0
        self._sent = 0

    @classmethod
    def start(cls, model: str) -> "EngineAlone":
        """Return a started engine; takes about half a minute."""
        os.environ["VENEER_GATEWAY_PID"] = str(os.getpid())
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        engine_args = AsyncEngineArgs(
            model=model,
            dtype="float32",
            max_model_len=256,
            max_num_seqs=32,
            kv_cache_memory_bytes=2**30,
            enable_prefix_caching=False,
            disable_log_stats=True,  # its metrics would outlive it in this process
            enable_lora=True,
            max_loras=len(ADAPTERS),
            max_cpu_loras=len(ADAPTERS),
            max_lora_rank=64,
            lora_target_modules=[
                *("q_proj", "k_proj", "v_proj", "o_proj"),
                *("gate_proj", "up_proj", "down_proj"),
            ],
            worker_extension_cls="veneer_server.engine.vllm.inside.worker.VeneerWorkerExtension",
        )
        return cls(AsyncLLM.from_engine_args(engine_args))

    async def modules(self) -> Mapping[str, tuple[int, int]]:
        return await self._ask("veneer_adaptable_modules")

    async def load(self, name: str, path: Path) -> None:
        from vllm.lora.request import LoRARequest

        from veneer_server.engine.vllm.loading import load_adapter, prepare_slots

        self._loaded += 1
        engine_id = self._loaded
        request = LoRARequest(name, engine_id, str(path))
        if engine_id == 1:
            await prepare_slots(self._client, on_cpu=True)
        await load_adapter(self._client, request)
        self._requests[name] = request

    async def unload(self, name: str) -> None:
        await self._ask("veneer_unload_adapter", self._requests.pop(name).lora_int_id)

    async def resident(self) -> Mapping[str, list[int]]:
        return await self._ask("veneer_adapters")

    async def answer(self, prompt: str, adapter: str | None, max_tokens: int) -> tuple[int, ...]:
        from vllm import SamplingParams

        self._sent += 1
        sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True)
        request = self._requests[adapter] if adapter else None
        tokens: tuple[int, ...] = ()
        async for output in self._client.generate(
            prompt, sampling, f"r{self._sent}", lora_request=request
        ):
            tokens = tuple(output.outputs[0].token_ids)
        return tokens

    async def counts(self) -> Mapping[str, int]:
        return await self._ask("veneer_mix_counts")

    def stop(self) -> None:
        self._client.shutdown(timeout=5)

    async def _ask(self, method: str, *args: Any) -> Any:
        [found] = await self._client.collective_rpc(method, args=args)
        return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """An engine with every adapter of ``ADAPTERS`` loaded, from folders that are gone since."""
    engine = EngineAlone.start(os.environ.get("VENEER_TEST_MODEL", str(DEFAULT_MODEL)))
    try:
        sizes = await engine.modules()
        for seed, (name, (rank, modules, strength)) in enumerate(ADAPTERS.items()):
            folder = tmp_path_factory.mktemp(name)
            touched = {m: size for m, size in sizes.items() if m.endswith(modules)}
            write_adapter(folder, touched, rank, strength, seed)
            await engine.load(name, folder)
            shutil.rmtree(folder)
        yield engine
    finally:
        engine.stop()


def write_adapter(
    folder: Path, sizes: Mapping[str, tuple[int, int]], rank: int, strength: float, seed: int
) -> None:
    """Write a random PEFT adapter; ``strength`` scales its change against a unit input."""
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (inputs, outputs) in sizes.items():
        stem = f"base_model.model.{name}"
        tensors[f"{stem}.lora_A.weight"] = torch.randn(rank, inputs, generator=random) / inputs**0.5
        b = torch.randn(outputs, rank, generator=random) * strength / (10 * rank**0.5)
        tensors[f"{stem}.lora_B.weight"] = b
    save_file(tensors, folder / "adapter_model.safetensors")
    targets = sorted({name.rpartition(".")[2] for name in sizes})
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": targets}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def model_of(index: int) -> str | None:
    """Deal the prompts out: every third to the base, the rest to the adapters in turn."""
    names = list(ADAPTERS)
    return None if index % 3 == 0 else names[(index - index // 3) % len(names)]


async def test_every_answer_in_a_mixed_batch_equals_the_one_served_alone(served: Served) -> None:
    asked = [(prompt, model_of(i)) for i, prompt in enumerate(PROMPTS)]
    async with asyncio.timeout(1500):
        alone = [await served.answer(prompt, name, TOKENS) for prompt, name in asked]
        before = await served.counts()
        together = await asyncio.gather(*(served.answer(p, name, TOKENS) for p, name in asked))
        after = await served.counts()

    differing = [i for i, tokens in enumerate(alone) if tokens != together[i]]
    assert [(asked[i], alone[i], together[i]) for i in differing] == []
    mixed = {name: after[name] - before[name] for name in after}
    assert mixed["base_beside_adapter_steps"] > TOKENS
    assert mixed["multi_adapter_steps"] > TOKENS


async def test_each_adapter_changes_the_answer(served: Served) -> None:
    async with asyncio.timeout(300):
        base = [await served.answer(prompt, None, TOKENS) for prompt in PROMPTS[::20]]
        for name in ADAPTERS:
            own = [await served.answer(prompt, name, TOKENS) for prompt in PROMPTS[::20]]
            assert own != base, name


async def test_a_load_without_a_free_slot_is_refused_and_evicts_nobody(
    served: Served, tmp_path: Path
) -> None:
    before = await served.resident()
    write_adapter(tmp_path, await served.modules(), 4, 1.0, 9)

    with pytest.raises(Exception, match="all 4 host slots are taken"):
        await served.load("one too many", tmp_path)

    assert await served.resident() == before


def _truncate(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _rename_modules(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    save_file({k.replace("layers.", "layers.9"): v for k, v in load_file(path).items()}, path)


def _change_shape(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "adapter_model.safetensors"
    padded = {k: torch.nn.functional.pad(v, (0, 999)) for k, v in load_file(path).items()}
    save_file(padded, path)


async def test_a_load_that_fails_leaves_no_trace_and_the_engine_serving(
    served: Served, tmp_path: Path
) -> None:
    strong = await served.answer(PROMPTS[0], "strong", TOKENS)
    base = await served.answer(PROMPTS[0], None, TOKENS)
    sizes = await served.modules()
    await served.unload("mlp")
    before = await served.resident()

    for number, spoil in enumerate((_truncate, _rename_modules, _change_shape)):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_adapter(folder, sizes, 4, 30.0, number)
        spoil(folder)
        with pytest.raises(Exception, match=r"could not load|do not fit|matches a module"):
            await served.load("broken", folder)
        assert await served.resident() == before

    good = tmp_path / "good"
    good.mkdir()
    write_adapter(good, sizes, 16, 30.0, list(ADAPTERS).index("strong"))
    await served.load("mlp", good)
    answers = await asyncio.gather(
        *(served.answer(PROMPTS[0], name, TOKENS) for name in (None, "mlp", "strong"))
    )
    assert answers == [base, strong, strong]
