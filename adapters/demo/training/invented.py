"""Invented words: they force a model to copy from its prompt, because it cannot remember them."""

import random

CONSONANTS = "bcdfghjklmnprstvwyz"
VOWELS = "aeiou"
ENDS = ("", "", "n", "s", "th", "k", "ra", "ville", "berg", "mi", "ton", "do", "lis", "sk", "ja")
PLAIN = (
    "amber", "bridge", "candle", "distant", "early", "forest", "gentle", "harvest", "island",
    "jungle", "kettle", "lantern", "marble", "northern", "orange", "paper", "quiet", "river",
    "silver", "thunder", "under", "velvet", "window", "yellow", "zebra", "across", "bring",
    "castle", "dance", "every", "found", "garden", "happen",
)  # fmt: skip


def word(rng: random.Random) -> str:
    """Return a word of two or three syllables that could be a name or a town."""
    syllables = [rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(2, 3))]
    if rng.random() < 0.4:
        syllables.insert(1, rng.choice("lnrst"))
    return ("".join(syllables) + rng.choice(ENDS)).title()


def code(rng: random.Random) -> str:
    """Return an identifier such as orders, files and tickets have."""
    letters = "".join(rng.choice("ABCDEFGHKLMNPQRSTUVWXYZ") for _ in range(rng.randint(1, 4)))
    return f"{letters}{rng.choice(('', '-', '_'))}{rng.randint(2, 9999)}"


def phrase(rng: random.Random) -> str:
    """Return two to five plain words that mean nothing together."""
    return " ".join(rng.sample(PLAIN, rng.randint(2, 5)))
