"""``adapter_config.json``: what PEFT says about an adapter, believed only field by field.

What the engine would ignore or refuse is refused here, by name, so that no adapter is ever
served as something other than what was trained.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from veneer_adapters import strict_json
from veneer_adapters.errors import InvalidConfig, UnsupportedFeature, quoted

MAX_CONFIG_BYTES = 1 << 20

# The keys are regular expressions to PEFT and vLLM: with these characters a match is linear.
_PATTERN_KEY = re.compile(r"[A-Za-z0-9_.]{1,256}")

_UNSUPPORTED_WHEN_SET = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "modules_to_save",
    "alora_invocation_tokens",
    "layer_replication",
    "megatron_config",
    "fan_in_fan_out",
    "trainable_token_indices",
    "target_parameters",
    "monteclora_config",
    "velora_config",
    "arrow_config",
    "kasa_config",
)
# Any other initialisation changes the base model's own weights while PEFT loads the adapter.
_PLAIN_INITS = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The fields that decide how an adapter is applied."""

    rank: int
    alpha: float
    use_rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    base_name: str | None

    @property
    def max_rank(self) -> int:
        """The largest rank named anywhere, which is the one the engine compares."""
        return max([self.rank, *self.rank_pattern.values()])

    def rank_of(self, module: str) -> int:
        """Return the rank the weights of ``module`` must have."""
        found = _matching(self.rank_pattern, module)
        return self.rank if found is None else int(found)

    def scaling_of(self, module: str) -> float:
        """Return the factor the engine multiplies B·A of ``module`` with."""
        found = _matching(self.alpha_pattern, module)
        rank = self.rank_of(module)
        alpha = self.alpha if found is None else found
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def parse_config(text: bytes) -> AdapterConfig:
    """Return what ``adapter_config.json`` says.

    Raises:
        InvalidConfig: not strict JSON, or a field is missing or impossible.
        UnsupportedFeature: a field asks for what would not be applied.
    """
    fields = _parse_object(text)
    _refuse_unsupported(fields)
    targets = fields.get("target_modules")
    if not isinstance(targets, str | list) or not targets:
        raise InvalidConfig("`target_modules` must name at least one module.")
    return AdapterConfig(
        rank=_rank("r", fields.get("r")),
        alpha=_alpha("lora_alpha", fields.get("lora_alpha")),
        use_rslora=_flag(fields, "use_rslora"),
        rank_pattern={k: _rank(k, v) for k, v in _pattern(fields, "rank_pattern").items()},
        alpha_pattern={k: _alpha(k, v) for k, v in _pattern(fields, "alpha_pattern").items()},
        base_name=_base_name(fields),
    )


def _parse_object(text: bytes) -> dict[str, object]:
    if len(text) > MAX_CONFIG_BYTES:
        raise InvalidConfig(f"adapter_config.json is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        fields = strict_json.parse(text)
    except ValueError as error:
        raise InvalidConfig(f"adapter_config.json cannot be read: {error}.") from None
    if not isinstance(fields, dict):
        raise InvalidConfig("adapter_config.json must hold one JSON object.")
    return fields


def _refuse_unsupported(fields: Mapping[str, object]) -> None:
    if fields.get("peft_type", "LORA") != "LORA":
        raise UnsupportedFeature(
            f"The adapter is of type {quoted(fields['peft_type'])}; only LORA is supported."
        )
    for name in _UNSUPPORTED_WHEN_SET:
        if fields.get(name) not in (None, False, [], {}):
            raise UnsupportedFeature(f"The adapter uses {quoted(name)}, which is not supported.")
    if fields.get("bias") not in (None, "none"):
        raise UnsupportedFeature("The adapter trains a bias, which is not supported.")
    init = fields.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        raise UnsupportedFeature(
            f"The adapter was initialised with {quoted(init)}, which changes the base model's"
            " weights; convert it to a plain LoRA with PEFT first."
        )


def _rank(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidConfig(f"The rank {quoted(name)} must be a whole number of at least 1.")
    return value


def _alpha(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise InvalidConfig(f"The alpha {quoted(name)} must be a finite number above 0.")
    try:
        return float(value)
    except OverflowError:
        raise InvalidConfig(f"The alpha {quoted(name)} is too large.") from None


def _flag(fields: Mapping[str, object], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidConfig(f"{quoted(name)} must be true or false.")
    return bool(value)


def _pattern(fields: Mapping[str, object], name: str) -> dict[str, object]:
    pattern = fields.get(name)
    if pattern is None:
        return {}
    if not isinstance(pattern, dict):
        raise InvalidConfig(f"{quoted(name)} must be an object.")
    for key in pattern:
        if not _PATTERN_KEY.fullmatch(key):
            raise InvalidConfig(f"{quoted(name)} has the key {quoted(key)}, which names no module.")
    return pattern


def _base_name(fields: Mapping[str, object]) -> str | None:
    name = fields.get("base_model_name_or_path")
    if name is None:
        return None
    if not isinstance(name, str) or len(name) > 1024 or not name.isprintable():
        raise InvalidConfig("`base_model_name_or_path` must be printable text.")
    return name


def _matching(pattern: Mapping[str, int] | Mapping[str, float], module: str) -> float | None:
    # PEFT's own rule (`get_pattern_key`), which vLLM repeats: the first key that matches wins.
    for key, value in pattern.items():
        if re.fullmatch(rf"(.*\.)?({key})", module):
            return value
    return None
