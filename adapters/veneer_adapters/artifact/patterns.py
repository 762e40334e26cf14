"""``rank_pattern`` and ``alpha_pattern``: values for some modules only.

Their keys are regular expressions to PEFT and vLLM. Only those are accepted here whose match
takes linear time, which are all but a few.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from veneer_adapters.errors import InvalidConfig, quoted

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.]{1,256}")
_MAX_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class Pattern:
    """The first key that matches a module's name decides."""

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
    """Return the field ``name`` of ``fields``, each of its values as ``read`` returns it.

    Raises:
        InvalidConfig: it is no object, too large, or a key is more than the name of modules.
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
            raise InvalidConfig(f"{quoted(name)} has the key {quoted(key)}, which names no module.")
    values = tuple(read(key, value) for key, value in pattern.items())
    return Pattern(tuple(map(peft_rule, pattern)), values)


def is_plain(key: str) -> bool:
    """Return whether matching ``key`` takes linear time whatever the module's name."""
    return _PLAIN_KEY.fullmatch(key) is not None


def peft_rule(key: str) -> re.Pattern[str]:
    """Return what PEFT compares module names with (`get_pattern_key`), and vLLM after it.

    Raises:
        re.error: ``key`` is no regular expression. One that is may match in exponential time.
    """
    return re.compile(rf"(.*\.)?({key})")
