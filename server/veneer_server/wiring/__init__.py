"""Builds everything between HTTP and the engine from the settings.

``app`` starts the engine, tracing, the database and the sandbox, and passes them in. This package
builds the other parts and starts nothing: ``app`` runs the parts that must run, and ends them.
"""

from veneer_server.wiring.assembling import assemble
from veneer_server.wiring.opening import find_needs, open_database, open_keyring
from veneer_server.wiring.parts import Given, Parts
from veneer_server.wiring.places import roots

__all__ = [
    "Given",
    "Parts",
    "assemble",
    "find_needs",
    "open_database",
    "open_keyring",
    "roots",
]
