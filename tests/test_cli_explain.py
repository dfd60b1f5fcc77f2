"""nsightkit explain: the texts behind errors, from the package itself."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from nsightkit.cli import cli

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
SLUGS = re.findall(r"^## (\S+)$", PAGE.read_text(encoding="utf-8"), re.M)


def nsightkit(*arguments):
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.parametrize("slug", SLUGS)
def test_every_paragraph_of_the_page_is_told(slug):
    result = nsightkit("explain", slug)
    assert result.exit_code == 0
    title, _, text = result.stdout.partition("\n\n")
    assert title == slug
    assert text.strip() in PAGE.read_text(encoding="utf-8")
    assert len(text) > 40


def test_without_a_word_all_are_listed():
    lines = nsightkit("explain").stdout.splitlines()
    assert [line.partition(":")[0] for line in lines] == SLUGS == sorted(SLUGS)
    assert all(line.endswith(".") for line in lines)


def test_a_misspelt_word_is_answered_with_the_one_that_was_meant():
    result = nsightkit("explain", "not-comparble")
    assert result.exit_code == 2
    assert "did you mean 'not-comparable'?" in result.stderr


def test_a_message_names_the_command_that_explains_it(tmp_path):
    result = nsightkit("top", str(tmp_path / "nowhere"))
    last = result.stderr.strip().splitlines()[-1]
    assert last == "more: nsightkit explain no-such-file"
    assert nsightkit(*last.removeprefix("more: nsightkit ").split()).exit_code == 0


def test_an_installation_without_the_page_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("nsightkit.resources.PACKAGE", tmp_path)
    result = nsightkit("explain")
    assert result.exit_code == 1
    assert "install it again" in result.stderr
