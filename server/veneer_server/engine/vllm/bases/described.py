"""Checks the files that describe a base model, which vLLM reads without a look at what is in them.

A value of another kind ends a start with a sentence about Python, or makes it hang: a stop token
that is a text ends vLLM's core at the first request, and nobody learns of it.

Rule: only what vLLM 0.32 and Transformers 5 read is looked at. A file that is not there is fine.
"""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

_Token = Annotated[int, Field(lt=2**31, strict=True)]
"""No vocabulary is larger, and what does not fit 64 bits cannot be sent to vLLM's core."""
_Tokens = _Token | list[_Token] | None


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class _Quantisation(_Read):
    quant_method: str | None = None


class _Config(_Read):
    architectures: list[str] | None = None
    model_type: str | None = None
    quantization_config: _Quantisation | None = None
    eos_token_id: _Tokens = None


class _Generation(_Read):
    """What vLLM takes as defaults of every request."""

    eos_token_id: _Tokens = None
    temperature: Annotated[FiniteFloat, Field(ge=0)] | None = None
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    top_k: int | None = None
    min_p: Annotated[FiniteFloat, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[FiniteFloat, Field(gt=0)] | None = None
    max_new_tokens: Annotated[int, Field(ge=1)] | None = None


class _TokenizerConfig(_Read):
    chat_template: str | list[dict[str, Any]] | dict[str, str] | None = None


_FILES: dict[str, type[_Read]] = {
    "config.json": _Config,
    "generation_config.json": _Generation,
    "tokenizer_config.json": _TokenizerConfig,
    "special_tokens_map.json": _Read,
    "added_tokens.json": _Read,
}


def misdescribed(folder: Path) -> str | None:
    """Return what is wrong with a file in ``folder``, and what to do; None where all can be read.

    Raises:
        OSError: a file cannot be opened.
    """
    return next(filter(None, (_wrong(folder / name, kind) for name, kind in _FILES.items())), None)


def _wrong(file: Path, kind: type[_Read]) -> str | None:
    if not file.is_file():
        return None
    try:
        kind.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except ValidationError as error:
        return (
            f"{file} says what cannot be ({_first_of(error)}); copy or download it again, from the"
            " same place as the weights."
        )
    except (ValueError, RecursionError) as error:
        return f"{file} cannot be read ({error}); copy or download it again."
    return None


def _first_of(error: ValidationError) -> str:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if not _is_a_kind(part))
    return f"`{field}`: {first['msg']}" if field else "it is no JSON object"


def _is_a_kind(part: int | str) -> bool:
    # pydantic names the member of a union too, as in "constrained-int" and "list[...]".
    return (isinstance(part, str) and not part.isidentifier()) or part in ("int", "str")
