"""What runs before a server is ready: the adapter of zeros, and every kind of request."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import builders
from veneer_adapters.artifact.manifest import BaseFacts, read_artifact
from veneer_server.engine.base import Endpoint
from veneer_server.engine.vllm.lora.pack import pack
from veneer_server.engine.vllm.startup.warming import ENGINE_NAME, rounds_of_calls, write_zeros


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize(("most", "rank"), [(8, 8), (64, 16)])
def test_the_adapter_of_zeros_is_a_well_formed_one_for_every_module(
    tmp_path: Path, dtype: str, most: int, rank: int
) -> None:
    facts = BaseFacts("tiny", builders.MODULES, most, dtype)
    artifact = read_artifact(write_zeros(tmp_path, facts))
    assert artifact.pairs.keys() == builders.MODULES.keys()
    assert artifact.manifest.rank == rank


def test_the_adapter_of_zeros_takes_no_room_on_disk(tmp_path: Path) -> None:
    modules = {f"model.layers.{i}.mlp.down_proj": (14336, 4096) for i in range(32)}
    write_zeros(tmp_path, BaseFacts("large", modules, 16))
    weights = (tmp_path / "adapter_model.safetensors").stat()
    assert weights.st_size > 16 * 2**20
    assert weights.st_blocks * 512 < 2**20


def test_the_adapter_of_zeros_is_packed_as_zeros(tmp_path: Path) -> None:
    facts = BaseFacts("tiny", builders.MODULES, 8, "bfloat16")
    packed = pack(write_zeros(tmp_path, facts), np.dtype(np.uint16))
    assert not any(pair.a.any() or pair.b.any() for pair in packed.values())


def _is_tokens(body: Any) -> bool:
    return isinstance(body.get("prompt"), list)


def flat(**more: Any) -> list[tuple[Endpoint, Any]]:
    given = {"models": ["base", ENGINE_NAME], "longest": 2048, "on_cpu": True, **more}
    models, longest = given["models"], given["longest"]
    rounds = rounds_of_calls(models, longest, on_cpu=given["on_cpu"])
    assert all([body["model"] for _, body in calls] == models for calls in rounds)
    return [call for calls in rounds for call in calls]


def test_every_kind_of_request_runs_with_the_base_and_with_an_adapter() -> None:
    calls = flat()
    assert {endpoint for endpoint, _ in calls} == {
        *(Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES),
        *(Endpoint.TOKENIZE, Endpoint.COUNT_TOKENS),
    }
    for member in ("response_format", "logprobs", "n", "presence_penalty", "top_p", "echo"):
        assert sum(member in body for _, body in calls) >= 2, member


def test_on_a_gpu_a_prompt_is_long_enough_for_every_kernel_and_never_too_long() -> None:
    lengths = [len(body["prompt"]) for _, body in flat(on_cpu=False) if _is_tokens(body)]
    assert {1, 16, 17} < set(lengths)
    assert max(lengths) > 600
    short = [body for _, body in flat(on_cpu=False, longest=64) if _is_tokens(body)]
    assert max(len(body["prompt"]) + body["max_tokens"] for body in short) <= 64
