"""Is all well? Each thing that can be wrong, in a word and a sentence. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from veneer_server.console.figures.recent import Lately


class Word(StrEnum):
    """How something is."""

    WELL = "well"
    LOOK = "look"
    """Nothing is broken, but somebody should look."""
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing, how it is, and what to do."""

    about: str
    word: Word
    told: str
    advice: str = ""


def judge(trouble: str | None, lately: Lately, states: Mapping[str, int]) -> list[Verdict]:
    """Return a verdict on each thing; ``trouble`` is why the server is not ready."""
    return [
        _on_serving(trouble, lately.now.restarts),
        _on_requests(lately),
        _on_queue(lately.now.waiting, lately.now.in_flight),
        _on_slots(lately.now.slots, lately.now.waiting),
        _on_adapters(states),
    ]


def _on_serving(trouble: str | None, restarts: float) -> Verdict:
    if trouble is not None:
        return Verdict("Serving", Word.WRONG, trouble, "Look in the server's log.")
    if restarts:
        told = f"Ready, but the engine was started again {_times(restarts)}."
        return Verdict("Serving", Word.LOOK, told, "The log says why it was lost.")
    return Verdict("Serving", Word.WELL, "Ready for requests.")


def _on_requests(lately: Lately) -> Verdict:
    failed = lately.whole().failed
    if failed:
        told = f"{failed:.0f} failed lately."
        return Verdict("Requests", Word.LOOK, told, "Variants shows whose; the log has the cause.")
    return Verdict("Requests", Word.WELL, "None failed lately.")


def _on_queue(waiting: float, in_flight: float) -> Verdict:
    told = f"{waiting:.0f} wait, {in_flight:.0f} are being answered."
    if waiting:
        advice = "More come than the engine takes. limits.max_seqs, or another server, helps."
        return Verdict("Queue", Word.LOOK, told, advice)
    return Verdict("Queue", Word.WELL, told)


def _on_slots(slots: Mapping[tuple[str, str], float], waiting: float) -> Verdict:
    used, free = slots.get(("device", "used"), 0), slots.get(("device", "free"), 0)
    host = slots.get(("host", "used"), 0)
    told = f"{used:.0f} of {used + free:.0f} device slots are used; {host:.0f} adapters in memory."
    if waiting and not free:
        advice = "Adapters may wait for a slot: veneer plan says how many you need."
        return Verdict("Slots", Word.LOOK, told, advice)
    return Verdict("Slots", Word.WELL, told)


def _on_adapters(states: Mapping[str, int]) -> Verdict:
    failed, every = states.get("failed", 0), sum(states.values())
    if failed:
        told = f"{failed} of {every} cannot serve."
        return Verdict("Adapters", Word.LOOK, told, "Variants says why, and what to do.")
    return Verdict("Adapters", Word.WELL, f"{every} known, none failed.")


def _times(number: float) -> str:
    return "once" if number == 1 else f"{number:.0f} times"
