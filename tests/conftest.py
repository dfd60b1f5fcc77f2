"""What all tests share: the folder of real captures, the real tools, and one torch thread."""

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsightkit.resources import resource_dir

os.environ.setdefault("OMP_NUM_THREADS", "1")

PROJECT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("NSIGHTKIT_SHARED", PROJECT.parent / "shared"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PRIVATE_NSIGHT = Path.home() / ".cache" / "nsight" / "bin"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real captures; the test is skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real captures are not here: {SHARED / 'data'}")
    return SHARED / "data"


@pytest.fixture(scope="session")
def nsight_path() -> Path:
    """The folder with real nsys and ncu; the test is skipped where there is none."""
    if (PRIVATE_NSIGHT / "nsys").is_file():
        return PRIVATE_NSIGHT
    found = shutil.which("nsys")
    if found is None or shutil.which("ncu") is None:
        pytest.skip("no real nsys and ncu on PATH or in the private prefix")
    return Path(found).parent


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH besides those of the system's own commands."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a script in it, work.py."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "work.py").write_text("import sys\nprint('ran with', *sys.argv[1:])\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def workloads_on_path() -> Iterator[None]:
    """The workloads can be imported by name, and torch uses one thread; the test is skipped without torch."""
    torch = pytest.importorskip("torch")
    folder, threads = str(resource_dir("workloads")), torch.get_num_threads()
    sys.path.insert(0, folder)
    torch.set_num_threads(1)
    yield
    sys.path.remove(folder)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test is skipped where it or playwright is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def hears_signals() -> Iterator[None]:
    """Signals do what they do to a program in the foreground: a job in the background or under nohup ignores some."""
    usual = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}
    before = {
        number: signal.signal(number, usual[name])
        for name in usual
        if (number := getattr(signal, name, None)) is not None
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write what tests compare with tests/golden anew")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew; look at their differences afterwards."""
    return bool(request.config.getoption("--update-golden"))
