"""What an adapter must fit, read from the base model's own folder: no engine, no framework.

This is what the engine reports of the model that it built; ``base_layers`` has the rules.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from veneer_adapters.artifact.manifest import BaseFacts
from veneer_adapters.artifact.tensors import Tensor, read_header
from veneer_adapters.artifact.values import read_values
from veneer_adapters.doctor.base_layers import adaptable_modules
from veneer_adapters.errors import AdapterRejected, BaseUnreadable, quoted

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_CONFIG = "config.json"
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The folder of a checkpoint; its weights are still on disk."""

    config: Mapping[str, object]
    tensors: Mapping[str, tuple[Path, Tensor]]

    def facts(self, *, name: str, max_rank: int, dtype: str) -> BaseFacts:
        """Return what the engine would report of this base, which it serves in ``dtype``.

        Raises:
            BaseUnreadable: the engine has no LoRA for this kind of model, only the engine can read
                these weights, or there is no linear layer.
        """
        headers = {name: tensor for name, (_, tensor) in self.tensors.items()}
        modules = adaptable_modules(self.config, headers, self._bytes)
        if not modules:
            raise BaseUnreadable("The files of the base model contain no linear layer.")
        return BaseFacts(name, modules, max_rank, dtype)

    def weight(self, name: str) -> NDArray[np.float32] | None:
        """Return the tensor ``name``, or None when there is none.

        When the head has no weights of its own, it is tied: then the embedding is returned for it.
        """
        if name == _HEAD and name not in self.tensors:
            name = _EMBEDDING
        if name not in self.tensors:
            return None
        path, tensor = self.tensors[name]
        with path.open("rb") as file:
            return read_values(file, tensor).to_float32()

    def _bytes(self, name: str) -> bytes:
        path, tensor = self.tensors[name]
        with path.open("rb") as file:
            file.seek(tensor.start)
            return file.read(tensor.stop - tensor.start)


def open_base(folder: Path) -> BaseModel:
    """Return the base model in ``folder``, from its config.json and the headers of its weights.

    Raises:
        BaseUnreadable: these files are not there, or not as they should be.
    """
    try:
        config = _read_object(folder / _CONFIG)
        tensors = {
            name: (path, tensor)
            for path in _weight_files(folder)
            for name, tensor in _headers(path).items()
        }
    except FileNotFoundError as error:
        if not folder.is_dir():
            raise BaseUnreadable("There is no such folder of a base model.") from error
        lacks = quoted(Path(str(error.filename)).name)
        raise BaseUnreadable(
            f"The folder of the base model has no {lacks}; copy or download it whole."
        ) from error
    except OSError as error:
        raise BaseUnreadable(f"The base model cannot be read: {error.strerror}.") from error
    except (ValueError, AdapterRejected) as error:
        raise BaseUnreadable(f"The base model cannot be understood: {error}") from error
    return BaseModel(config, tensors)


def _weight_files(folder: Path) -> list[Path]:
    if (folder / _INDEX).is_file():
        weight_map = _read_object(folder / _INDEX).get("weight_map")
        names = (
            sorted({str(n) for n in weight_map.values()}) if isinstance(weight_map, dict) else []
        )
        return [folder / Path(name).name for name in names]
    if not (folder / _SINGLE).exists() and (folder / _CONFIG).exists():
        raise BaseUnreadable(
            "The base model has no model.safetensors, which is what the doctor reads; a server that"
            " runs this model can check adapters of it, at POST /v1/adapters/check."
        )
    return [folder / _SINGLE]


def _headers(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        return read_header(file)


def _read_object(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} must hold one JSON object.")
    return found
