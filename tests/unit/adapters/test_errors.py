"""The tree of errors keeps its promises."""

import re
from collections.abc import Iterator

from veneer_adapters import errors
from veneer_adapters.errors import AdapterError, AdapterNotFound, AdapterRejected, quoted


def leaves(cls: type[AdapterError]) -> Iterator[type[AdapterError]]:
    below = cls.__subclasses__()
    if not below:
        yield cls
    for sub in below:
        yield from leaves(sub)


def test_every_leaf_has_its_own_reason_code() -> None:
    reasons = [leaf.reason for leaf in leaves(AdapterError) if leaf is not errors.AdapterFailed]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[a-z_]+", reason) for reason in reasons)


def test_a_rejection_is_named_like_its_reason() -> None:
    for leaf in leaves(AdapterRejected):
        # A closer description of a reason shares the reason, as a folder that is missing.
        kinds = leaf.__mro__[: leaf.__mro__.index(AdapterRejected)]
        assert leaf.reason in {re.sub(r"(?<!^)(?=[A-Z])", "_", c.__name__).lower() for c in kinds}


def test_every_error_is_drawn_in_the_tree() -> None:
    for leaf in leaves(AdapterError):
        assert leaf.__name__ in (errors.__doc__ or "")


def test_what_a_client_typed_is_shown_short_and_printable() -> None:
    assert quoted("a\r\nb\x1b[0m") == "`a??b?[0m`"
    assert len(quoted("x" * 1000)) < 110
    assert quoted("größe-二") == "`größe-二`"
    assert quoted("a\u202eb\udc80\u2028") == "`a?b??`"
    assert quoted("\u200b\xa0\u05d0\U0001f3f4") == "`??\u05d0\U0001f3f4`"
    assert "Did you mean `a` or `b`?" in str(AdapterNotFound("x", ("a", "b")))
