"""What a base model's config says of its class."""

import json
from pathlib import Path

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

need("transformers")


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"model_type": "llama"}, ["LlamaForCausalLM"]),
        ({"model_type": "llama", "architectures": None}, ["LlamaForCausalLM"]),
        ({"model_type": "llama", "architectures": ["Mine"]}, None),
        ({"model_type": "what"}, None),
        ({}, None),
    ],
)
def test_a_config_without_a_class_gets_the_one_that_writes_text(
    tmp_path: Path, config: dict[str, object], found: list[str] | None
) -> None:
    from veneer_server.engine.vllm.bases.reading import missing_architectures

    (tmp_path / "config.json").write_text(json.dumps(config))
    assert missing_architectures(str(tmp_path)) == found
