"""Parsers follow the files of the base model, unless somebody chose them."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from support.asked import need

pytestmark = pytest.mark.engine

starting = need("veneer_server.engine.vllm.starting")
options = need("veneer_server.engine.vllm.options")

TEMPLATE = "{% if tools %}<tool_call>{% endif %}</think>"


def base(folder: Path, **tokenizer: Any) -> str:
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return str(folder)


def chosen(model: str, **given: Any) -> tuple[str | None, str | None]:
    found = starting.with_parsers(options.EngineOptions(model=model, name="n", root="r", **given))
    return found.tool_call_parser, found.reasoning_parser


TEMPLATES = [
    TEMPLATE,
    [{"name": "default", "template": ""}, {"name": "tool_use", "template": TEMPLATE}],
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_template_in_the_tokenizers_config_chooses(tmp_path: Path, template: Any) -> None:
    assert chosen(base(tmp_path, chat_template=template)) == ("hermes", "qwen3")


def test_the_template_in_a_file_of_its_own_chooses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = base(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    with caplog.at_level(logging.INFO):
        assert chosen(model) == ("hermes", "qwen3")
    assert "tool_call_parser is hermes" in caplog.text
    assert "reasoning_parser is qwen3" in caplog.text


def test_the_template_that_the_operator_gives_chooses(tmp_path: Path) -> None:
    model = base(tmp_path, chat_template=TEMPLATE)
    other = tmp_path / "other.jinja"
    other.write_text("plain")
    assert chosen(model, args={"chat_template": str(other)}) == (None, None)
    assert chosen(model, args={"chat_template": "{{ 'inline' }}"}) == (None, None)


def test_what_the_operator_chooses_stays(tmp_path: Path) -> None:
    model = base(tmp_path, chat_template=TEMPLATE)
    none = {"tool_call_parser": None, "reasoning_parser": None}
    assert chosen(model, args=none) == (None, None)
    assert chosen(model, tool_call_parser="mistral") == ("mistral", "qwen3")


def test_a_base_without_files_has_no_parsers(tmp_path: Path) -> None:
    assert chosen(str(tmp_path / "nowhere")) == (None, None)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_damaged_files_choose_nothing(tmp_path: Path, text: str) -> None:
    model = base(tmp_path, chat_template=TEMPLATE)
    (tmp_path / "config.json").write_text(text)
    assert chosen(model) == (None, None)
