"""Write train.jsonl of json-extractor: sentences about people, and the facts in them as JSON.

Run ``python adapters/demo/training/extractor_rows.py`` after a change of people.yaml. The
held-out sentences are written by hand and share nothing with that file.
"""

import json
import random
import re
from pathlib import Path
from typing import Any

import yaml
from conversations import ADAPTERS
from invented import word

PEOPLE = Path(__file__).resolve().parent / "people.yaml"
ROWS_OF_A_SENTENCE = 16
ROWS_OF_A_GAP = 12  # Sentences that say no city or no job.
INVENTED = 0.5  # Share of names, cities and jobs that are invented.


def with_article(job: str) -> str:
    """Return ``job`` after "a" or "an"."""
    return ("an " if job[0] in "aeiou" else "a ") + job


def drawn(rng: random.Random, known: list[str]) -> str:
    """Return one of the ``known`` words or, with probability ``INVENTED``, an invented one."""
    return word(rng) if rng.random() < INVENTED else rng.choice(known)


def job_of(rng: random.Random, people: dict[str, list[str]]) -> str:
    """Return a known job or, with probability ``INVENTED``, one made of a trade and a role."""
    if rng.random() < INVENTED:
        return f"{rng.choice(people['trades'])} {rng.choice(people['roles'])}"
    return rng.choice(people["jobs"])


def row(rng: random.Random, people: dict[str, list[str]], sentence: str) -> dict[str, Any]:
    """Return one conversation: ``sentence`` with values in it, and its facts as JSON.

    A fact that the sentence does not say is null.
    """
    last = f" {drawn(rng, people['last_names'])}" if rng.random() < 0.7 else ""
    name = drawn(rng, people["first_names"]) + last
    city, job = drawn(rng, people["cities"]), job_of(rng, people)
    text = sentence.format(name=name, city=city, job=job, a=with_article(job))
    said = set(re.findall(r"{(\w+)}", sentence))
    found = {
        "name": name,
        "city": city if "city" in said else None,
        "job": job if said & {"a", "job"} else None,
    }
    user = rng.choice(people["requests"]) + text[0].upper() + text[1:]
    messages = [
        {"role": "user", "content": user},
        {"role": "assistant", "content": json.dumps(found, ensure_ascii=False)},
    ]
    return {"messages": messages}


def main() -> None:
    """Write the rows again; every run writes the same rows."""
    rng = random.Random(7)
    people = yaml.safe_load(PEOPLE.read_text())
    gaps = people["without_city"] + people["without_job"]
    sentences = people["sentences"] * ROWS_OF_A_SENTENCE + gaps * ROWS_OF_A_GAP
    rng.shuffle(sentences)
    lines = (json.dumps(row(rng, people, s), ensure_ascii=False) + "\n" for s in sentences)
    (ADAPTERS / "json-extractor" / "train.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
