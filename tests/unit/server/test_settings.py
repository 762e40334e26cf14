"""Settings: precedence, and every reason to refuse the start."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.places import REPOSITORY
from veneer_server.settings import Settings, SettingsError


def load(
    *,
    yaml: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    folder: Path | None = None,
) -> Settings:
    file = None
    if yaml is not None:
        assert folder is not None
        file = folder / "veneer.yaml"
        file.write_text(yaml, encoding="utf-8")
    return Settings.load(file=file, environ=environ or {}, flags=flags)


def faults(**layers: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(**layers)
    return str(caught.value).splitlines()


PORT_FILE = "server:\n  port: 1001\n  cors_origins: [http://a.example]\n"
PORT_ENV = {"VENEER_SERVER__PORT": "1002"}
PRECEDENCE = [
    ("nothing given", None, {}, {}, 8000),
    ("a file beats the default", PORT_FILE, {}, {}, 1001),
    ("the environment beats the file", PORT_FILE, PORT_ENV, {}, 1002),
    ("the command line beats both", PORT_FILE, PORT_ENV, {"server": {"port": 1003}}, 1003),
]


@pytest.mark.parametrize(
    ("yaml", "environ", "flags", "port"),
    [case[1:] for case in PRECEDENCE],
    ids=[case[0] for case in PRECEDENCE],
)
def test_precedence(
    yaml: str | None,
    environ: dict[str, str],
    flags: dict[str, dict[str, int]],
    port: int,
    tmp_path: Path,
) -> None:
    found = load(yaml=yaml, environ=environ, flags=flags, folder=tmp_path)
    assert found.server.port == port


def test_a_later_layer_replaces_a_field_and_leaves_its_section(tmp_path: Path) -> None:
    found = load(yaml=PORT_FILE, environ=PORT_ENV, folder=tmp_path)
    assert found.server.cors_origins == ("http://a.example",)


VARIABLES = [
    ("VENEER_ADAPTERS__ROOTS", '["a", "b c"]', "adapters.roots", (Path("a"), Path("b c"))),
    ("VENEER_SERVER__DRAIN_TIMEOUT_S", "1.5", "server.drain_timeout_s", 1.5),
    ("VENEER_MODEL__NAME", "null", "model.name", "null"),
    ("VENEER_ENGINE__ARGS", "{block_size: 32}", "engine.args", {"block_size": 32}),
    ("VENEER_ENGINE__ARGS__BLOCK_SIZE", "32", "engine.args", {"block_size": 32}),
    ("VENEER_ENGINE__ARGS__ENFORCE_EAGER", "true", "engine.args", {"enforce_eager": True}),
    ("VENEER_ENGINE__ARGS__TOOL_CALL_PARSER", "a: b: c", "engine.args", None),
]


@pytest.mark.parametrize(("variable", "text", "path", "value"), VARIABLES)
def test_variables_carry_lists_numbers_and_engine_arguments(
    variable: str, text: str, path: str, value: object
) -> None:
    section, field = path.split(".")
    found = getattr(getattr(load(environ={variable: text}), section), field)
    assert found == ({"tool_call_parser": "a: b: c"} if value is None else value)


def test_the_rank_can_be_given_as_a_variable() -> None:
    assert load(environ={"VENEER_ADAPTERS__MAX_RANK": "16"}).adapters.max_rank == 16
    assert faults(environ={"VENEER_ADAPTERS__MAX_RANK": "17"})
    assert faults(environ={"VENEER_ADAPTERS__MAX_RANK": "many"})


def test_a_key_of_digits_stays_text() -> None:
    found = load(environ={"VENEER_SERVER__API_KEY": "0012345"})
    assert found.server.api_key is not None
    assert found.server.api_key.get_secret_value() == "0012345"


def test_variables_of_other_programs_are_left_alone() -> None:
    assert load(environ={"VENEER_ENGINE": "cpu", "VENEER_GATEWAY_PID": "7"}) == load()


def test_a_misspelt_name_stops_the_start_wherever_it_stands(tmp_path: Path) -> None:
    assert faults(yaml="sever: {port: 1}\n", folder=tmp_path) == ["sever: there is no such setting"]
    assert faults(environ={"VENEER_SERVER__PROT": "1"}) == ["server.prot: there is no such setting"]


def test_all_faults_are_reported_at_once() -> None:
    found = faults(
        environ={
            "VENEER_SERVER__PORT": "70000",
            "VENEER_MODEL__DTYPE": "int4",
            "VENEER_LIMITS__NOTHING": "1",
            "VENEER_ADAPTERS__DEVICE_SLOTS": "32",
            "VENEER_ADAPTERS__HOST_SLOTS": "32",
        }
    )
    names = [line.partition(":")[0] for line in found]
    assert sorted(names) == ["adapters", "limits.nothing", "model.dtype", "server.port"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gpu.example.org"])  # noqa: S104 - parsed, not bound
def test_any_other_host_is_beyond_loopback(host: str) -> None:
    assert not load(flags={"server": {"host": host}}).server.is_loopback()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    assert load(flags={"server": {"host": host}}).server.is_loopback()


@pytest.mark.parametrize("key", ["", "  "])
def test_an_empty_key_is_not_a_key(key: str) -> None:
    assert "is empty" in faults(environ={"VENEER_SERVER__API_KEY": key})[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_newline_at_the_end_of_a_secret_does_not_count(end: str) -> None:
    given = {
        "VENEER_SERVER__API_KEY": f"sk-abc def{end}",
        "VENEER_STATE__URL": f"postgresql://user:password@host/db{end}",
    }
    found = load(environ=given)
    assert found.server.api_key is not None
    assert found.server.api_key.get_secret_value() == "sk-abc def"
    assert found.state.database() == "postgresql+asyncpg://user:password@host/db"


UNSENDABLE = [
    "hunt\u00fcr2",
    "hunter\n2",
    "hunter\t2",
    " hunter2",
    "hunter2 ",
    "\0hunter2",
    "hunter2\x7f",
    "\u200bhunter2",
]


@pytest.mark.parametrize("key", UNSENDABLE, ids=repr)
def test_a_key_that_no_client_could_send_stops_the_start(key: str) -> None:
    [told] = faults(environ={"VENEER_SERVER__API_KEY": key})
    assert told.startswith("server.api_key: cannot be sent")
    assert "hunt" not in told


def test_a_key_that_does_not_fit_into_the_headers_stops_the_start() -> None:
    limits = {"max_header_bytes": 2000}
    load(flags={"server": {"api_key": "k" * 1000}, "limits": limits})
    [told] = faults(flags={"server": {"api_key": "k" * 1001}, "limits": limits})
    assert "limits.max_header_bytes" in told


def test_a_key_is_never_shown() -> None:
    settings = load(environ={"VENEER_SERVER__API_KEY": "hunter2"})
    assert "hunter2" not in settings.model_dump_json() + repr(settings)
    wrong = "\n".join(faults(flags={"server": {"api_key": "hunter2", "port": -1}}))
    assert "hunter2" not in wrong


def test_one_host_slot_must_stay_free_for_the_adapter_that_loads() -> None:
    flags = {"adapters": {"device_slots": 4, "host_slots": 4}}
    assert "must be larger than adapters.device_slots" in faults(flags=flags)[0]


@pytest.mark.parametrize(
    "hours", ["22-6", "24:00-06:00", "22:60-06:00", "22:00", "22:00-06:00 ", "22:00-06:00\n", ""]
)
def test_hours_that_are_not_two_times_of_the_day_are_refused_with_an_example(hours: str) -> None:
    [fault] = faults(environ={"VENEER_TRAINING__HOURS": hours})
    assert "two times of the day, as in 22:00-06:00" in fault


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().server.port = 1


BAD_FILES = [
    ("not YAML", "server: [", "is not YAML"),
    ("a list", "- server\n", "must hold sections"),
]


@pytest.mark.parametrize(
    ("text", "sentence"), [case[1:] for case in BAD_FILES], ids=[case[0] for case in BAD_FILES]
)
def test_an_unusable_file_is_named(text: str, sentence: str, tmp_path: Path) -> None:
    [line, *_] = faults(yaml=text, folder=tmp_path)
    assert "veneer.yaml" in line
    assert sentence in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot read .*nowhere\.yaml"):
        Settings.load(file=tmp_path / "nowhere.yaml", environ={})


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    assert load(yaml="# nothing yet\n", folder=tmp_path) == load()


def test_the_example_file_shows_the_defaults() -> None:
    example = Settings.load(file=REPOSITORY / "deploy" / "veneer.example.yaml", environ={})
    assert json.loads(example.model_dump_json()) == json.loads(load().model_dump_json())


def test_a_section_of_comments_only_is_as_good_as_absent(tmp_path: Path) -> None:
    file = tmp_path / "veneer.yaml"
    file.write_text("server:\n  # port: 9000\nmodel: {name: x}\n")
    assert Settings.load(file=file, environ={}).model.name == "x"


def test_variables_that_contradict_each_other_are_told_by_name() -> None:
    environ = {"VENEER_MODEL__NAME": "x", "VENEER_MODEL__NAME__Y": "z"}
    with pytest.raises(SettingsError, match="VENEER_MODEL__NAME"):
        Settings.load(environ=environ)


@pytest.mark.parametrize(("text", "rank"), [("16", 16), ("17", None), ("many", None)])
def test_the_largest_rank_may_be_given_as_a_variable(text: str, rank: int | None) -> None:
    environ = {"VENEER_ADAPTERS__MAX_RANK": text}
    if rank is None:
        with pytest.raises(SettingsError, match=r"adapters\.max_rank"):
            Settings.load(environ=environ)
    else:
        assert Settings.load(environ=environ).adapters.max_rank == rank


def test_nothing_beyond_this_machine_is_allowed_by_default() -> None:
    found = load().sources
    assert found.hub_orgs + found.https_hosts + found.buckets + found.pull == ()


SOURCES = {
    "hub_orgs": ["org"],
    "https_hosts": ["Models.example", "files.example:8443"],
    "private_hosts": ["files.example"],
    "buckets": ["s3://bucket/adapters"],
    "pull": [
        "s3://bucket/adapters/{name}",
        "https://models.example/{name}/",
        "https://files.example:8443/{name}",
        "hf://org/{name}@main",
    ],
}


def test_sources_are_lists_also_as_variables() -> None:
    environ = {f"VENEER_SOURCES__{name.upper()}": json.dumps(v) for name, v in SOURCES.items()}
    found = load(environ=environ).sources
    assert list(found.pull) == SOURCES["pull"]
    assert found == load(flags={"sources": SOURCES}).sources


BAD_SOURCES = [
    ("an organisation with a path", {"hub_orgs": ["org/name"]}, "hub_orgs"),
    ("a host with a scheme", {"https_hosts": ["https://host"]}, "https_hosts"),
    ("a host with a user", {"https_hosts": ["user@host"]}, "https_hosts"),
    ("a bucket without a scheme", {"buckets": ["bucket"]}, "buckets"),
    ("a bucket of the wrong scheme", {"buckets": ["https://bucket"]}, "buckets"),
    ("a bucket with steps upwards", {"buckets": ["s3://bucket/../x"]}, "buckets"),
    ("a private host nobody may ask", {"private_hosts": ["host"]}, "private_hosts"),
    ("a template without a name", {**SOURCES, "pull": ["s3://bucket/adapters/a"]}, "pull"),
    ("a template beside the prefix", {**SOURCES, "pull": ["s3://bucket/{name}"]}, "pull"),
    ("a template on another host", {**SOURCES, "pull": ["https://b.example/{name}"]}, "pull"),
    ("a template on another port", {**SOURCES, "pull": ["https://files.example/{name}"]}, "pull"),
    ("a template of another user", {**SOURCES, "pull": ["hf://other/{name}"]}, "pull"),
    ("a template that chooses the user", {**SOURCES, "pull": ["hf://{name}"]}, "pull"),
    ("a local template", {**SOURCES, "pull": ["file:///{name}"]}, "pull"),
    ("no time", {"timeout_s": 0}, "timeout_s"),
]


@pytest.mark.parametrize(
    ("section", "field"), [case[1:] for case in BAD_SOURCES], ids=[case[0] for case in BAD_SOURCES]
)
def test_a_source_that_could_not_work_stops_the_start(section: dict[str, Any], field: str) -> None:
    assert field in faults(flags={"sources": section})[0]
