"""What a reader of untrusted files answers: JSON of a few shapes, never a pickle.

A reader that was taken over can lie about its own adapter, and can do nothing else here.
"""

import logging
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from veneer_adapters.artifact.compression import Compression
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
from veneer_adapters.sandbox.grading import Graded

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
COMPRESSION, GRADED = TypeAdapter(Compression), TypeAdapter(Graded)
"""The shapes of what the jobs of ``zygote`` find."""


def judge(text: bytes, shape: TypeAdapter[_T]) -> _T:
    """Return what a reader found. It may be a lie, but it has this ``shape``.

    Raises:
        AdapterError: the refusal that the reader reports; ``Unparsable`` when its answer cannot be
            used.
    """
    if not text:
        raise Unparsable
    answer = _read(_ANSWER, text)
    if answer.refused is not None:
        raise _error(answer.refused)
    if answer.found is None:
        logger.warning("adapter reader gave up: %s", _plain(answer.crashed or "no reason given"))
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
"""The errors that a reader may raise here, by reason: leaves of the tree of errors."""
