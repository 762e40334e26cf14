"""A folder that no engine could serve is refused before one is started."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support import builders
from support.checkpoints import checkpoint
from veneer_server.engine.vllm.bases.folder import (
    BaseUnusable,
    require_fitting,
    require_usable,
)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = checkpoint(tmp_path / "base")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_a_whole_folder_may_be_served(base: Path) -> None:
    require_usable(str(base))


def test_a_name_of_the_hub_is_left_to_the_engine() -> None:
    require_usable("org/model")


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])


def an_adapter(config: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "config.json").unlink()
        (folder / "adapter_config.json").write_text(config)

    return change


def a_gguf(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "x.gguf")


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
TWO = '{"weight_map": {"a": "model-00001.safetensors", "b": "model-00002.safetensors"}}'
CLASSIFIER = '{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}'
INDEX = '{"weight_map": {"a.weight": "model-00001.safetensors"}}'
LLAMA = '{"model_type": "llama", %s}'
CANNOT = "says what cannot be"
MISDESCRIBED = [
    ("config.json", LLAMA % '"architectures": "LlamaForCausalLM"', f"{CANNOT} .`architectures`"),
    ("config.json", LLAMA % '"architectures": [3]', f"{CANNOT} .`architectures.0`"),
    ("config.json", LLAMA % '"quantization_config": ["fp8"]', f"{CANNOT} .`quantization_config`"),
    ("config.json", LLAMA % '"quantization_config": {"quant_method": 7}', "quant_method`"),
    ("config.json", LLAMA % '"eos_token_id": "x"', f"{CANNOT} .`eos_token_id`"),
    ("generation_config.json", '{"a', "generation_config.json cannot be read"),
    ("generation_config.json", "[]", f"generation_config.json {CANNOT}"),
    ("generation_config.json", '{"eos_token_id": "x"}', f"{CANNOT} .`eos_token_id`"),
    ("generation_config.json", '{"eos_token_id": [2, "x"]}', f"{CANNOT} .`eos_token_id"),
    ("generation_config.json", '{"eos_token_id": 1e3}', f"{CANNOT} .`eos_token_id"),
    ("generation_config.json", '{"eos_token_id": true}', f"{CANNOT} .`eos_token_id"),
    ("generation_config.json", '{"eos_token_id": 99999999999999999999}', f"{CANNOT} .`eos_token"),
    ("config.json", "\ufeff{}", "config.json cannot be read"),
    ("generation_config.json", '{"temperature": "hot"}', f"{CANNOT} .`temperature`"),
    ("generation_config.json", '{"top_p": NaN}', f"{CANNOT} .`top_p`"),
    ("generation_config.json", "[" * 100_000, "cannot be read"),
    ("tokenizer_config.json", "[]", f"tokenizer_config.json {CANNOT}"),
    ("tokenizer_config.json", "{", "tokenizer_config.json cannot be read"),
    ("tokenizer_config.json", '{"chat_template": 7}', f"{CANNOT} .`chat_template`"),
    ("special_tokens_map.json", '"x"', f"special_tokens_map.json {CANNOT}"),
]
SPOILED = [
    ("no config", without("config.json"), "no config.json"),
    ("no weights", without("model.safetensors"), "no weights"),
    ("no tokenizer", without("tokenizer.json"), "no tokenizer"),
    ("a classifier", with_text("config.json", CLASSIFIER), "writes no text"),
    ("config not JSON", with_text("config.json", "{"), "config.json"),
    ("config of nothing", with_text("config.json", "{}"), "model_type"),
    ("config a list", with_text("config.json", "[]"), "config.json says what cannot be"),
    *[(f"{name}: {text}", with_text(name, text), said) for name, text, said in MISDESCRIBED],
    ("weights cut", cut, "weights"),
    ("a part missing", with_text("model.safetensors.index.json", INDEX), "lacks model-00001"),
    ("two parts missing", with_text("model.safetensors.index.json", TWO), r"001\S* and 1 more"),
    ("an adapter", an_adapter('{"base_model_name_or_path": "org/b"}'), "base .* 'org/b', and put"),
    ("an adapter of nothing", an_adapter("[]"), "trained on and put"),
    ("a GGUF", a_gguf, "GGUF, which vLLM .* gguf_file='x.gguf'"),
    ("weights not fetched", with_text("model.safetensors", POINTER), "`git lfs pull`"),
    ("tokenizer not fetched", with_text("tokenizer.json", POINTER), "tokenizer.*`git lfs pull`"),
]


@pytest.mark.parametrize(("spoil", "said"), [c[1:] for c in SPOILED], ids=[c[0] for c in SPOILED])
def test_what_is_missing_or_damaged_is_said_with_what_to_do(
    base: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(base)
    with pytest.raises(BaseUnusable, match=said) as refused:
        require_usable(str(base))
    assert "\n" not in str(refused.value)
    assert any(verb in str(refused.value) for verb in ("opy", "set ", "download", "run", "serve"))


USUAL = {
    "config.json": {"model_type": "llama", "eos_token_id": [2, 7], "quantization_config": {}},
    "generation_config.json": {"eos_token_id": 2, "temperature": 0.6, "top_k": 0, "top_p": 1},
    "tokenizer_config.json": {"chat_template": [{"name": "default", "template": "x"}]},
    "special_tokens_map.json": {"eos_token": {"content": "</s>"}},
}


@pytest.mark.parametrize("name", USUAL)
def test_files_as_people_publish_them_are_fine(base: Path, name: str) -> None:
    (base / name).write_text(json.dumps(USUAL[name]))
    require_usable(str(base))


@pytest.mark.parametrize(("name", "said"), [("x.gguf", "GGUF"), ("x.safetensors", "its folder")])
def test_a_file_is_no_base_model(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(BaseUnusable, match=said):
        require_usable(str(tmp_path / name))


def test_a_tokenizer_may_be_elsewhere(base: Path) -> None:
    (base / "tokenizer.json").unlink()
    require_usable(str(base), tokenizer="org/other")


def test_a_place_that_cannot_be_read_is_said_plainly() -> None:
    with pytest.raises(BaseUnusable, match=r"model\.path cannot be read: File name too long"):
        require_usable("x" * 5000)


def test_weights_in_other_formats_are_left_to_the_engine(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    require_usable(str(base))


def test_layers_of_the_stored_shapes_fit(base: Path) -> None:
    require_fitting(str(base), {**builders.MODULES, "only.in.the.engine": (1, 2)})


@pytest.mark.parametrize("built", [(16, 4), (16, 32), (8, 8), (8, 16)])
def test_a_layer_of_another_shape_is_named_with_both(base: Path, built: tuple[int, int]) -> None:
    with pytest.raises(BaseUnusable, match=f"{builders.V}.*do not|do not.*{builders.V}") as refused:
        require_fitting(str(base), {**builders.MODULES, builders.V: built})
    assert "(16, 8)" in str(refused.value)
    assert str(built) in str(refused.value)


def test_quantised_weights_and_other_formats_are_left_to_the_engine(base: Path) -> None:
    other = {builders.V: (1, 1)}
    require_fitting("org/model", other)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {}}))
    require_fitting(str(base), other)


@pytest.mark.parametrize(("words", "fits"), [(32, True), (31, False), (64, False)])
def test_the_weights_have_as_many_tokens_as_the_config(base: Path, words: int, fits: bool) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "vocab_size": words}))
    if fits:
        require_usable(str(base))
    else:
        with pytest.raises(BaseUnusable, match=f"32 tokens, and `vocab_size` is {words}"):
            require_usable(str(base))
