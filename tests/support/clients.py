"""The official clients, imported by the test that uses one: they cost each worker seconds."""

import importlib
from typing import Any

CLIENTS = ("anthropic", "boto3", "openai")


def __getattr__(name: str) -> Any:
    if name not in CLIENTS:
        raise AttributeError(name)
    return importlib.import_module(name)
