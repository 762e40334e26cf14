"""Every setting with its default and its meaning, in one frozen object.

Precedence: command line > ``VENEER_<SECTION>__<FIELD>`` > YAML file > default. An unknown key
stops the start, and all faults are reported at once.

Only this package reads the variables that are settings, and ``VENEER_FAULTS``. The modules that use
other variables read those: ``telemetry.otel`` reads ``OTEL_*``, and ``engine`` reads vLLM's
variables, the process ids that its processes share, and ``XDG_CACHE_HOME``. The bench gives the
user's variables to the servers that it starts, except ``VENEER_*`` and ``VLLM_*``.
"""

from veneer_server.settings.engine import EMBEDDED
from veneer_server.settings.limits import LimitSettings
from veneer_server.settings.reading import SettingsError, asked_faults
from veneer_server.settings.server import ServerSettings
from veneer_server.settings.settings import Settings
from veneer_server.settings.state import StateSettings
from veneer_server.settings.tenants import MOST, TenantSettings

__all__ = [
    "EMBEDDED",
    "MOST",
    "LimitSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "StateSettings",
    "TenantSettings",
    "asked_faults",
]
