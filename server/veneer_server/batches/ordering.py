"""In which order the lines of a batch are answered. Pure.

Each model's lines come together, so that an adapter is loaded once for all of them and not once for
each. Lines move only within a window, so a batch needs no more than that in view.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

WINDOW = 2000
"""How far a line may move, in lines."""


def arrange(models: Sequence[str], window: int = WINDOW) -> list[int]:
    """Return the positions in ``models`` in the order in which to answer them.

    In each window the models come in the order in which they first stand there, but the one with
    which the window before ended comes first. The lines of one model stay in their order.
    """
    order: list[int] = []
    for begin in range(0, len(models), window):
        groups: dict[str, list[int]] = {}
        if order:
            groups[models[order[-1]]] = []
        for position in range(begin, min(begin + window, len(models))):
            groups.setdefault(models[position], []).append(position)
        order += [position for group in groups.values() for position in group]
    return order


def choose(
    models: Iterable[str],
    cold: Collection[str],
    is_warm: Callable[[str], bool],
    most_cold: int,
) -> int | None:
    """Return the position in ``models`` of the first line that may begin, None when none may.

    ``cold`` are the models that lines wait for or use now and that were in no slot when these
    began. At most ``most_cold`` of them take a slot at the same time, so that a batch of very many
    adapters does not push out those of live traffic.
    """
    refused: set[str] = set()
    for position, model in enumerate(models):
        if model in refused:
            continue
        if model in cold or len(cold) < most_cold or is_warm(model):
            return position
        refused.add(model)
    return None


def slots_for_cold(device_slots: int) -> int:
    """Return how many slots the cold adapters of batches may take: a quarter, and at least one."""
    return max(device_slots // 4, 1)
