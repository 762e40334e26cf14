"""Every member that a request may have, per endpoint, and what becomes of it: tables."""
