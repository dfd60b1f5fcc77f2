"""The laws of the house that a machine can check: imports one way, lists equal folders, small functions, units."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from nsightkit import tables

PACKAGE = Path(__file__).resolve().parent.parent / "nsightkit"
MODULES = sorted(PACKAGE.rglob("*.py"))
BASE = {"errors", "tables", "gpus", "metrics", "run", "resources"}

# Room -> the rooms of ours that it may import.
MAY_IMPORT = {
    **{room: {"errors"} for room in BASE},
    "errors": set(),
    "parquet": {"errors", "tables"},
    "baseline": {"errors", "run", "tables", "parquet"},
    "annotate": set(),
    "capture": {"errors", "run", "resources"},
    "ingest": {"errors", "run", "tables", "parquet", "metrics"},
    "analysis": {"errors", "tables", "gpus", "metrics"},
    "report": {"errors", "analysis", "tables", "run", "resources"},
    "loading": {"errors", "ingest", "run", "tables", "analysis", "report"},
    "rooflines": {"errors", "ingest", "analysis"},
    "__main__": {"cli"},
}


def room_of(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "nsightkit" and len(parts) > 1 and is_room(parts[1]):
                rooms.add(parts[1])
    return rooms - {room_of(path)}


def is_room(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    room = room_of(path)
    if room in ("cli", "__init__"):
        return
    assert imported_rooms(path) <= MAY_IMPORT[room]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_says_what_it_is_and_is_small(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    code = [line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert ast.get_docstring(tree), "no docstring"
    assert len(code) <= 400, f"{len(code)} lines"
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            lines = node.end_lineno - node.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)
            assert lines <= 40, f"{node.name}: {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_command_line_prints_and_exits(path):
    if room_of(path) in ("cli", "__main__"):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert not called & {"print", "sys.exit", "exit", "quit", "os._exit", "click.echo"}


def test_readers_on_the_list_are_the_readers_in_the_folder():
    from nsightkit.ingest.sources import READERS

    assert sorted(READERS) == sorted(modules_with("ingest", "read", "recognizes"))


def test_commands_on_the_list_are_the_commands_in_the_folder():
    from nsightkit.cli import COMMANDS

    assert sorted(COMMANDS) == sorted(modules_with("cli", "command"))


def test_backends_on_the_list_are_the_backends_in_the_folder():
    from nsightkit.capture import BACKENDS

    assert sorted(BACKENDS) == sorted(modules_with("capture", "capture_workload"))


def test_sections_on_the_list_are_the_sections_in_the_folder():
    from nsightkit.report.sections import SECTIONS

    listed = {section if isinstance(section, str) else section.__module__.rsplit(".", 1)[1] for section in SECTIONS}
    assert sorted(listed) == sorted(modules_with("report/sections", "build"))


def modules_with(folder, *names):
    """The modules below `folder` that define every one of `names` at their top."""
    found = []
    for path in sorted((PACKAGE / folder).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        defined |= {
            t.id for node in tree.body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)
        }
        if set(names) <= defined and path.stem != "__init__":
            found.append(path.stem)
    return found


def test_units_are_in_the_names_of_columns():
    for table in tables.TABLES.values():
        for column in table.columns:
            assert column.unit == tables.unit_of(column.name), f"{table.name}.{column.name}"
            assert column.doc, f"{table.name}.{column.name}"
            assert not column.doc.endswith("."), f"{table.name}.{column.name}"
            assert column.dtype in ("string", "name", "int32", "int64", "double", "bool")


def test_every_table_starts_with_its_capture():
    for table in tables.TABLES.values():
        assert table.columns[0].name == "capture_id"
        assert len(set(table.column_names)) == len(table.columns)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_error_slugs_are_explained(path):
    errors = (PACKAGE.parent / "docs" / "errors.md").read_text(encoding="utf-8")
    slugs = re.findall(r'slug="([^"]+)"', path.read_text(encoding="utf-8"))
    assert not [slug for slug in slugs if f"\n## {slug}\n" not in errors]


def test_public_names_load():
    package = importlib.import_module("nsightkit")
    for name in package.__all__:
        assert getattr(package, name) is not None
