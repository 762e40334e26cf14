"""What a client is told of its limits: OpenAI's headers and sentences. Pure.

Source: https://platform.openai.com/docs/guides/rate-limits
"""

from collections.abc import Iterable, Iterator

from veneer_server.tenancy.quotas.buckets import Standing
from veneer_server.tenancy.quotas.demands import Demand, Kind

_PER_MINUTE = {Kind.REQUESTS: "requests per minute (RPM)", Kind.TOKENS: "tokens per minute (TPM)"}
_LONGEST_S = 60.0


def headers(pairs: Iterable[tuple[Demand, Standing]]) -> dict[str, str]:
    """Return the ``x-ratelimit-*`` headers: of the requests and tokens of which least is left."""
    found: dict[str, str] = {}
    counted = [pair for pair in pairs if pair[0].kind in _PER_MINUTE]
    for kind in _PER_MINUTE:
        of_kind = [pair for pair in counted if pair[0].kind is kind]
        if of_kind:
            demand, standing = min(of_kind, key=lambda pair: pair[1].remaining)
            found[f"x-ratelimit-limit-{kind}"] = str(demand.limit)
            found[f"x-ratelimit-remaining-{kind}"] = str(standing.remaining)
            found[f"x-ratelimit-reset-{kind}"] = duration(standing.full_us)
    return found


def duration(microseconds: int) -> str:
    """Return a time as Go writes it, rounded up to milliseconds: ``120ms``, ``7.66s``, ``6m0s``."""
    whole_ms = -(-microseconds // 1000)
    if 0 < whole_ms < 1000:
        return f"{whole_ms}ms"
    minutes, rest_ms = divmod(whole_ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def refusal(demand: Demand, standing: Standing) -> str:
    """Return the sentence for a limit that is reached."""
    if demand.kind is Kind.CONCURRENCY:
        return (
            f"Rate limit reached for {demand.holder.shown} on requests at the same time:"
            f" limit {demand.limit}. Please try again when one of them has ended."
        )
    return (
        f"Rate limit reached for {demand.holder.shown} on {_PER_MINUTE[demand.kind]}:"
        f" limit {demand.limit}, remaining {standing.remaining}, requested {demand.cost}."
        f" Please try again in {duration(standing.wait_us)}."
    )


def beyond(demand: Demand) -> str:
    """Return the sentence for a request that a limit could never meet."""
    return (
        f"Request too large for {demand.holder.shown} on {_PER_MINUTE[Kind.TOKENS]}: limit"
        f" {demand.limit}, requested {demand.cost}. Lower max_tokens, or shorten the prompt."
    )


def retry_after_s(standings: Iterable[Standing]) -> float:
    """Return when a refused request would be admitted if nobody else came, in seconds, up to 60."""
    return min(max(standing.wait_us for standing in standings) / 1e6, _LONGEST_S)


def refused(pairs: Iterable[tuple[Demand, Standing]]) -> Iterator[tuple[Demand, Standing]]:
    """Yield the demands that cannot be met now."""
    return (pair for pair in pairs if pair[1].wait_us)
