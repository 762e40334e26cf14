"""All goals with their thresholds; no other file knows a threshold."""

from collections.abc import Collection
from functools import partial

from veneer_server.bench.goals.verdicts import Goal
from veneer_server.bench.peers.peers import Name

_US, _DEFAULT, _TUNED, _PLAIN = Name.VENEER, Name.DEFAULT, Name.TUNED, Name.PLAIN
_at_most, _at_least = partial(Goal, at_most=True), partial(Goal, at_most=False)

# fmt: off
_SPEED: tuple[Goal, ...] = (
    _at_least("G1", "prefill of 512 tokens, an adapter over the base, tok/s, ours",
              (_US, "base ttft ms"), (_US, "ttft ms"), threshold=0.88, stretch=0.95),
    _at_most("G1", "prefill: time to the first token, 512 in, an adapter, ours / vLLM default",
             (_US, "ttft ms"), (_DEFAULT, "ttft ms"), threshold=0.1),
    _at_least("G2", "8 adapters mixed, tok/s, ours / vLLM default",
              (_US, "8 adapters tok/s"), (_DEFAULT, "8 adapters tok/s"), threshold=9, stretch=12),
    _at_least("G2", "8 adapters mixed, tok/s, ours / vLLM tuned",
              (_US, "8 adapters tok/s"), (_TUNED, "8 adapters tok/s"), threshold=6.5, stretch=8),
    *(_at_least("G3", f"{count} adapter{'s' * (count > 1)} over the base alone, tok/s, ours",
                (_US, f"{count} adapters tok/s"), (_US, "base tok/s"),
                threshold=threshold, stretch=stretch)
      for count, threshold, stretch in ((1, 0.92, 0.965), (8, 0.85, 0.90), (32, 0.72, 0.80))),
    _at_least("G4", "the base with adapters enabled, tok/s, ours / vLLM without LoRA",
              (_US, "base tok/s"), (_PLAIN, "base tok/s"), threshold=1.35, stretch=1.6),
)

_ADAPTERS: tuple[Goal, ...] = (
    _at_most("G5", "hot load of a proved adapter: first token cold minus warm, ours, ms",
             (_US, "cold minus warm ms"), None, threshold=15, stretch=10),
    _at_most("G5", "one load by API call, ours / vLLM default",
             (_US, "load call ms"), (_DEFAULT, "load call ms"), threshold=1.5, stretch=1),
    _at_most("G5", "registering 1000 adapters, ours / vLLM default",
             (_US, "registering s"), (_DEFAULT, "registering s"), threshold=0.3, stretch=0.1),
    _at_most("G6", "longest stall of 8 streams during 50 loads of rank 64, ours / vLLM default",
             (Name.VENEER_64, "stall ms"), (Name.DEFAULT_64, "stall ms"),
             threshold=0.1, stretch=0.05),
    _at_least("G7", "10,000 adapters registered over 64, the same 64 in use, tok/s, ours",
              (Name.VENEER_WIDE, "all registered tok/s"),
              (Name.VENEER_WIDE, "64 registered tok/s"),
              threshold=0.97, stretch=1),
    _at_most("G8", "one cold request at saturation, one slot: first token / longest service, ours",
             (Name.VENEER_ONE, "cold ttft s"), (Name.VENEER_ONE, "service s"),
             threshold=2, stretch=1.2),
    _at_least("G9", "answers of mixed batches equal to those given alone, fp32, ours, share",
              (Name.VENEER_FP32, "equal"), None, threshold=1),
    _at_most("G9b", "answers that company changes, 8 tokens, the serving dtype, ours, worst share",
             (_US, "changed in company"), None, threshold=0.05, stretch=0),
)

_SERVER: tuple[Goal, ...] = (
    _at_most("G10", "API process: CPU per streamed token, ours / vLLM without LoRA",
             (_US, "api us/token"), (_PLAIN, "api us/token"), threshold=0.35, stretch=0.2),
    *(_at_most("G11", f"start to ready, ours / {theirs}", (_US, "start s"), (theirs, "start s"),
               threshold=0.6, stretch=0.4, skip_first=True) for theirs in (_DEFAULT, _PLAIN)),
)

_LAPTOP: tuple[Goal, ...] = tuple(
    goal for theirs in (Name.LLAMA_Q4, Name.LLAMA_BF16) for goal in (
        _at_most("G12", f"one stream, 100 in 64 out, seconds, ours / {theirs}",
                 (_US, "one stream s"), (theirs, "one stream s"), threshold=1, stretch=0.7),
        _at_least("G12", f"16 streams, tok/s, ours / {theirs}",
                  (_US, "16 streams tok/s"), (theirs, "16 streams tok/s"),
                  threshold=3, stretch=5),
        _at_least("G12", f"16 streams over 8 adapters, tok/s, ours / {theirs}",
                  (_US, "16 streams, 8 adapters tok/s"), (theirs, "16 streams, 8 adapters tok/s"),
                  threshold=5, stretch=10))
)

_OTHERS: tuple[Goal, ...] = (
    _at_most("G13", "growth of a stream's longest gap beside an odd request, the worst, ours, ms",
             (_US, "worst growth ms"), None, threshold=100, stretch=30),
)
# fmt: on

GOALS = (*_SPEED, *_ADAPTERS, *_SERVER, *_LAPTOP, *_OTHERS)
"""All goals, in the order of the table."""


def chosen(ids: Collection[str]) -> list[Goal]:
    """Return the goals in ``ids``, or all goals."""
    return [goal for goal in GOALS if not ids or goal.id in ids]
