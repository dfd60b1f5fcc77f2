"""Every command with what people give it by mistake: a line that says what is wrong, and one meaning of exit codes."""

import pytest
from click.testing import CliRunner

from nsightkit.cli import COMMANDS, cli

# Arguments of each command around the path that is wrong; None where a command takes no path.
CALLS = {
    "doctor": None, "selfcheck": None, "ceilings": None, "gpus": None, "model": None, "explain": None,
    "profile": ("profile", "{}"), "deepen": ("deepen", "{}"), "ingest": ("ingest", "{}"), "info": ("info", "{}"),
    "top": ("top", "{}"), "ranges": ("ranges", "{}"), "timeline": ("timeline", "{}"), "ranks": ("ranks", "{}"),
    "classify": ("classify", "{}"), "roofline": ("roofline", "{}"), "utilization": ("utilization", "{}"),
    "verdict": ("verdict", "{}"), "advice": ("advice", "{}"), "whatif": ("whatif", "{}", "--gpu", "h100-sxm"),
    "render": ("render", "{}"), "export": ("export", "{}"), "compare": ("compare", "{}", "{}"),
    "gate": ("gate", "{}", "{}", "--fail-on", "total_ns > +3%"), "baseline": ("baseline", "save", "x", "{}"),
    "sweep": ("sweep", "{}", "--axis", "a=1"), "study": ("study", "kernel-profile", "--from", "{}"),
}  # fmt: skip
TAKING_PATHS = sorted(name for name, call in CALLS.items() if call)
# A script may be called anything: these run a text file as one.
RUNNING = ("profile", "sweep")


def nsightkit(*arguments):
    return CliRunner().invoke(cli, list(arguments))


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def call(name, path):
    return nsightkit(*(word.replace("{}", path) for word in CALLS[name]))


def test_all_commands_are_walked():
    assert set(CALLS) == set(COMMANDS)


@pytest.mark.parametrize("path", ["missing.ncu-rep", "notes.txt", "empty"])
@pytest.mark.parametrize("name", TAKING_PATHS)
def test_a_wrong_path_is_named_and_explained(here, name, path):
    if path == "notes.txt" and name in RUNNING:
        pytest.skip("runs the file")
    result = call(name, path)
    # 1 says of a gate that something regressed.
    assert result.exit_code == (3 if name == "gate" else 1), result.output
    assert path in result.stderr
    said, last = result.stderr.strip().splitlines()[-2:]
    assert len(said) < 500
    assert last.startswith("more: nsightkit explain ")
    assert nsightkit(*last.split()[2:]).exit_code == 0
    if name == "gate":
        assert "not comparable" in result.stdout, "for machines that read its rows"
    else:
        assert result.stdout == ""
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_a_command_does_and_how_it_is_called(name):
    result = nsightkit(name, "--help")
    assert result.exit_code == 0
    text = result.stdout
    assert text.startswith("Usage: ")
    assert f"nsightkit {name}" in text.split("Options:")[0].partition("\n\n")[2], "no example before the options"
    assert max(map(len, text.splitlines())) <= 120
    assert nsightkit(name, "-h").stdout == text


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_option_is_wrong_usage(name):
    result = nsightkit(name, "--hlep")
    assert result.exit_code == 2
    assert "--hlep" in result.stderr
    assert "Did you mean" in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_command_is_answered_with_the_one_that_was_meant(name):
    result = nsightkit(f"{name}x")
    assert result.exit_code == 2
    assert f"did you mean '{name}'?" in result.stderr


@pytest.mark.parametrize(
    ("name", "made", "asked"), [("top", "run.sqlite", "run.sqlit"), ("compare", "before.csv", "befor.csv")]
)
def test_a_misspelt_file_is_answered_with_the_one_that_was_meant(here, tmp_path, name, made, asked):
    (tmp_path / made).write_text("x", encoding="utf-8")
    result = call(name, asked)
    assert f"did you mean {made}?" in result.stderr
    assert "did you mean" not in call(name, "quite-other").stderr


def test_a_misspelt_baseline_is_answered_with_the_one_that_was_meant(here, tmp_path):
    kept = tmp_path / "baselines" / "main"
    kept.mkdir(parents=True)
    (kept / "baseline.json").write_text("{}", encoding="utf-8")
    assert "did you mean baselines/main?" in call("compare", "mian").stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [("nsightkit base", "baseline"), ("nsightkit gate a b --fail", "--fail-on"), ("nsightkit gate ma", "main"),
     ("nsightkit top --form", "--format"), ("nsightkit top --format js", "json")],
)  # fmt: skip
def test_shells_complete_commands_options_and_baselines(here, tmp_path, words, offered):
    from click.shell_completion import BashComplete

    kept = tmp_path / "baselines" / "main"
    kept.mkdir(parents=True)
    (kept / "baseline.json").write_text("{}", encoding="utf-8")
    *before, last = words.split()[1:]
    items = BashComplete(cli, {}, "nsightkit", "_NSIGHTKIT_COMPLETE").get_completions(before, last)
    assert offered in [item.value for item in items]


def test_what_commands_offer_is_what_the_analysis_knows():
    """Commands write their choices out, as `--help` must not load the analysis."""
    from nsightkit.analysis.roofs.levels import PRECISIONS
    from nsightkit.analysis.roofs.rules import RULES
    from nsightkit.analysis.work.paper_model import DTYPES

    def choices(name, option):
        command = cli.get_command(None, name)
        return set(next(found.type.choices for found in command.params if found.name == option))

    assert choices("classify", "rule") == choices("render", "rule") == set(RULES)
    assert choices("roofline", "precision") == set(PRECISIONS)
    assert choices("roofline", "dtype") == choices("utilization", "dtype") == choices("model", "dtype") == set(DTYPES)
