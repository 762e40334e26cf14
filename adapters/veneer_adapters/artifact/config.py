"""What PEFT's ``adapter_config.json`` says about an adapter; only checked fields count.

What the engine would ignore or refuse is refused here, by name. So no adapter is ever served as
something other than what was trained.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from veneer_adapters.artifact import strict_json
from veneer_adapters.artifact.patterns import Pattern, read_pattern
from veneer_adapters.artifact.peft_fields import PLAIN_INITS, UNSUPPORTED_WHEN_SET
from veneer_adapters.errors import (
    AdapterRejected,
    InvalidConfig,
    NonFinite,
    OnFault,
    UnsupportedFeature,
    quoted,
    raise_it,
)

_T = TypeVar("_T")

_PARAMETERS = "target_parameters"
MAX_CONFIG_BYTES = 1 << 20

_LARGEST_ALPHA = 3.4028234e38
"""The largest float32, because the engine multiplies in that precision."""


@dataclass(frozen=True, slots=True)
class AdapterConfig:
    """The fields that decide how an adapter is applied."""

    rank: int
    alpha: float
    use_rslora: bool
    rank_pattern: Pattern
    alpha_pattern: Pattern
    base_name: str | None

    @property
    def max_rank(self) -> int:
        """The largest rank of any field; the engine compares this one with its limit."""
        return max([self.rank, *map(int, self.rank_pattern.values)])

    def rank_of(self, module: str) -> int:
        """Return the rank that the weights of ``module`` must have."""
        found = self.rank_pattern.value_of(module)
        return self.rank if found is None else int(found)

    def scaling_of(self, module: str) -> float:
        """Return the factor by which the engine multiplies B·A of ``module``."""
        found = self.alpha_pattern.value_of(module)
        rank = self.rank_of(module)
        alpha = self.alpha if found is None else found
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def parse_config(text: bytes) -> AdapterConfig:
    """Return what the text of ``adapter_config.json`` says.

    Raises:
        InvalidConfig: it is not strict JSON, or a field is missing or impossible.
        UnsupportedFeature: a field asks for something that would not be applied.
        NonFinite: an alpha is larger than the engine can compute with.
    """
    fields = parse_object(text)
    config = to_config(fields, raise_it)
    if config is None:
        raise InvalidConfig("adapter_config.json cannot be used.")
    return config


def to_config(fields: Mapping[str, object], on_fault: OnFault) -> AdapterConfig | None:
    """Return what ``fields`` say, or None when a required field is wrong.

    ``on_fault`` gets each fault. What the engine would ignore or refuse comes first.
    """
    _find_unsupported(fields, on_fault)

    def read(reader: Callable[[], _T]) -> _T | None:
        try:
            return reader()
        except AdapterRejected as fault:
            on_fault(fault)
            return None

    read(lambda: _require_targets(fields))
    rank = read(lambda: _rank("r", fields.get("r")))
    alpha = read(lambda: _alpha("lora_alpha", fields.get("lora_alpha")))
    use_rslora = read(lambda: _flag(fields, "use_rslora"))
    ranks = read(lambda: read_pattern(fields, "rank_pattern", _rank))
    alphas = read(lambda: read_pattern(fields, "alpha_pattern", _alpha))
    base_name = read(lambda: _base_name(fields))
    if rank is None or alpha is None or use_rslora is None or ranks is None or alphas is None:
        return None
    return AdapterConfig(rank, alpha, use_rslora, ranks, alphas, base_name)


def parse_object(text: bytes) -> dict[str, object]:
    """Return the JSON object in ``text``; its fields are not checked.

    Raises:
        InvalidConfig: it is too large, not strict JSON, or not an object.
    """
    if len(text) > MAX_CONFIG_BYTES:
        raise InvalidConfig(f"adapter_config.json is larger than {MAX_CONFIG_BYTES} bytes.")
    try:
        fields = strict_json.parse(text)
    except ValueError as error:
        raise InvalidConfig(f"adapter_config.json cannot be read: {error}.") from None
    if not isinstance(fields, dict):
        raise InvalidConfig("adapter_config.json must hold one JSON object.")
    return fields


def _find_unsupported(fields: Mapping[str, object], on_fault: OnFault) -> None:
    if fields.get("peft_type", "LORA") != "LORA":
        on_fault(
            UnsupportedFeature(
                f"The adapter is of type {quoted(fields['peft_type'])}; only LORA is supported."
            )
        )
    if parameters := fields.get(_PARAMETERS):
        on_fault(
            UnsupportedFeature(
                f"The adapter changes the parameters {quoted(parameters)} (`{_PARAMETERS}`), like"
                " those of the experts of a mixture, which is not supported."
            )
        )
    for name in UNSUPPORTED_WHEN_SET:
        if fields.get(name) not in (None, False, [], {}):
            on_fault(
                UnsupportedFeature(f"The adapter uses {quoted(name)}, which is not supported.")
            )
    if fields.get("bias") not in (None, "none"):
        on_fault(UnsupportedFeature("The adapter trains a bias, which is not supported."))
    init = fields.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        on_fault(
            UnsupportedFeature(
                f"The adapter was initialised with {quoted(init)}, which changes the base model's"
                " weights; convert it to a plain LoRA with PEFT first."
            )
        )


def _require_targets(fields: Mapping[str, object]) -> None:
    targets = fields.get("target_modules")
    if not isinstance(targets, str | list) or not targets:
        raise InvalidConfig("`target_modules` must name at least one module.")


def _rank(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidConfig(f"The rank {quoted(name)} must be a whole number of at least 1.")
    return value


def _alpha(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
        raise InvalidConfig(f"The alpha {quoted(name)} must be a finite number above 0.")
    if value > _LARGEST_ALPHA:
        raise NonFinite(f"The alpha {quoted(name)} is infinite in the engine's precision.")
    return float(value)


def _flag(fields: Mapping[str, object], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidConfig(f"{quoted(name)} must be true or false.")
    return bool(value)


def _base_name(fields: Mapping[str, object]) -> str | None:
    name = fields.get("base_model_name_or_path")
    if name is None:
        return None
    if not isinstance(name, str) or len(name) > 1024 or not name.isprintable():
        raise InvalidConfig("`base_model_name_or_path` must be printable text.")
    return name
