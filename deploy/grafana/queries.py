"""The parts that queries of panels are made of."""

HERE = 'job=~"$job",instance=~"$instance"'
_QUANTILES = ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))


def rate(metric: str, *, by: str = "", where: str = HERE) -> str:
    """Return a query for the rate of a counter per second: the sum, or the sums by labels."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{where}}}[$__rate_interval]))"


def ratio(part: str, whole: str) -> str:
    """Return a query for ``part`` divided by ``whole``; it gives 0 while both are 0."""
    return f"({part}) / clamp_min({whole}, 1e-9)"


def share(part: str, whole: str) -> str:
    """Return a query for ``part`` divided by ``whole``; it gives 0 where a series is missing."""
    return ratio(f"({part} or vector(0))", f"({whole} or vector(0))")


def quantile(q: float, metric: str, *, by: str = "", where: str = HERE) -> str:
    """Return a query for a quantile of a histogram, also by labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', by=labels, where=where)})"


def quantiles(metric: str, where: str = HERE) -> list[tuple[str, str]]:
    """Return the queries of a panel that shows the distribution of a time."""
    return [(quantile(q, metric, where=where), name) for q, name in _QUANTILES]


def top(expr: str) -> str:
    """Return a query for the largest series of ``expr``, as many as the reader chose."""
    return f"topk($top, {expr})"
