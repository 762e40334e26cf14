"""Adapters on quantised bases: as on the weights that the quantised ones stand for, or refused."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from models.making import answer, linear_names, make_adapter, make_model
from models.serving import BASE, TOKENS, Asked, engine_on
from models.table import MODELS
from support.asked import need
from veneer_server.engine.base import EngineNotStarted
from veneer_server.engine.cpu import instructions, lacks

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

need("torch")
need("peft")

from models.quantising import KINDS, REFUSED, Kind, write_quantised  # noqa: E402 - needs torch

PROMPTS = ([1, 40, 41, 42, 90], [1, 200, 31, 7, 7, 7, 150, 99, 12])
DTYPES = {"awq": "bfloat16", "gptq": "bfloat16", "int8": "float32"}
"""vLLM computes the four-bit kinds in half precision only."""
CLOSE = 0.2
"""In log-probability of the first token. With int8 the inputs of a layer are quantised too."""


CPU = instructions()
LACKED = {
    **dict.fromkeys(("awq", "gptq"), "no kernel" if "avx512f" not in CPU else None),
    "int8": "multiply int8 exactly" if lacks("int8", CPU) else None,
}
"""Why this processor does not compute a kind, None where it does.

Source: vLLM 0.32, ``import_kernels`` in platforms/cpu.py: its build for AVX2 has fewer kernels."""
REFUSALS = {
    **dict.fromkeys(REFUSED, r"quantised in a way|has no kernel"),
    **{name: why for name, why in LACKED.items() if why},
}
"""What the sentence says of each kind that is not computed here."""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A tiny model, and its folder."""
    folder = tmp_path_factory.mktemp("plain") / "base"
    return make_model(MODELS["llama"], folder), folder


def quantised(plain: tuple[Any, Path], folder: Path, kind: Kind) -> Any:
    """Write the quantised model into ``folder``; return one with the weights it stands for."""
    made, source = plain
    shutil.copytree(source, folder)
    meant = write_quantised(source, folder, kind)
    made.load_state_dict(meant, strict=False)
    return made


@pytest.mark.parametrize("name", KINDS)
async def test_a_quantised_base_and_its_adapter_answer_as_their_weights_do_or_are_refused(
    plain: tuple[Any, Path], tmp_path: Path, name: str
) -> None:
    if name in REFUSALS:
        await assert_refused(plain, tmp_path, name)
        return
    made = await asyncio.to_thread(quantised, plain, tmp_path / "base", KINDS[name])
    expected = {BASE: [answer(made, prompt, 1) for prompt in PROMPTS]}
    config = {"r": 4, "lora_alpha": 8, "target_modules": linear_names(made)}
    wrapped = make_adapter(made, tmp_path / "mine", seed=3, **config)
    wrapped.save_pretrained(tmp_path / "mine")
    expected["mine"] = [answer(wrapped, prompt, 1) for prompt in PROMPTS]
    wrapped.unload()
    async with asyncio.timeout(240), engine_on(tmp_path / "base", {}, dtype=DTYPES[name]) as engine:
        asked = Asked(engine)
        await asked.load("mine", tmp_path / "mine")
        found = {model: [await asked.answer(model, p) for p in PROMPTS] for model in expected}
    assert_close(found, expected)
    assert [tokens for tokens, _ in found[BASE]] != [tokens for tokens, _ in found["mine"]]


def assert_close(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for model, wanted in expected.items():
        for (tokens, logprobs), (first, first_logprob) in zip(found[model], wanted, strict=True):
            assert len(tokens) == TOKENS
            assert tokens[:1] == first
            assert logprobs[0] == pytest.approx(first_logprob[0], abs=CLOSE)


@pytest.mark.parametrize("name", REFUSED)
async def test_a_base_quantised_as_no_cpu_computes_it_is_refused_in_a_sentence(
    plain: tuple[Any, Path], tmp_path: Path, name: str
) -> None:
    await assert_refused(plain, tmp_path, name)


async def assert_refused(plain: tuple[Any, Path], tmp_path: Path, name: str) -> None:
    await asyncio.to_thread(quantised, plain, tmp_path / "base", {**REFUSED, **KINDS}[name])
    with pytest.raises(EngineNotStarted, match=REFUSALS[name]) as refused:
        async with asyncio.timeout(240), engine_on(tmp_path / "base", {}, dtype="bfloat16"):
            pass
    assert str(refused.value).endswith(".")
