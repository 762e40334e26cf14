"""Where things of this repository lie."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TESTS = REPOSITORY / "tests"
DEMO = REPOSITORY / "adapters" / "demo"
