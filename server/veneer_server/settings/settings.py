"""All settings of one server, merged and checked once."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator

from veneer_server.settings.adapters import AdapterSettings
from veneer_server.settings.engine import EngineSettings, ModelSettings
from veneer_server.settings.jobs import BatchSettings, TrainingSettings
from veneer_server.settings.limits import LimitSettings
from veneer_server.settings.reading import SettingsError, explain, merge, read_environ, read_yaml
from veneer_server.settings.section import Section
from veneer_server.settings.server import ObservabilitySettings, ServerSettings
from veneer_server.settings.sources import SourceSettings
from veneer_server.settings.state import ConversationSettings, FileSettings, StateSettings
from veneer_server.settings.tenants import TenantSettings


class Settings(Section):
    """All settings of one server."""

    server: ServerSettings = ServerSettings()
    model: ModelSettings = ModelSettings()
    engine: EngineSettings = EngineSettings()
    adapters: AdapterSettings = AdapterSettings()
    sources: SourceSettings = SourceSettings()
    state: StateSettings = StateSettings()
    conversations: ConversationSettings = ConversationSettings()
    files: FileSettings = FileSettings()
    batches: BatchSettings = BatchSettings()
    training: TrainingSettings = TrainingSettings()
    limits: LimitSettings = LimitSettings()
    tenants: TenantSettings = TenantSettings()
    observability: ObservabilitySettings = ObservabilitySettings()

    @model_validator(mode="after")
    def _key_fits_into_the_headers(self) -> Self:
        key = self.server.api_key
        if key is not None and len(key) > self.limits.max_header_bytes // 2:
            raise ValueError(
                "server.api_key is longer than half of limits.max_header_bytes, so no client could"
                " send it"
            )
        return self

    @classmethod
    def load(
        cls,
        *,
        file: Path | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Self:
        """Merge the defaults, ``file``, ``environ`` and ``flags``; a later one wins.

        ``environ`` is the process's own environment unless it is given.

        Raises:
            SettingsError: the file cannot be read, a key is unknown, or a value is impossible.
        """
        environ = os.environ if environ is None else environ
        merged = merge(read_yaml(file), read_environ(environ), flags or {})
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            raise SettingsError(explain(error)) from error
