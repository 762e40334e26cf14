"""Where things of this repository lie."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "adapters" / "demo"
