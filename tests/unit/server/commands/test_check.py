"""``veneer adapters check``: what a person and a program are told, without engine or server."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner, Result

from support import builders
from support.checkpoints import checkpoint
from support.places import REPOSITORY
from unit.server.engine.sizing.test_precision import OLD
from veneer_adapters.sandbox.sandbox import Sandbox
from veneer_server.commands import check as adapters_check
from veneer_server.commands.main import app
from veneer_server.engine.sizing import here
from veneer_server.engine.sizing.shapes import Shape
from veneer_server.settings import Settings

COMPLETION = {"--install-completion", "--show-completion"}
"""What typer adds to a command that stands alone."""


def check(*arguments: object, **environ: str) -> Result:
    env = {"COLUMNS": "200", **environ}
    return CliRunner().invoke(app, ["adapters", "check", *map(str, arguments)], env=env)


def test_an_adapter_that_loads_ends_with_0_and_its_facts(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "tiny")
    done = check(builders.write(tmp_path / "a"), "--model", base)
    assert done.exit_code == 0
    assert done.stdout.startswith("Loads.")
    for part in ("q_proj, v_proj", "2 of the base's 2", "scaling 2", "host memory"):
        assert part in done.stdout
    assert "Problems" not in done.stdout


def test_one_that_does_not_load_ends_with_1_and_what_to_do(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "tiny")
    folder = builders.write(tmp_path / "a", use_dora=True, base_model_name_or_path="[red]x[/red]")
    done = check(folder, "--model", base)
    assert done.exit_code == 1
    assert done.stdout.startswith("Does not load.")
    for part in ("unsupported_feature", "`use_dora`", "--fix", "Fold DoRA", "[red]x[/red]"):
        assert part in done.stdout


def test_json_is_one_document(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "tiny")
    folder = builders.write(tmp_path / "a", rank_pattern={"x": 999})
    done = check(folder, "--model", base, "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["reason"]) == (1, "rank_too_large")
    assert document["base"]["name"] == "tiny"
    assert str(tmp_path) not in done.stdout


def test_the_rank_of_the_server_can_be_given_or_set(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "tiny")
    folder = builders.write(tmp_path / "a", rank_pattern={"x": 100})
    assert check(folder, "--model", base).exit_code == 1
    assert check(folder, "--model", base, "--max-rank", 128).exit_code == 0
    assert check(folder, "--model", base, VENEER_ADAPTERS__MAX_RANK="128").exit_code == 0


def test_what_the_server_would_compress_loads_with_its_error(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "tiny")
    folder = builders.write(tmp_path / "a", rank_pattern={"x": 100})
    done = check(folder, "--model", base, "--max-rank", 2, VENEER_ADAPTERS__COMPRESS="0.9")
    assert done.exit_code == 0
    assert "100, compressed to 2 with an error of 0." in done.stdout
    told = check(folder, "--model", base, "--max-rank", 2, VENEER_ADAPTERS__COMPRESS="0.001")
    assert told.exit_code == 1
    assert "adapters.compress allows 0.001" in " ".join(told.stdout.split())


def test_the_configured_model_is_the_default(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "tiny")
    done = check(builders.write(tmp_path / "a"), VENEER_MODEL__PATH=str(base))
    assert done.exit_code == 0


@pytest.mark.parametrize("path", ["embedded", "nobody/nothing", "/no/such/folder"])
def test_a_model_that_is_not_here_yet_is_said_plainly(tmp_path: Path, path: str) -> None:
    folder = builders.write(tmp_path / "a")
    cache = {"XDG_CACHE_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path)}
    done = check(folder, VENEER_MODEL__PATH=path, **cache)
    assert done.exit_code == 2
    assert "--model" in done.stderr
    assert not (tmp_path / "veneer").exists()


@pytest.mark.parametrize("spoilt", ["no adapter", "no base", "settings"])
def test_what_cannot_be_checked_is_one_sentence_and_ends_with_2(
    tmp_path: Path, spoilt: str
) -> None:
    base = checkpoint(tmp_path / "tiny")
    folder = builders.write(tmp_path / "a")
    if spoilt == "no base":
        (base / "config.json").unlink()
    done = check(
        tmp_path / "none" if spoilt == "no adapter" else folder,
        "--model",
        base,
        **({"VENEER_NOTHING__AT_ALL": "1"} if spoilt == "settings" else {}),
    )
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_fix_writes_a_copy_that_loads_and_says_what_changed(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "tiny")
    folder = builders.write(tmp_path / "a", modules_to_save=["lm_head"])
    out = tmp_path / "repaired"
    done = check(folder, "--model", base, "--fix", out)
    assert done.exit_code == 0
    assert "`modules_to_save` was emptied" in done.stdout
    assert check(out, "--model", base).exit_code == 0
    again = check(folder, "--model", base, "--fix", out, "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout)["repaired"]["reason"] == "not_repairable"


def test_another_provider_can_bring_the_folder(tmp_path: Path) -> None:
    events = []

    @contextmanager
    def fetch(location: str) -> Iterator[Path]:
        events.append(location)
        yield builders.write(tmp_path / "fetched")
        events.append("removed")

    base = checkpoint(tmp_path / "tiny")
    asked = adapters_check.prepare(Settings.load(environ={}), base, None, None)
    report, repaired = adapters_check.examine("hf://someone/something", asked, fetch)
    assert (report.loads, repaired) == (True, None)
    assert events == ["hf://someone/something", "removed"]


@pytest.mark.parametrize(("dtype", "width"), [("bfloat16", 2), ("float32", 4)])
def test_the_cost_is_the_one_the_plan_computes(tmp_path: Path, dtype: str, width: int) -> None:
    """All seven modules of a Llama: the sum the plan takes from config.json."""
    config = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    shapes = {
        "self_attn.q_proj": (64, 64),
        "self_attn.k_proj": (32, 64),
        "self_attn.v_proj": (32, 64),
        "self_attn.o_proj": (64, 64),
        "mlp.gate_proj": (96, 64),
        "mlp.up_proj": (96, 64),
        "mlp.down_proj": (64, 96),
    }
    tensors = {
        f"model.layers.{n}.{name}.weight": ("BF16", np.zeros(shape, np.uint16))
        for n in range(2)
        for name, shape in shapes.items()
    }
    base = checkpoint(tmp_path / "llama", tensors, **config)
    settings = Settings.load(environ={}, flags={"model": {"dtype": dtype}})
    asked = adapters_check.prepare(settings, base, 32, None)
    report, _ = adapters_check.examine(str(builders.write(tmp_path / "a")), asked)
    assert report.cost.device_slot_bytes == Shape.of(config, width).adapter_bytes(32)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "float32"),
        ({"VENEER_MODEL__DTYPE": "bfloat16"}, "bfloat16"),
        ({"VENEER_ENGINE__ARGS": '{"dtype": "half"}'}, "float16"),
    ],
)
def test_an_adapter_is_checked_in_the_dtype_that_the_server_would_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], said: str
) -> None:
    monkeypatch.setattr(here, "this_cpu", lambda: OLD)
    base = checkpoint(tmp_path / "tiny")
    done = check(builders.write(tmp_path / "a"), "--model", base, **environ)
    assert done.exit_code == 0
    assert f"tiny, {said}" in done.stdout


def test_a_device_slot_costs_what_the_server_would_keep_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "this_cpu", lambda: OLD)
    base = checkpoint(tmp_path / "tiny")
    folder = str(builders.write(tmp_path / "a"))
    costs = []
    for dtype in ("auto", "float32"):
        settings = Settings.load(environ={}, flags={"model": {"dtype": dtype}})
        asked = adapters_check.prepare(settings, base, 32, None)
        assert asked.facts.dtype == "float32"
        costs.append(adapters_check.examine(folder, asked)[0].cost.device_slot_bytes)
    assert costs[0] is not None
    assert costs[1] == 2 * costs[0]


def test_a_dtype_in_which_nothing_is_computed_is_said_plainly(tmp_path: Path) -> None:
    base, environ = checkpoint(tmp_path / "tiny"), {"VENEER_ENGINE__ARGS": '{"dtype": "int3"}'}
    done = check(builders.write(tmp_path / "a"), "--model", base, **environ)
    assert done.exit_code == 2
    assert "'int3' is no dtype" in done.stderr


def test_every_flag_is_documented() -> None:
    page = (REPOSITORY / "docs" / "doctor.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(--[a-z-]+)` \|", page, re.MULTILINE))
    command = typer.Typer()
    command.command()(adapters_check.check)
    taken = {option for parameter in get_command(command).params for option in parameter.opts}
    assert documented == {o for o in taken if o.startswith("--")} - COMPLETION


@pytest.mark.slow
def test_neither_torch_nor_vllm_is_imported(tmp_path: Path) -> None:
    base = checkpoint(tmp_path / "tiny")
    folder = builders.write(tmp_path / "a")
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from veneer_server.commands.main import app\n"
        f"arguments = ['adapters', 'check', {str(folder)!r}, '--model', {str(base)!r}]\n"
        "assert CliRunner().invoke(app, arguments).exit_code == 0\n"
        "assert not {'torch', 'vllm', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_local_folder_is_held_open_while_it_is_examined(tmp_path: Path) -> None:
    other = builders.write(tmp_path / "other", r=2)
    folder = builders.write(tmp_path / "a", r=4)
    with adapters_check.local_folder(str(folder)) as opened, Sandbox() as sandbox:
        folder.rename(tmp_path / "moved")
        folder.symlink_to(other)
        report = sandbox.examine(opened, builders.FACTS)
    assert (report.loads, report.facts.rank) == (True, 4)
