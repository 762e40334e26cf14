"""A repaired copy of an adapter. If the copy does not pass every check, the repair fails.

Run this in ``sandbox``, because it reads pickles and other untrusted files.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veneer_adapters.artifact.checks import verify
from veneer_adapters.artifact.config import parse_object
from veneer_adapters.artifact.files import CONFIG_FILE, PICKLE_FILE, WEIGHTS_FILE
from veneer_adapters.artifact.manifest import BaseFacts, open_weights, read_config_file
from veneer_adapters.artifact.opening import Place, names_in, open_inside
from veneer_adapters.artifact.tensors import read_header
from veneer_adapters.artifact.values import Values, read_values, write_tensors
from veneer_adapters.doctor.base_model import open_base
from veneer_adapters.doctor.pickles import read_pickle
from veneer_adapters.doctor.repair_steps import STEPS, Draft
from veneer_adapters.doctor.report import Repaired
from veneer_adapters.errors import AdapterRejected, MissingFile, NotRepairable, quoted


def repair(folder: Place, out: Path, facts: BaseFacts, base: Path | None = None) -> Repaired:
    """Write the adapter of ``folder``, repaired, into the empty folder ``out``.

    ``base`` is the folder of the base model; some repairs need its weights. After an error ``out``
    may hold a copy that does not load.

    Raises:
        NotRepairable: the adapter loads as it is, or no change that is exact or bounded helps.
        AdapterRejected: the files are too damaged to be read.
        BaseUnreadable: ``base`` cannot be read.
    """
    tensors, changes = _read_tensors(folder)
    fields = parse_object(read_config_file(folder))
    draft = Draft(fields, tensors, facts, open_base(base) if base else None)
    for step in STEPS:
        changes += step.carry_out(draft)
    if not changes:
        raise NotRepairable(_why_nothing(folder, facts))
    _write(out, draft.fields, draft.tensors)
    try:
        manifest = verify(out, facts)
    except AdapterRejected as error:
        raise NotRepairable(
            f"The adapter was repaired as far as possible, but still fails: {error}"
        ) from error
    return Repaired(tuple(changes), draft.error, manifest)


def _read_tensors(folder: Place) -> tuple[dict[str, Values], list[str]]:
    names = set(names_in(folder))
    if CONFIG_FILE not in names:
        raise MissingFile(f"The adapter has no {quoted(CONFIG_FILE)}.")
    if WEIGHTS_FILE not in names and PICKLE_FILE in names:
        with open_inside(folder, PICKLE_FILE) as file:
            tensors = read_pickle(file)
        return tensors, [f"{quoted(PICKLE_FILE)} was converted to safetensors."]
    if WEIGHTS_FILE not in names:
        raise MissingFile(f"The adapter has no {quoted(WEIGHTS_FILE)}.")
    with open_weights(folder) as file:
        return {name: read_values(file, t) for name, t in read_header(file).items()}, []


def _why_nothing(folder: Place, facts: BaseFacts) -> str:
    try:
        verify(folder, facts)
    except AdapterRejected as error:
        return f"There is no exact repair for this: {error}"
    return "The adapter loads as it is; there is nothing to repair."


def _write(out: Path, fields: Mapping[str, Any], tensors: Mapping[str, Values]) -> None:
    with (out / CONFIG_FILE).open("x", encoding="utf-8") as file:
        json.dump(fields, file, indent=2, sort_keys=True)
    write_tensors(out / WEIGHTS_FILE, tensors)
