"""Which files make up an adapter, and which of them Veneer takes.

Only the two files of a PEFT adapter are copied, verified and given to the engine.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping

from veneer_adapters.artifact.opening import Place, names_in
from veneer_adapters.errors import MissingFile, UnsafeFormat, UnsupportedFeature, quoted

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
"""The files of an adapter that the store keeps, in the order in which they are read."""

_WEIGHTS_PREFIX = "adapter_model."
PICKLE_FILE = "adapter_model.bin"
_PICKLES = (PICKLE_FILE, "adapter_model.pt")
_MLX_FILE = "adapters.safetensors"
"""Source: https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/LORA.md"""
_EMBEDDINGS = ("new_embeddings.safetensors", "new_embeddings.bin")


def is_artifact_file(name: str) -> bool:
    """Return whether a change of the file ``name`` is a change of the adapter."""
    return name == CONFIG_FILE or name.startswith(_WEIGHTS_PREFIX)


def require_files(folder: Place) -> None:
    """Return when ``folder`` holds the files of an adapter and nothing that Veneer would ignore.

    Raises:
        MissingFile: one of the two files is not there.
        UnsafeFormat: the weights are there as a pickle only.
        UnsupportedFeature: the adapter has embeddings of its own.
    """
    require_names(names_in(folder))


def require_names(found: Iterable[str]) -> None:
    """Do what ``require_files`` does, for a folder that holds the names ``found``."""
    names = set(found)
    if WEIGHTS_FILE not in names:
        raise _no_weights(names)
    if CONFIG_FILE not in names:
        raise MissingFile(f"The adapter has no {quoted(CONFIG_FILE)}.")
    for name in _EMBEDDINGS:
        if name in names:
            raise UnsupportedFeature(
                f"The adapter has its own embeddings ({quoted(name)}), which are not supported."
            )


def digest_of(hashes: Mapping[str, str]) -> str:
    """Return the digest of an artifact, given the sha256 in hex of each of its files."""
    canonical = json.dumps(dict(hashes), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _no_weights(names: Collection[str]) -> MissingFile | UnsafeFormat:
    for pickle in _PICKLES:
        if pickle in names:
            return UnsafeFormat(
                f"The weights are a pickle ({quoted(pickle)}), which can run code when it is"
                f" read; save them as {quoted(WEIGHTS_FILE)}."
            )
    if _MLX_FILE in names:
        return MissingFile(
            f"The adapter is MLX's ({quoted(_MLX_FILE)}) and has no {quoted(WEIGHTS_FILE)}: convert"
            " it to PEFT, which names and transposes the matrices in another way."
        )
    return MissingFile(f"The adapter has no {quoted(WEIGHTS_FILE)}.")
