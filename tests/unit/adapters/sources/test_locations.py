"""Locations: one form, and every trick that is not of it."""

import pytest

from veneer_adapters.errors import SourceNotAllowed
from veneer_adapters.sources.hub import parse_repository
from veneer_adapters.sources.locations import Location, parse_host, parse_location

GOOD = [
    ("https://host.example/a/b", Location("https", "host.example", ("a", "b"))),
    ("https://host.example:8443/a/", Location("https", "host.example:8443", ("a",))),
    ("s3://bucket", Location("s3", "bucket")),
    ("s3://bucket/a..b/c#etag=1,2", Location("s3", "bucket", ("a..b", "c"), "etag=1,2")),
    ("hf://org/name@main", Location("hf", "org", ("name@main",))),
]


@pytest.mark.parametrize(("text", "location"), GOOD)
def test_a_location_means_what_it_says(text: str, location: Location) -> None:
    assert parse_location(text) == location
    assert parse_location(str(location)) == location


MALFORMED = [
    "",
    "a/b",
    "//server/share/adapter",
    "\\\\server\\share\\adapter",
    "https:/host/a",
    "https:///a",
    "HTTPS://host/a",
    "https://host/../a",
    "https://host/a/..",
    "https://host/a/./b",
    "https://host/%2e%2e/a",
    "https://host/%252e/a",
    "https://host/a%00",
    "https://host/a\x00",
    "https://host/a\nb",
    "https://host/a\n",
    "https://host//a",
    "https://host/a//",
    "https://host/a b",
    "https://host/a\\b",
    "https://host\\@evil.example/a",
    "https://user@host/a",
    "https://user:hunter2@host/a",
    "https://host:port/a",
    "https://host/a?token=hunter2",
    "https://host/a;b",
    "https://[::1]/a",
    "https://höst/a",
    "https://host/ä",
    "https://-host/a",
    "s3://bucket/a#b#c",
    "s3://bucket/" + "a" * 1024,
]


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_not_of_the_form_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SourceNotAllowed) as caught:
        parse_location(text)
    assert "hunter2" not in str(caught.value)
    assert not text or text not in str(caught.value)


INSIDE = [
    ("s3://b/a/x", "s3://b/a", True),
    ("s3://b/a", "s3://b/a", True),
    ("s3://b/ab", "s3://b/a", False),
    ("s3://b", "s3://b/a", False),
    ("s3://c/a", "s3://b/a", False),
    ("gs://b/a", "s3://b/a", False),
]


@pytest.mark.parametrize(("inner", "outer", "inside"), INSIDE)
def test_a_prefix_allows_what_lies_below_it_and_nothing_beside(
    inner: str, outer: str, inside: bool
) -> None:
    assert parse_location(inner).is_inside(parse_location(outer)) is inside


def test_a_host_has_a_port_and_no_case() -> None:
    assert parse_host("Models.Example") == ("models.example", 443)
    assert parse_host("models.example:8443") == ("models.example", 8443)


@pytest.mark.parametrize("text", ["", "a/b", "a#b", "a:0", "a:65536", "u@a", "https://a", "a b"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(SourceNotAllowed):
        parse_host(text)


REPOSITORIES = [
    ("hf://org/name", ("org/name", None, "")),
    ("hf://org/name@v1.2", ("org/name", "v1.2", "")),
    ("hf://org/name@main/a/b", ("org/name", "main", "a/b")),
    ("hf://org/name/a", ("org/name", None, "a")),
    ("hf://org/name@refs/pr/3", ("org/name", "refs/pr/3", "")),
    ("hf://org/name@refs/pr/3/a", ("org/name", "refs/pr/3", "a")),
]


@pytest.mark.parametrize(("text", "parts"), REPOSITORIES)
def test_a_repository_has_a_revision_and_a_subfolder(
    text: str, parts: tuple[str, str | None, str]
) -> None:
    found = parse_repository(text)
    assert (found.id, found.revision, found.subfolder) == parts


@pytest.mark.parametrize(
    "text", ["hf://name", "hf://org/@main", "hf://org/name@", "hf://org:1/name", "s3://org/name"]
)
def test_what_is_no_repository_is_refused(text: str) -> None:
    with pytest.raises(SourceNotAllowed):
        parse_repository(text)


def test_a_commit_pins_a_repository() -> None:
    assert parse_repository("hf://o/n@main/a").at("0" * 40) == f"hf://o/n@{'0' * 40}/a"
