"""The laws of the house that a machine can check: imports one way, lists equal folders, small functions, units."""

import ast
import importlib
import re
from functools import cache
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
    "judging": {"errors", "ingest", "run", "analysis"},
    "loading": {"errors", "ingest", "run", "tables", "analysis", "report", "judging"},
    "rooflines": {"errors", "ingest", "analysis"},
    "__main__": {"cli"},
}
# Programs of their own, run by path in a child: they have an argv, an exit code and a log.
PROGRAMS = {"capture/ceilings_child.py", "capture/selfcheck_workload.py", "capture/torch_runner.py"}
# What draws or talks to a terminal, and the one place that may import it.
OUTPUT_LIBRARIES = {"matplotlib": {"report/figures.py"}, "rich": {"report/first_screen.py"}, "click": set()}
# Modules that are filled step by step while they read or place; all other records are frozen.
GROWING = {"ingest", "cli", "report/placing.py"}
GROWING |= {"analysis/ranges/range_summary.py", "analysis/compare/kernel_places.py"}


def room_of(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def nodes_of(path: Path, *kinds: type[ast.AST]) -> list[ast.AST]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, kinds)]


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imported_names(path: Path) -> list[str]:
    names = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "rooms are imported by their whole names"
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def imported_rooms(path: Path) -> set[str]:
    parts = [name.split(".") for name in imported_names(path)]
    rooms = {part[1] for part in parts if part[0] == "nsightkit" and len(part) > 1 and is_room(part[1])}
    return rooms - ({room_of(path)} if path.is_relative_to(PACKAGE) else set())


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
    tree = tree_of(path)
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
    nodes = nodes_of(path, ast.AST)
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    assert not called & {"print", "sys.exit", "exit", "quit", "os._exit", "click.echo"}
    if name_of(path) not in PROGRAMS:
        used = {ast.unparse(node) for node in nodes if isinstance(node, (ast.Attribute, ast.Name))}
        assert not used & {"SystemExit", "sys.argv", "sys.stdout", "sys.stderr"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_what_draws_stays_in_its_place(path):
    if room_of(path) == "cli":
        return
    found = {alias.name for node in nodes_of(path, ast.Import) for alias in node.names}
    found |= {node.module for node in nodes_of(path, ast.ImportFrom) if node.module}
    for library, places in OUTPUT_LIBRARIES.items():
        used = any(name.split(".")[0] == library for name in found)
        assert not used or name_of(path) in places, library


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_records_are_frozen(path):
    if {room_of(path), name_of(path)} & GROWING:
        return
    kinds = [(node.name, ast.unparse(mark)) for node in nodes_of(path, ast.ClassDef) for mark in node.decorator_list]
    assert not [name for name, mark in kinds if mark.startswith("dataclass") and "frozen=True" not in mark]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_written_under_a_temporary_name(path):
    if name_of(path) in PROGRAMS:
        return
    calls = [node for node in nodes_of(path, ast.Call) if isinstance(node.func, ast.Attribute)]
    written = [node.func.value for node in calls if node.func.attr in ("write_text", "write_bytes")]
    # A log is read while its child still writes.
    assert not [target for target in map(ast.unparse, written) if "partial" not in target and target != "log_path"]


def test_workloads_are_no_part_of_the_package():
    """They run by path where the package is installed or not; what they take from it is small and imported one way."""
    may = {"annotate", "analysis", "errors", "ingest"}
    scripts = sorted((PACKAGE.parent / "workloads").rglob("*.py"))
    assert {path.name: rooms - may for path in scripts if (rooms := imported_rooms(path)) - may} == {}
    for path in MODULES:
        assert "workloads" not in {name.split(".")[0] for name in imported_names(path)}


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


def test_rules_for_findings_on_the_list_are_those_in_the_folder():
    from nsightkit.analysis.findings import RULES

    assert sorted(RULES) == sorted(modules_with("analysis/finding_rules", "find"))


def test_rules_for_bounds_on_the_list_are_those_in_the_folder():
    from nsightkit.analysis.roofs.rules import RULES

    listed = {rule.__module__.rsplit(".", 1)[1] for rule in RULES.values()}
    assert sorted(listed) == sorted(modules_with("analysis/roofs/rules", "judge"))


def test_formulas_on_the_list_are_those_in_the_folder():
    from nsightkit.analysis.work.formulas import MODULES as listed

    names = [module.__name__.rsplit(".", 1)[1] for module in listed]
    assert sorted(names) == sorted(modules_with("analysis/work/formulas", "FORMULAS"))


def test_studies_on_the_list_are_those_in_the_folder():
    from nsightkit.report.studies import STUDIES

    assert sorted(STUDIES.values()) == sorted(modules_with("report/studies", "build"))


def modules_with(folder, *names):
    """The modules below `folder` that define every one of `names` at their top."""
    found = []
    for path in sorted((PACKAGE / folder).glob("*.py")):
        tree = tree_of(path)
        defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assigned = [n for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign)) for n in ast.walk(node)]
        defined |= {n.id for n in assigned if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        if set(names) <= defined and path.stem != "__init__":
            found.append(path.stem)
    return found


PRETTY_UNITS = re.compile(r"(_us|_ms|_[kmg]i?b|_[kmg]hz|_percent|flops)$")
# Counts and ratios that no unit belongs to, and columns whose unit stands in another column of the row.
UNITLESS = {"payload", "waves_per_sm", "registers_per_thread", "value", "warps_per_issue", "squared_deviation_ns2"}
UNITLESS |= {"duration_ratio", *(f"blocks_by_{limit}" for limit in ("registers", "shared_memory", "warps", "limit"))}
UNITLESS |= {"blocks_by_barriers"}


def test_units_are_in_the_names_of_columns():
    for table in tables.TABLES.values():
        for column in table.columns:
            assert not PRETTY_UNITS.search(column.name), f"{table.name}.{column.name}"
            assert not column.name.endswith("_s") or column.unit, f"{table.name}.{column.name}"
            assert column.dtype != "double" or column.unit or column.name in UNITLESS, f"{table.name}.{column.name}"
            assert column.unit == tables.unit_of(column.name), f"{table.name}.{column.name}"
            assert column.doc, f"{table.name}.{column.name}"
            assert not column.doc.endswith("."), f"{table.name}.{column.name}"
            assert column.dtype in ("string", "name", "int32", "int64", "double", "bool")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_units_in_the_names_of_fields_are_base_units(path):
    # What other tools printed keeps the unit they printed it in.
    if name_of(path) == "analysis/foreign_results.py":
        return
    fields = [
        part.target for kind in nodes_of(path, ast.ClassDef) for part in kind.body if isinstance(part, ast.AnnAssign)
    ]
    assert not [name for name in map(ast.unparse, fields) if PRETTY_UNITS.search(name)]


def test_every_table_starts_with_its_capture():
    for table in tables.TABLES.values():
        assert table.columns[0].name == "capture_id"
        assert len(set(table.column_names)) == len(table.columns)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_error_slugs_are_explained(path):
    errors = (PACKAGE.parent / "docs" / "errors.md").read_text(encoding="utf-8")
    slugs = re.findall(r'slug="([^"]+)"', path.read_text(encoding="utf-8"))
    assert not [slug for slug in slugs if f"\n## {slug}\n" not in errors]


def test_the_readme_names_every_command():
    from nsightkit.cli import COMMANDS

    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"`{name}`" not in readme]


def test_public_names_load():
    package = importlib.import_module("nsightkit")
    for name in package.__all__:
        assert getattr(package, name) is not None
    seen = {alias.name for node in nodes_of(PACKAGE / "__init__.py", ast.ImportFrom) for alias in node.names}
    assert seen - {"TYPE_CHECKING", "Any"} == set(package.__all__) - {"__version__"}
