"""From the text in ``model`` to the model that answers: the base, or a revision of an adapter."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from veneer_adapters.catalog.alias import Alias
from veneer_adapters.catalog.catalog import Catalog
from veneer_adapters.catalog.revision import Revision
from veneer_adapters.catalog.splitting import Caller
from veneer_adapters.errors import (
    AdapterError,
    AdapterFailed,
    AdapterNotFound,
    CacheFull,
    StorageFailed,
)
from veneer_adapters.names import Selector, close_matches, parse_model
from veneer_adapters.publishing.arriving import Arriving
from veneer_adapters.publishing.pulling import Puller
from veneer_server.engine.base import Endpoint, ModelFacts, RequestRejected
from veneer_server.serving.wishes import NO_WISHES, Wishes
from veneer_server.tenancy.principals import ANYBODY, Principal

_MODEL_OPTIONAL = frozenset({Endpoint.TOKENIZE, Endpoint.DETOKENIZE})
"""Endpoints at which a request need never name a model."""


def selected(asked: str, model: ModelFacts, knows: Callable[[str], bool]) -> Selector | None:
    """Return what ``asked`` selects, or None when it is a name of the base ``model``.

    An adapter that ``knows`` has a name comes before another name of the base.

    Raises:
        AdapterNotFound: ``asked`` cannot be a name.
    """
    others = {name for name in model.other_names() if not knows(name)}
    return parse_model(asked, {model.id, *others})


class ModelMissing(RequestRejected):
    """The body does not say which model to use, and must."""


@dataclass(frozen=True, slots=True)
class Asker:
    """The client that sent a request."""

    user: str | None = None
    """The end user, as the client names them; a sticky alias reads it."""
    principal: Principal = ANYBODY
    """What they may not use does not exist for them."""
    wishes: Wishes = NO_WISHES
    """What they asked for in headers."""
    background: bool = False
    """Whether nobody waits for the answer, so that it comes after those of live requests."""

    def key(self) -> str | None:
        """Return what a sticky alias takes for their key, None when they sent none."""
        return self.principal.key_id or self.principal.owner or None


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a request asked for, and which model answers it."""

    asked: str
    """The model as the client wrote it; answers repeat it."""
    revision: Revision | None
    """None means the base model."""
    guarded: Alias | None = None
    """The alias that the request named, when it has a guard; else None."""
    pulled_s: float | None = None
    """Seconds that the fetch of the adapter took for this request, None without a fetch."""
    instead_of: str | None = None
    """The adapter that the client named, when something else answers because it asked for that."""


OnFailed = Callable[[Endpoint, str, Alias, int], None]


class Resolver:
    """Finds what a model name means now."""

    def __init__(
        self,
        model: ModelFacts,
        catalog: Catalog,
        puller: Puller,
        arriving: Arriving,
        *,
        name_required: bool = False,
        on_failed: OnFailed = lambda *told: None,
        draw: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Resolve the names in ``catalog``; ``puller`` may fetch an adapter that is not there.

        ``model`` is the base; it also answers requests that name no model, unless a name is
        required. ``on_failed`` is called for each request that a guarded alias sends to a failed
        revision. ``arriving`` waits for an adapter whose watched folder has just
        appeared.
        ``draw`` returns a random number in [0, 1) for an alias that splits its traffic.
        """
        self._model = model
        self._name_required = name_required
        self._catalog = catalog
        self._puller = puller
        self._arriving = arriving
        self._on_failed = on_failed
        self._draw = draw
        self._clock = clock

    async def resolve(
        self, endpoint: Endpoint, body: Mapping[str, Any], asker: Asker | None = None
    ) -> Resolved:
        """Return which model answers ``body``.

        Wait only for an adapter that must be fetched, or whose folder has just appeared.

        Raises:
            ModelMissing: the body names no model and must, or names it by something else than text.
            AdapterError: no model can answer; the leaf says why.
        """
        asked, asker = body.get("model"), asker or Asker()
        who = asker.principal
        if asked in (None, ""):
            needed = self._name_required and endpoint not in _MODEL_OPTIONAL
            if needed or not who.sees_base():
                raise ModelMissing("you must provide a model parameter", param="model")
            return Resolved(self._model.id, None)
        if not isinstance(asked, str):
            raise ModelMissing("Invalid type for 'model': expected a string.", param="model")
        try:
            selector = self._selected(asked, who)
            if selector is None:
                if not who.sees_base():
                    raise AdapterNotFound(asked)
                return Resolved(asked, None)
            pulled_s = await self._fetch_unknown(selector, who)
            revision = self._find(endpoint, selector, asker)
            return Resolved(asked, revision, self._guarded(selector), pulled_s)
        except AdapterNotFound as error:
            raise self._with_base(error, asked, who) from error

    def require_known(self, body: Mapping[str, Any], who: Principal) -> None:
        """Return if ``body`` may be answered, as far as is known without waiting.

        Raises:
            ModelMissing: as ``resolve``.
            AdapterNotFound: nothing has the name for ``who``, and nothing of it may be fetched.
        """
        asked = body.get("model")
        if asked in (None, ""):
            if self._name_required or not who.sees_base():
                raise ModelMissing("you must provide a model parameter", param="model")
            return
        if not isinstance(asked, str):
            raise ModelMissing("Invalid type for 'model': expected a string.", param="model")
        selector = self._selected(asked, who)
        if selector is None and who.sees_base():
            return
        name = selector.adapter if selector else asked
        known = self._catalog.knows(name) or self._puller.possible
        if selector is None or not who.sees(name) or not known:
            raise self._catalog.not_found(name, asked, who.sees)

    def flow_of(self, asked: str) -> str | None:
        """Return the engine's name of what ``asked`` means now; None for the base or for nothing.

        An alias with several targets may send a request elsewhere.
        """
        try:
            selector = self._selected(asked, ANYBODY) if asked else None
            found = selector and self._catalog.resolve(selector, Caller(None, None, 0.0))
        except AdapterError:
            return None
        return found.engine_name if found else None

    def _selected(self, asked: str, who: Principal) -> Selector | None:
        return selected(
            asked, self._model, lambda name: who.sees(name) and self._catalog.knows(name)
        )

    async def _fetch_unknown(self, selector: Selector, who: Principal) -> float | None:
        """Return the seconds of a fetch, once the adapter is there for ``who``."""
        name, pulled_s = selector.adapter, None
        if who.sees(name):
            await self._arriving.arrive(name)
            pulled_s = await self._pull_unknown(name)
        if not who.sees(name) or not self._catalog.knows(name):
            raise self._catalog.not_found(name, str(selector), who.sees)
        return pulled_s

    async def _pull_unknown(self, name: str) -> float | None:
        if not self._puller.possible or self._catalog.knows(name):
            return None
        began_s = self._clock()
        try:
            await self._puller.pull(name)
        except AdapterNotFound:
            # The catalog raises a better error: it also names adapters with a similar name.
            return None
        except CacheFull as error:
            # For this client a full disk is a problem of the moment, not of the request: 503.
            raise StorageFailed(str(error)) from error
        return self._clock() - began_s

    def _find(self, endpoint: Endpoint, selector: Selector, asker: Asker) -> Revision:
        try:
            return self._catalog.resolve(selector, Caller(asker.user, asker.key(), self._draw()))
        except AdapterFailed as error:
            if error.revision is not None and (alias := self._guarded(selector)):
                self._on_failed(endpoint, selector.adapter, alias, error.revision)
            raise

    def _guarded(self, selector: Selector) -> Alias | None:
        if selector.alias is None:
            return None
        alias = self._catalog.alias(selector.adapter, selector.alias)
        return alias if alias.guard else None

    def _with_base(self, error: AdapterNotFound, asked: str, who: Principal) -> AdapterNotFound:
        # The catalog knows only adapters, but the client may have meant the base.
        near = close_matches(asked, [self._model.id] if who.sees_base() else [])
        known = [name for name in error.close_matches if who.sees(name) or name in near]
        return AdapterNotFound(error.name, tuple(dict.fromkeys((*known, *near))))
