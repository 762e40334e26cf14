"""Looks at the folder of a base model before an engine is started on it, which takes much longer.

Rule: refuse only what no engine could serve. Weights may be in any format that vLLM reads; of
safetensors the headers are read, which takes milliseconds.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from veneer_adapters.doctor.base_model import open_base
from veneer_adapters.errors import BaseUnreadable
from veneer_server.engine.base import EngineNotStarted
from veneer_server.engine.vllm.bases.described import misdescribed
from veneer_server.engine.vllm.bases.mistaken import mistaken

_INDEX = "model.safetensors.index.json"
_WORDS = "model.embed_tokens.weight"
_WITHOUT_TEXT = (
    *("ForSequenceClassification", "ForTokenClassification", "ForMaskedLM", "RewardModel"),
    *("ForQuestionAnswering", "ForMultipleChoice"),
)
"""The endings of classes that score or classify."""
_CONFIGS = ("config.json", "params.json")
"""Transformers' file, and Mistral's."""
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth")
_TOKENIZERS = (
    *("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json"),
    *(
        "spiece.model",
        "tiktoken.model",
        "qwen.tiktoken",
        "*.model*",
        "*.tiktoken",
        "tokenizer*.json",
    ),
)


class BaseUnusable(EngineNotStarted):
    """The folder of the base model lacks a file, or has a damaged one."""


def require_usable(model: str, *, tokenizer: str | None = None) -> None:
    """Return unless ``model`` is a place that cannot be served; a name of the Hub is none.

    ``tokenizer`` is another place that has the tokenizer.

    Raises:
        BaseUnusable: says what is wrong and what to do.
    """
    folder = Path(model)
    try:
        if not folder.exists():
            return
        wrong = mistaken(folder) or (misdescribed(folder) if folder.is_dir() else None)
    except OSError as error:
        raise BaseUnusable(f"model.path cannot be read: {error.strerror}.") from error
    if wrong is not None:
        raise BaseUnusable(wrong)
    if not any((folder / name).is_file() for name in _CONFIGS):
        raise BaseUnusable(
            f"{folder} has no config.json, so it is not the folder of a model; set model.path to"
            " one as Transformers saves it."
        )
    if not _has(folder, _WEIGHTS):
        raise BaseUnusable(
            f"{folder} has no weights (*.safetensors); copy or download the model whole."
        )
    if tokenizer is None and not _has(folder, _TOKENIZERS):
        raise BaseUnusable(
            f"{folder} has no tokenizer (tokenizer.json); copy or download it from the base model,"
            " or name a folder that has one in `engine.args.tokenizer`."
        )
    if (folder / "config.json").is_file():
        _require_readable(folder)


def require_fitting(model: str, built: Mapping[str, tuple[int, int]]) -> None:
    """Return unless a layer that the engine has ``built`` has another shape in the weights.

    ``built`` has the ``(in_features, out_features)`` of linear layers, by PEFT's names. vLLM takes
    the part that it needs of a larger tensor, and says nothing. What is stored under other names,
    quantised, or in another format is not compared.

    Raises:
        BaseUnusable: names the first such layer, and both shapes.
    """
    for name, stored in sorted(_stored_layers(Path(model)).items()):
        if name in built and built[name] != stored:
            raise BaseUnusable(
                f"The weights in {model} do not fit its config.json: the layer {name} is stored"
                f" with (in, out) = {stored}, and the config makes it {built[name]}; copy or"
                " download both again, from the same place."
            )


def _stored_layers(folder: Path) -> Mapping[str, tuple[int, int]]:
    if not any((folder / name).is_file() for name in ("model.safetensors", _INDEX)):
        return {}
    try:
        base = open_base(folder)
        if "quantization_config" in base.config:
            return {}
        return base.facts(name=folder.name, max_rank=1, dtype="float32").modules
    except BaseUnreadable:
        return {}  # the engine can read more than this


def _has(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(file.is_file() for pattern in patterns for file in folder.glob(pattern))


def _require_readable(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not (config.get("model_type") or config.get("architectures")):
        raise BaseUnusable(
            f"config.json in {folder} names neither `model_type` nor `architectures`; copy or"
            " download the one that belongs to the weights."
        )
    named = config.get("architectures")
    if isinstance(named, list) and named and str(named[0]).endswith(_WITHOUT_TEXT):
        raise BaseUnusable(
            f"The model in {folder} writes no text ({named[0]}); set model.path to one that"
            " generates."
        )
    if any((folder / name).exists() for name in ("model.safetensors", _INDEX)):
        _require_headers(folder)


def _require_headers(folder: Path) -> None:
    try:
        base = open_base(folder)
    except BaseUnreadable as error:
        raise BaseUnusable(f"{folder}: {error} Copy or download its weights again.") from error
    words, (_, embedding) = base.config.get("vocab_size"), base.tensors.get(_WORDS, (None, None))
    if isinstance(words, int) and embedding is not None and embedding.shape[0] != words:
        raise BaseUnusable(
            f"The weights in {folder} do not fit its config.json: they have {embedding.shape[0]}"
            f" tokens, and `vocab_size` is {words}; copy or download both again, from the same"
            " place."
        )
