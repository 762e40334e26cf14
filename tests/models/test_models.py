"""A base model and its adapters answer as Transformers and PEFT do, alone and beside each other."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from models.making import (
    add_expert_weights,
    answer,
    kinds_of,
    linear_names,
    make_adapter,
    make_model,
)
from models.matrix import Results
from models.serving import BASE, TOKENS, Asked, Said, engine_on
from models.table import CORE, DIVERGES, KINDS, MODELS, UNSERVED, Model
from support.asked import need
from veneer_adapters.artifact.checks import verify
from veneer_adapters.doctor.base_model import open_base
from veneer_adapters.errors import AdapterRejected
from veneer_server.engine.base import Engine, EngineNotStarted

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]

need("torch")
need("peft")

PROMPTS = ([1, 40, 41, 42, 90], [1, 200, 31, 7, 7, 7, 150, 99, 12], [1, 255, 254, 17])
MIXED = ("attention", "high", "patterns", BASE)
CLOSE = 2e-3
"""Of a log-probability, in float32; what a missing module changes is a hundred times as much."""


def _marks(name: str) -> list[pytest.MarkDecorator]:
    beyond = [] if name in CORE else [pytest.mark.models]
    known = DIVERGES.get(name)
    return [*beyond, pytest.mark.xfail(reason=known, strict=True)] if known else beyond


EVERY = [pytest.param(name, marks=_marks(name)) for name in MODELS]


# PEFT doubles the patterns of mixtures for experts that none of these adapters has.
@pytest.mark.filterwarnings("ignore:The following rank_pattern keys:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:The following alpha_pattern keys:RuntimeWarning")
@pytest.mark.parametrize("name", EVERY)
async def test_a_base_and_its_adapters_answer_as_transformers_and_peft_do(
    name: str, tmp_path: Path, seen: Results
) -> None:
    model, base = MODELS[name], tmp_path / "base"
    made = await asyncio.to_thread(make_model, model, base)
    linear = linear_names(made)
    wanted = _reference(made, model, tmp_path, linear)
    note = seen.setdefault(name, {})
    async with asyncio.timeout(300), engine_on(base, model.args) as engine:
        asked = Asked(engine)
        for kind in KINDS:
            await asked.load(kind, tmp_path / kind)
            assert (await asked.effect(kind)).largest_change
        alone = {key: await asked.answer(*_of(key)) for key in wanted}
        keys = [key for key in wanted if key[0] in MIXED]
        said = await asyncio.gather(*(asked.answer(*_of(key)) for key in keys))
        note["alone"] = _difference(wanted, alone)
        note["mixed"] = _difference(wanted, dict(zip(keys, said, strict=True)))
        note["modules"] = len(engine.facts.modules)
        note["doctor"] = _doctor_agrees(base, engine)
        _refuses_what_is_not_used(made, model, linear, tmp_path, engine)
    assert note["alone"] < CLOSE
    assert note["mixed"] < CLOSE
    assert note["doctor"] == "yes"


@pytest.mark.models
@pytest.mark.parametrize("name", UNSERVED)
async def test_a_base_that_cannot_be_served_is_refused_in_a_sentence(
    name: str, tmp_path: Path, seen: Results, capfd: pytest.CaptureFixture[str]
) -> None:
    model, _ = UNSERVED[name]
    await asyncio.to_thread(make_model, model, tmp_path)
    capfd.readouterr()
    with pytest.raises(EngineNotStarted) as refused:
        async with asyncio.timeout(300), engine_on(tmp_path, model.args):
            pass
    said = str(refused.value)
    seen[name] = {"refused": said}
    assert "root cause above" not in said
    assert "\n" not in said
    assert "Traceback" not in capfd.readouterr().err


Key = tuple[str, int]
"""Which model is asked, and which of ``PROMPTS``."""


def _of(key: Key) -> tuple[str, list[int]]:
    return key[0], PROMPTS[key[1]]


def _reference(made: Any, model: Model, folder: Path, linear: list[str]) -> dict[Key, Said]:
    """Return what Transformers and PEFT answer; write the adapters into ``folder``."""
    wanted = {(BASE, i): answer(made, prompt, TOKENS) for i, prompt in enumerate(PROMPTS)}
    for seed, (kind, config) in enumerate(kinds_of(model, linear).items()):
        wrapped = make_adapter(made, folder / kind, seed=seed, **config)
        found = {(kind, i): answer(wrapped, prompt, TOKENS) for i, prompt in enumerate(PROMPTS)}
        assert any(found[kind, i] != wanted[BASE, i] for i in range(len(PROMPTS)))
        wanted |= found
        wrapped.unload()
    return wanted


def _difference(wanted: dict[Key, Said], found: dict[Key, Said]) -> float:
    """Return the largest difference of a log-probability; fail where a token differs."""
    both = {key: (wanted[key][0], said[0]) for key, said in found.items()}
    differing = {key: tokens for key, tokens in both.items() if tokens[0] != tokens[1]}
    assert differing == {}, f"wanted and said: {differing}"
    return max(
        abs(ours - theirs)
        for key, said in found.items()
        for ours, theirs in zip(said[1], wanted[key][1], strict=True)
    )


def _doctor_agrees(base: Path, engine: Engine) -> str:
    facts = open_base(base).facts(name="base", max_rank=16, dtype="float32")
    ours, theirs = dict(facts.modules), dict(engine.facts.modules)
    if ours == theirs:
        return "yes"
    more, less = ours.items() - theirs.items(), theirs.items() - ours.items()
    return f"more: {sorted(more)[:4]}, less: {sorted(less)[:4]}"


def _refuses_what_is_not_used(
    made: Any, model: Model, linear: list[str], folder: Path, engine: Engine
) -> None:
    for number, part in enumerate(model.without):
        name = next(name for name in linear if part in name)
        used = next(name for name in linear if not any(part in name for part in model.without))
        every = {"r": 4, "lora_alpha": 4, "target_modules": [used, name]}
        made_one = make_adapter(made, folder / f"refused-{number}", seed=1, **every)
        made_one.unload()
        with pytest.raises(AdapterRejected, match=part):
            verify(folder / f"refused-{number}", engine.facts)
    if not model.mlp:
        expert = "model.layers.0.mlp.experts.0.gate_proj"
        add_expert_weights(folder / "attention", expert, (128, 96))
        with pytest.raises(AdapterRejected, match="expert"):
            verify(folder / "attention", engine.facts)
