"""What to tell people about an adapter: how to make it load, and what not to expect of it."""

from collections.abc import Iterable, Mapping
from typing import Any

from veneer_adapters.artifact.config import AdapterConfig
from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.artifact.patterns import is_plain
from veneer_adapters.artifact.peft_fields import unknown_fields
from veneer_adapters.doctor.report import Facts, Problem
from veneer_adapters.errors import quoted

_SLOT_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that ``adapters.max_rank`` can have."""
_NOT_TAKEN = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "generation_config.json",
)
_SHOWN = 10

_ADVICE = {
    "missing_file": "Save the adapter with PEFT's `save_pretrained`, which writes both files.",
    "unsafe_format": "Save the weights as safetensors, which PEFT does by default.",
    "truncated": "Copy or download the weights again: the end of the file is missing.",
    "invalid_tensors": "Save the adapter again with PEFT's `save_pretrained`.",
    "invalid_config": "Use the adapter_config.json that PEFT wrote together with these weights.",
    "unsupported_feature": "Train a plain LoRA of linear layers, or merge this adapter into its"
    " base model and serve that.",
    "base_mismatch": "Serve the base model that the adapter was trained on.",
    "no_effect": "Check that the training changed the weights, and that they fit this base model.",
    "non_finite": "Take an earlier checkpoint, or train again with a lower learning rate.",
    "path_not_allowed": "Put regular files into the folder; `cp -rL` replaces links by files.",
    "unparsable": "Save the adapter again with PEFT's `save_pretrained`.",
    "too_large": "Train with a lower rank or fewer modules.",
}


def advice(problems: Iterable[Problem], found: Facts, *, fixable: bool) -> tuple[str, ...]:
    """Return what to change, one sentence for each kind of problem."""
    said = ["Run the check again with `--fix OUT`."] if fixable else []
    for reason in dict.fromkeys(problem.reason for problem in problems):
        if reason == "rank_too_large":
            said.append(_more_rank(found.rank or 0))
        elif reason == "base_mismatch" and found.base_name:
            said.append(f"Serve its own base model, {quoted(found.base_name)}.")
        elif reason in _ADVICE:
            said.append(_ADVICE[reason])
    return tuple(said)


def warnings(config: AdapterConfig | None, found: Facts, facts: BaseFacts) -> tuple[str, ...]:
    """Return what does not keep the adapter from loading but may surprise its user."""
    said = []
    if found.base_name and _last(found.base_name) != _last(facts.name):
        said.append(
            f"It was trained on {quoted(found.base_name)}, not on {quoted(facts.name)}; equal"
            " shapes do not make them the same model."
        )
    if config and config.rank_pattern.keys:
        said.append(
            "Its modules differ in rank; the largest rank decides whether it fits into a slot."
        )
    if found.matched and found.scaling and found.scaling > 8:
        said.append(f"Its weights are scaled by {found.scaling:g}, which is unusually high.")
    return tuple(said)


def ignored(
    files: frozenset[str],
    fields: Mapping[str, Any],
    config: AdapterConfig | None,
    modules: Iterable[str],
    idle: list[str],
) -> tuple[str, ...]:
    """Return what the folder contains that would have no effect on any answer."""
    names = list(modules)
    said = [f"Veneer does not know the field {quoted(name)}." for name in unknown_fields(fields)]
    for field in ("rank_pattern", "alpha_pattern") if config and names else ():
        count = getattr(config, field).idle(names)
        if count:
            said.append(f"{count} keys of {quoted(field)} match no module that has weights.")
    said += [
        f"`target_modules` names {quoted(target)}, for which there are no weights."
        for target in _unused_targets(fields.get("target_modules"), names)
    ]
    if idle:
        said.append(f"{len(idle)} of {len(names)} modules have a matrix that is all zero.")
    said += [
        f"The file {quoted(name)} is not used; the base model has its own."
        for name in _NOT_TAKEN
        if name in files
    ]
    left = len(said) - _SHOWN
    return (*said[:_SHOWN], f"And {left} more.") if left > 0 else tuple(said)


def _unused_targets(targets: object, modules: list[str]) -> list[str]:
    if not isinstance(targets, list) or not modules:
        return []
    endings = {part for module in modules for part in _endings(module)}
    # What a pattern matches would take time without bound to find out, so nothing is said of one.
    plain = (str(t) for t in targets if t != "all-linear" and is_plain(str(t)))
    return [target for target in plain if target not in endings]


def _endings(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[at:]) for at in range(len(parts))]


def _more_rank(rank: int) -> str:
    enough = next((r for r in _SLOT_RANKS if r >= rank), None)
    if enough is None:
        return f"Train with a rank of at most {_SLOT_RANKS[-1]}; no slot can be larger."
    return (
        f"Start the server with `adapters.max_rank: {enough}`, or train with a lower rank;"
        " `adapters.compress` allows the server to lower it."
    )


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()
