"""The changes that ``repair`` knows. Each is exact, or its error is measured and reported.

A step decides from a look at the files whether it offers itself; no values are read for that. It is
carried out on the values. The sentences it returns tell people what was changed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from veneer_adapters.artifact.config import AdapterConfig, to_config
from veneer_adapters.artifact.files import PICKLE_FILE, WEIGHTS_FILE
from veneer_adapters.artifact.manifest import PREFIX, BaseFacts
from veneer_adapters.artifact.patterns import is_plain, peft_rule
from veneer_adapters.artifact.values import Values
from veneer_adapters.doctor import dora
from veneer_adapters.doctor.base_model import BaseModel
from veneer_adapters.doctor.tensor_names import unnamed, unwrapped
from veneer_adapters.errors import NotRepairable, quoted, raise_it

_MAX_ERROR = 0.5
"""A fold that misses more than half of the change would be another adapter."""
_PATTERNS = ("rank_pattern", "alpha_pattern")
_MATRIX = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(\.[^.]+)?\.weight")
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(\.[^.]+)*")
_WRAPPED = re.compile(r"\.(modules_to_save(\.[^.]+)?|base_layer|original_module)(?=\.weight$)")


@dataclass(frozen=True, slots=True)
class Look:
    """What is known before any values are read."""

    files: frozenset[str]
    fields: Mapping[str, Any]
    dtypes: Mapping[str, str]
    """Tensor -> dtype; empty when the weights are a pickle or damaged."""


@dataclass(slots=True)
class Draft:
    """An adapter while it is being repaired."""

    fields: dict[str, Any]
    tensors: dict[str, Values]
    facts: BaseFacts
    base: BaseModel | None
    error: float | None = None
    """The largest relative error of any change so far; None while all changes were exact."""


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of change."""

    offer: Callable[[Look], str | None]
    """Returns what the step would do, or None when there is nothing to do."""
    carry_out: Callable[[Draft], list[str]]
    """Changes the draft and returns what was done; raises ``NotRepairable``."""


def offers(look: Look) -> tuple[str, ...]:
    """Return what ``repair`` would try, one sentence for each step."""
    return tuple(offer for step in STEPS if (offer := step.offer(look)))


def _offer_safetensors(look: Look) -> str | None:
    if PICKLE_FILE in look.files and WEIGHTS_FILE not in look.files:
        return f"Convert {quoted(PICKLE_FILE)} to {quoted(WEIGHTS_FILE)} without running it."
    return None


def _renaming(shorten: Callable[[str], str], what: str, verb: str) -> Step:
    """Return the step that takes ``what`` out of names; ``verb`` is was or were."""

    def offer(look: Look) -> str | None:
        named = any(shorten(name) != name for name in look.dtypes)
        return f"Take {what} out of the names of its tensors." if named else None

    def rename(draft: Draft) -> list[str]:
        renamed = {shorten(name): values for name, values in draft.tensors.items()}
        if len(renamed) != len(draft.tensors):
            raise NotRepairable("The weights contain more than one adapter.")
        count = len(renamed.keys() - draft.tensors.keys())
        draft.tensors = renamed
        return [f"{what.capitalize()} {verb} taken out of {count} tensor names."] if count else []

    return Step(offer, rename)


def _offer_single(look: Look) -> str | None:
    if "F64" in look.dtypes.values():
        return "Round double precision to single."
    return None


def _to_single(draft: Draft) -> list[str]:
    doubles = [name for name, values in draft.tensors.items() if values.dtype == "F64"]
    for name in doubles:
        draft.tensors[name] = Values("F32", draft.tensors[name].to_float32())
    if not doubles:
        return []
    _note(draft, float(np.finfo(np.float32).epsneg))
    return [f"{len(doubles)} tensors were rounded from double to single precision."]


def _offer_patterns(look: Look) -> str | None:
    if any(list(_odd_keys(look.fields, name)) for name in _PATTERNS):
        return "Write out the module names that `rank_pattern` and `alpha_pattern` stand for."
    return None


def _odd_keys(fields: Mapping[str, Any], name: str) -> Iterator[str]:
    pattern = fields.get(name)
    keys = pattern if isinstance(pattern, dict) else ()
    return (key for key in keys if not is_plain(key))


def _expand_patterns(draft: Draft) -> list[str]:
    modules = sorted({m["module"] for name in draft.tensors if (m := _matrix(name))})
    changes = []
    for name in _PATTERNS:
        if any(_odd_keys(draft.fields, name)):
            draft.fields[name] = _expand(name, draft.fields[name], modules)
            changes.append(f"{quoted(name)} now names its modules in full.")
    return changes


def _expand(name: str, pattern: Mapping[str, Any], modules: list[str]) -> dict[str, Any]:
    try:
        rules = [(peft_rule(key), value) for key, value in pattern.items()]
    except re.error:
        raise NotRepairable(f"{quoted(name)} has a key that is not a regular expression.") from None
    expanded: dict[str, Any] = {}
    for module in modules:
        value = next((value for rule, value in rules if rule.fullmatch(module)), None)
        if value is not None:
            expanded[module] = value
    return expanded


def _offer_saved(look: Look) -> str | None:
    if look.fields.get("modules_to_save") or any(_is_whole(name) for name in look.dtypes):
        return "Drop whole modules saved beside the LoRA, if they equal the base model's."
    return None


def _is_whole(name: str) -> bool:
    return not _MATRIX.fullmatch(name) and not _MAGNITUDE.fullmatch(name)


def _drop_saved(draft: Draft) -> list[str]:
    whole = [name for name in draft.tensors if _is_whole(name)]
    for name in whole:
        _require_equal(draft, name)
        del draft.tensors[name]
    changes = [f"{quoted(name)} was dropped: it equals the base model's." for name in whole]
    if draft.fields.get("modules_to_save"):
        draft.fields["modules_to_save"] = None
        changes.append("`modules_to_save` was emptied: the training changed nothing of it.")
    return changes


def _require_equal(draft: Draft, name: str) -> None:
    if draft.base is None:
        raise NotRepairable(
            f"Only the base model can show whether {quoted(name)} was trained; name its folder."
        )
    own = draft.tensors[name].to_float32()
    theirs = draft.base.weight(_WRAPPED.sub("", name.removeprefix(PREFIX)))
    if theirs is None or own.shape != theirs.shape or not np.array_equal(own, theirs):
        raise NotRepairable(f"{quoted(name)} was trained: it differs from the base model's.")


def _offer_fold(look: Look) -> str | None:
    if look.fields.get("use_dora") or any(_MAGNITUDE.fullmatch(name) for name in look.dtypes):
        return "Fold DoRA into a plain LoRA and report the error."
    return None


def _fold(draft: Draft) -> list[str]:
    lengths = {m["module"]: n for n in draft.tensors if (m := _MAGNITUDE.fullmatch(n))}
    if not lengths and not draft.fields.get("use_dora"):
        return []
    draft.fields["use_dora"] = False
    config = to_config(draft.fields, raise_it)
    if config is None or draft.base is None:
        raise NotRepairable("A DoRA can be folded only with its base model.")
    folded = {
        module: _fold_one(draft, config, module, magnitude) for module, magnitude in lengths.items()
    }
    matrices = {m["module"] for name in draft.tensors if (m := _MATRIX.fullmatch(name))}
    if folded.keys() != matrices:
        raise NotRepairable("Only some of the modules are DoRA; such a mix cannot be folded.")
    return _write_folded(draft, folded)


def _fold_one(draft: Draft, config: AdapterConfig, module: str, magnitude: str) -> dora.Folded:
    plain = module.removeprefix(PREFIX)
    weight = draft.base.weight(f"{plain}.weight") if draft.base else None
    a = draft.tensors.get(f"{module}.lora_A.weight")
    b = draft.tensors.get(f"{module}.lora_B.weight")
    if weight is None or a is None or b is None:
        raise NotRepairable(
            f"There is no {quoted(plain)} in the base model, or no LoRA pair for it."
        )
    length = draft.tensors[magnitude].to_float32()
    left, right = b.to_float32(), a.to_float32()
    fits = left.ndim == right.ndim == 2 and left.shape[1] == right.shape[0]
    if not fits or (len(left), right.shape[1]) != weight.shape or length.size != len(weight):
        raise NotRepairable(f"The shapes of {quoted(plain)} do not fit the base model.")
    scaling = config.scaling_of(plain)
    return dora.fold(weight, right, left, scaling, length, draft.facts.max_rank)


def _write_folded(draft: Draft, folded: Mapping[str, dora.Folded]) -> list[str]:
    rank = dora.smallest_rank(folded, draft.facts.max_rank)
    worst = max(found.error(rank) for found in folded.values())
    if not worst <= _MAX_ERROR:
        raise NotRepairable(
            f"At rank {rank} the folded LoRA would miss {worst:.0%} of what DoRA changes."
        )
    tensors = {}
    for module, found in folded.items():
        a, b = found.cut(rank)
        tensors[f"{module}.lora_A.weight"] = Values("F32", a)
        tensors[f"{module}.lora_B.weight"] = Values("F32", b)
    draft.tensors = tensors
    draft.fields |= {"r": rank, "lora_alpha": rank, "use_rslora": False}
    draft.fields |= {"rank_pattern": {}, "alpha_pattern": {}}
    _note(draft, worst)
    return [f"DoRA was folded into a LoRA of rank {rank}; it misses {worst:.2%} of the change."]


def _note(draft: Draft, error: float) -> None:
    draft.error = max(error, draft.error or 0.0)


def _matrix(name: str) -> re.Match[str] | None:
    return _MATRIX.fullmatch(name.removeprefix(PREFIX))


STEPS = (
    # Reading has done this step: the draft already has the values.
    Step(_offer_safetensors, lambda draft: []),
    _renaming(unwrapped, "the names of wrappers such as torch.compile's", "were"),
    _renaming(unnamed, "the adapter's name", "was"),
    Step(_offer_single, _to_single),
    Step(_offer_patterns, _expand_patterns),
    Step(_offer_saved, _drop_saved),
    Step(_offer_fold, _fold),
)
"""The steps in the order in which they are carried out."""
