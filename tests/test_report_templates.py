"""Compiled templates: kept as Python keeps its bytecode, never stale, never in the way."""

import sys

import pytest
from jinja2 import UndefinedError

from nsightkit.report.templates import make_environment


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    (tmp_path / "page.html.j2").write_text("<p>{{ name }}</p>", encoding="utf-8")
    (tmp_path / "page.md.j2").write_text("{{ name }}", encoding="utf-8")
    return tmp_path


def rendered(folder, template="page.html.j2", **values):
    return make_environment(folder).get_template(template).render(values)


def test_a_compiled_template_is_kept_and_used_again(folder):
    assert rendered(folder, name="a") == "<p>a</p>"
    (kept,) = (folder / "__pycache__").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert rendered(folder, name="b") == "<p>b</p>"
    assert kept.stat().st_mtime_ns == stamp


def test_a_changed_template_is_compiled_anew(folder):
    rendered(folder, name="a")
    (folder / "page.html.j2").write_text("<b>{{ name }}</b>", encoding="utf-8")
    assert rendered(folder, name="a") == "<b>a</b>"


def test_a_damaged_cache_is_not_believed(folder):
    rendered(folder, name="a")
    (kept,) = (folder / "__pycache__").iterdir()
    kept.write_bytes(b"garbage")
    assert rendered(folder, name="a") == "<p>a</p>"


def test_nothing_is_kept_where_python_keeps_nothing(folder, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert rendered(folder, name="a") == "<p>a</p>"
    assert not (folder / "__pycache__").exists()


def test_a_folder_that_cannot_be_written_is_no_error(folder):
    (folder / "__pycache__").write_text("a file is in the way", encoding="utf-8")
    assert rendered(folder, name="a") == "<p>a</p>"


def test_pages_are_escaped_and_markdown_is_left_to_its_filters(folder):
    assert rendered(folder, name="<b>") == "<p>&lt;b&gt;</p>"
    assert rendered(folder, "page.md.j2", name="<b>") == "<b>"


def test_an_unknown_name_is_an_error(folder):
    with pytest.raises(UndefinedError):
        rendered(folder)
