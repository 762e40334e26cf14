"""Which rows are held out to be measured with, when no file was given for that. Pure."""

from collections.abc import Sequence

MOST = 256
LEAST = 8


def held_out(digests: Sequence[bytes]) -> frozenset[bytes]:
    """Return the digests of the rows to hold out: a tenth, at least 8, at most 256.

    They depend on the rows alone, not on their order. Rows with the same bytes are held out
    together, so none of them is learned. Never more than half of the rows are held out.
    """
    different = sorted(set(digests))
    wanted = min(max(len(digests) // 10, LEAST), MOST, len(different) // 2)
    return frozenset(different[:wanted])
