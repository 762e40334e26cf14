"""What comes back from a reader of strangers' files: JSON of a few shapes, never a pickle.

A reader that was taken over can lie about its own adapter, and do nothing else.
"""

import logging
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from veneer_adapters.artifact.manifest import Manifest
from veneer_adapters.doctor.report import Repaired, Report
from veneer_adapters.errors import (
    AdapterError,
    AdapterRejected,
    BaseUnreadable,
    NotRepairable,
    StorageFailed,
    Unparsable,
)

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_MAX_MESSAGE_CHARS = 600


class _Refused(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    reason: str
    message: str


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    found: Any = None
    refused: _Refused | None = None
    crashed: str | None = None


_ANSWER = TypeAdapter(_Answer)
MANIFEST, REPORT, REPAIRED = TypeAdapter(Manifest), TypeAdapter(Report), TypeAdapter(Repaired)
"""What the jobs of ``zygote`` find."""


def judge(text: bytes, shape: TypeAdapter[_T]) -> _T:
    """Return what a reader found, which it may have made up but which has this ``shape``.

    Raises:
        AdapterError: what it says it was; ``Unparsable`` when it says nothing that can be.
    """
    if not text:
        raise Unparsable
    answer = _read(_ANSWER, text)
    if answer.refused is not None:
        raise _error(answer.refused)
    if answer.found is None:
        logger.warning("adapter reader gave up: %s", _plain(answer.crashed or "nothing said"))
        raise Unparsable
    return _read(shape, answer.found)


def _read(shape: TypeAdapter[_T], value: object) -> _T:
    try:
        if isinstance(value, bytes):
            return shape.validate_json(value)
        return shape.validate_python(value)
    except ValidationError:
        logger.warning("adapter reader answered nonsense")
        raise Unparsable from None


def _error(refused: _Refused) -> AdapterError:
    cls = _CLASSES.get(refused.reason, Unparsable)
    return cls(_plain(refused.message))


def _plain(text: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown[:_MAX_MESSAGE_CHARS]


_RAISED: tuple[type[AdapterError], ...] = (
    *AdapterRejected.__subclasses__(),
    StorageFailed,
    BaseUnreadable,
    NotRepairable,
)
_CLASSES = {leaf.reason: leaf for leaf in _RAISED}
"""What a reader may raise here: a leaf of the tree of errors, by its reason."""
