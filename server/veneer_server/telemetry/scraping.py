"""Metrics whose values are read at each scrape, and what one scrape shows."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, RestrictedRegistry


class AtScrape(Collector):
    """A gauge whose values are read at each scrape, so that they are always the real ones."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: list[str],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        self.name = name
        self._family = partial(GaugeMetricFamily, name, text, labels=labels)
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge as it is now."""
        family = self._family()
        for labels, number in self._read().items():
            family.add_metric(labels, number)
        yield family


class Snapshot(Collector):
    """The values of one scrape, and all counts, without their ``_created`` series."""

    def __init__(self, read: list[Metric], counts: CollectorRegistry | RestrictedRegistry) -> None:
        self._read = read
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield what was read, then the counts."""
        yield from self._read
        for family in self._counts.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
