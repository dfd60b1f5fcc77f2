"""Finds the data folders that travel with the package.

In: a folder's name (``templates``, ``workloads``, ``docs``). Out: its path, in an installed wheel or in a checkout.
"""

from pathlib import Path

from nsightkit.errors import NsightkitError

PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Return the folder `name` inside the package, or beside it in a checkout.

    Raises:
        NsightkitError: the installation is incomplete.
    """
    inside = PACKAGE / name
    if inside.is_dir():
        return inside
    beside = PACKAGE.parent / name
    # Without the project file beside it, the folder could be anybody's in site-packages.
    if (PACKAGE.parent / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    raise NsightkitError(
        f"the folder '{name}' is missing from this installation of nsightkit ({PACKAGE}); install it again",
        slug="broken-installation",
    )
