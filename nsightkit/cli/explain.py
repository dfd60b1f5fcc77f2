"""``nsightkit explain``: what stands behind an error, also where no documentation was installed."""

import click

from nsightkit.errors import NsightkitError


@click.command("explain")
@click.argument("word", required=False)
def command(word: str | None) -> None:
    """Say more about the error called WORD, as the last line of a message names it; without WORD list all.

    The same texts are docs/errors.md.

    \b
    nsightkit explain not-comparable
    nsightkit explain
    """
    paragraphs = _paragraphs()
    if word is None:
        click.echo("\n".join(f"{slug}: {_first_sentence(text)}" for slug, text in paragraphs.items()))
        return
    if word not in paragraphs:
        raise click.UsageError(f"no error is called '{word}'; {_meant(word, paragraphs)}")
    click.echo(f"{word}\n\n{paragraphs[word]}")


def _paragraphs() -> dict[str, str]:
    """Return slug -> text, in the order of the page.

    Raises:
        NsightkitError: the installation is incomplete.
    """
    from nsightkit.resources import resource_dir

    path = resource_dir("docs") / "errors.md"
    try:
        parts = path.read_text(encoding="utf-8").split("\n## ")[1:]
    except OSError as error:
        raise NsightkitError(f"{path}: cannot be read ({error.strerror})", slug="broken-installation") from None
    return {slug.strip(): text.strip() for slug, _, text in (part.partition("\n") for part in parts)}


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].rstrip(".") + "."


def _meant(word: str, known: dict[str, str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1)
    return f"did you mean '{near[0]}'?" if near else "'nsightkit explain' lists all"
