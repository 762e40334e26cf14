"""``rank_pattern`` and ``alpha_pattern``: values for some modules only.

To PEFT and vLLM their keys are regular expressions. This file accepts only plain keys, which almost
all are: a match with them takes linear time.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from veneer_adapters.errors import InvalidConfig, quoted

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.]{1,256}")
_MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Pattern:
    """Values by module; the first key that matches the name of a module decides."""

    keys: Sequence[re.Pattern[str]] = ()
    values: Sequence[float] = ()

    def value_of(self, module: str) -> float | None:
        """Return the value for ``module``, or None when no key matches it."""
        for key, value in zip(self.keys, self.values, strict=True):
            if key.fullmatch(module):
                return value
        return None

    def idle(self, modules: Iterable[str]) -> int:
        """Return how many keys match none of ``modules``."""
        names = list(modules)
        return sum(not any(key.fullmatch(name) for name in names) for key in self.keys)


def read_pattern(
    fields: Mapping[str, object], name: str, read: Callable[[str, object], float]
) -> Pattern:
    """Return the field ``name`` of ``fields``; ``read`` checks and converts each value.

    Raises:
        InvalidConfig: the field is not an object or too large, or a key is not a plain name.
    """
    pattern = fields.get(name)
    if pattern is None:
        return Pattern()
    if not isinstance(pattern, dict):
        raise InvalidConfig(f"{quoted(name)} must be an object.")
    if len(pattern) > _MAX_KEYS:
        raise InvalidConfig(f"{quoted(name)} has more than {_MAX_KEYS} keys.")
    for key in pattern:
        if not is_plain(key):
            raise InvalidConfig(
                f"{quoted(name)} has the key {quoted(key)}, which is a pattern and not the plain"
                " name of a module: write out the modules that it matches."
            )
    values = tuple(read(key, value) for key, value in pattern.items())
    return Pattern(tuple(map(peft_rule, pattern)), values)


def is_plain(key: str) -> bool:
    """Return whether matching ``key`` takes linear time, whatever the name of the module."""
    return _PLAIN_KEY.fullmatch(key) is not None


def peft_rule(key: str) -> re.Pattern[str]:
    """Return the expression that PEFT (`get_pattern_key`) and vLLM compare module names with.

    Raises:
        re.error: ``key`` is not a regular expression. One that is may take exponential time to
            match.
    """
    return re.compile(rf"(.*\.)?({key})")
