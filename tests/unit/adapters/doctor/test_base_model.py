"""What an adapter must fit, read from a checkpoint folder alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import builders
from support.checkpoints import checkpoint, layer
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.doctor.base_model import open_base
from veneer_adapters.errors import BaseUnreadable


def of(folder: Path, name: str = "tiny", max_rank: int = 8) -> BaseFacts:
    return open_base(folder).facts(name=name, max_rank=max_rank, dtype="bfloat16")


def test_the_facts_are_the_linear_modules_and_their_shapes(tmp_path: Path) -> None:
    facts = of(checkpoint(tmp_path))
    assert facts.modules == builders.MODULES
    assert (facts.name, facts.max_rank, facts.dtype) == ("tiny", 8, "bfloat16")


def test_a_checkpoint_in_several_files_is_one(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path)
    (folder / "model.safetensors").unlink()
    weight_map = {}
    for n, (name, value) in enumerate(layer().items()):
        weight_map[name] = f"model-{n}.safetensors"
        (folder / weight_map[name]).write_bytes(builders.safetensors({name: value}))
    index = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index)
    assert of(folder).modules == builders.MODULES


def test_the_fingerprint_is_of_modules_and_shapes(tmp_path: Path) -> None:
    first = of(checkpoint(tmp_path / "1"), name="a")
    same = of(checkpoint(tmp_path / "2", more=1), name="b", max_rank=64)
    smaller = layer()
    del smaller[f"{builders.V}.weight"]
    other = of(checkpoint(tmp_path / "3", smaller), name="a")
    assert first.fingerprint == same.fingerprint != other.fingerprint


def test_a_head_that_is_tied_is_the_embedding(tmp_path: Path) -> None:
    tensors = layer()
    del tensors["lm_head.weight"]
    base = open_base(checkpoint(tmp_path, tensors))
    head, embedding = base.weight("lm_head.weight"), base.weight("model.embed_tokens.weight")
    assert head is not None
    assert embedding is not None
    assert np.array_equal(head, embedding)
    assert base.weight("model.none.weight") is None


def quantised() -> builders.Tensors:
    return {f"{builders.Q}.qweight": ("F32", np.ones((2, 2), np.float32))}


UNREADABLE = [
    ("quantised", quantised(), {}),
    ("transposed", layer(), {"model_type": "gpt2"}),
    ("without a linear layer", {}, {}),
]


@pytest.mark.parametrize(
    ("tensors", "config"), [c[1:] for c in UNREADABLE], ids=[c[0] for c in UNREADABLE]
)
def test_a_base_only_the_engine_understands_is_refused(
    tmp_path: Path, tensors: builders.Tensors, config: dict[str, Any]
) -> None:
    with pytest.raises(BaseUnreadable):
        of(checkpoint(tmp_path, tensors, **config))


def test_a_base_in_another_format_is_left_to_a_server(tmp_path: Path) -> None:
    (checkpoint(tmp_path) / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(BaseUnreadable, match=r"no model\.safetensors.*POST /v1/adapters/check"):
        open_base(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("spoil", ["missing", "damaged"])
def test_a_base_that_is_not_there_is_refused(tmp_path: Path, name: str, spoil: str) -> None:
    folder = checkpoint(tmp_path)
    (folder / name).unlink()
    if spoil == "damaged":
        (folder / name).write_bytes(b"[1, 2]")
    with pytest.raises(BaseUnreadable) as raised:
        open_base(folder)
    assert str(tmp_path) not in str(raised.value)
    assert spoil == "damaged" or name in str(raised.value)


def test_a_base_whose_folder_is_not_there_is_refused_as_that(tmp_path: Path) -> None:
    with pytest.raises(BaseUnreadable, match="no such folder"):
        open_base(tmp_path / "nowhere")


def test_a_part_that_the_index_names_and_nobody_copied_is_named(tmp_path: Path) -> None:
    checkpoint(tmp_path)
    index = {"weight_map": {"a": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BaseUnreadable, match="model-00002-of-00002"):
        open_base(tmp_path)
