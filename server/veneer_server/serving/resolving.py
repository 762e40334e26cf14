"""From the text in ``model`` to who answers: the base, or one revision of an adapter."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.catalog.splitting import Caller
from veneer_adapters.errors import AdapterFailed, AdapterNotFound, CacheFull, StorageFailed
from veneer_adapters.names import Selector, close_matches, parse_model
from veneer_adapters.publishing.pulling import Puller
from veneer_server.engine.base import Endpoint, RequestRejected

_MODEL_OPTIONAL = frozenset({Endpoint.TOKENIZE, Endpoint.DETOKENIZE})


class ModelMissing(RequestRejected):
    """The body does not say which model to use."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as far as a sticky alias cares."""

    user: str | None = None
    """The end user, as the client names them."""
    key: str | None = None
    """A digest of the key that was presented."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a request asked for, and who answers."""

    asked: str
    """The model as the client wrote it; answers repeat it."""
    revision: Revision | None
    """None for the base."""
    guarded: Alias | None = None
    """The alias that led there, when a guard watches how its targets do."""
    pulled_s: float | None = None
    """How long the adapter was fetched for this request, None when it was there."""


OnFailed = Callable[[Endpoint, str, Alias, int], None]


class Resolver:
    """Knows what every model name means at this instant."""

    def __init__(
        self,
        base: str,
        catalog: Catalog,
        puller: Puller,
        *,
        on_failed: OnFailed = lambda *told: None,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Resolve names of ``catalog``; a name it does not have is pulled, where that is allowed.

        ``on_failed`` is told of each request that a guarded alias sends to a failed revision;
        ``draw`` returns a random number in [0, 1) for an alias that splits its traffic.
        """
        self._base = base
        self._catalog = catalog
        self._puller = puller
        self._on_failed = on_failed
        self._draw = draw
        self._clock = clock

    async def resolve(
        self, endpoint: Endpoint, body: Mapping[str, Any], asker: Asker | None = None
    ) -> Resolved:
        """Return who answers ``body``; waits only for an adapter that must be pulled first.

        Raises:
            ModelMissing: the body names none, and the endpoint needs one.
            AdapterError: nobody can answer; the leaf says why.
        """
        asked = body.get("model")
        if asked is None and endpoint in _MODEL_OPTIONAL:
            return Resolved(self._base, None)
        if not isinstance(asked, str) or not asked:
            raise ModelMissing("you must provide a model parameter", param="model")
        try:
            selector = parse_model(asked, {self._base})
            if selector is None:
                return Resolved(asked, None)
            pulled_s = await self._pull_unknown(selector.adapter)
            revision = self._find(endpoint, selector, asker)
            return Resolved(asked, revision, self._guarded(selector), pulled_s)
        except AdapterNotFound as error:
            raise self._with_base(error, asked) from error

    async def _pull_unknown(self, name: str) -> float | None:
        if not self._puller.possible or self._catalog.knows(name):
            return None
        began_s = self._clock()
        try:
            await self._puller.pull(name)
        except AdapterNotFound:
            # The catalog's own answer also tells what the name may be a misspelling of.
            return None
        except CacheFull as error:
            # For who asks for a model the disk is a matter of the moment, not of the request.
            raise StorageFailed(str(error)) from error
        return self._clock() - began_s

    def _find(self, endpoint: Endpoint, selector: Selector, asker: Asker | None) -> Revision:
        asker = asker or Asker()
        try:
            return self._catalog.resolve(selector, Caller(asker.user, asker.key, self._draw()))
        except AdapterFailed as error:
            if error.revision is not None and (alias := self._guarded(selector)):
                self._on_failed(endpoint, selector.adapter, alias, error.revision)
            raise

    def _guarded(self, selector: Selector) -> Alias | None:
        if selector.alias is None:
            return None
        alias = self._catalog.alias(selector.adapter, selector.alias)
        return alias if alias.guard else None

    def _with_base(self, error: AdapterNotFound, asked: str) -> AdapterNotFound:
        # The catalog knows adapters only; a client may have meant the base.
        near = close_matches(asked, [self._base])
        return AdapterNotFound(error.name, tuple(dict.fromkeys((*error.close_matches, *near))))
