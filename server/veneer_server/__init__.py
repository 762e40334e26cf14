"""The Veneer server: HTTP in, tokens out."""

__version__ = "0.1.0"
