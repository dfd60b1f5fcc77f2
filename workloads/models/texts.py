"""Finds the token ids on which perplexity is measured.

In: a folder of weights, and a text or ids that lie on disk. Out: ids. A real model is measured only with its own
tokenizer: with another one its perplexity would mean nothing.
"""

from pathlib import Path

import numpy as np

from models.checkpoint import FOLDER, load_tokenizer, split_corpus
from models.weights import is_own


def ids_of(weights: Path, text: Path | None, ids: Path | None) -> list[int]:
    """Return the token ids of the file `text` or `ids`, else of the text that comes with nsightkit.

    Raises:
        ValueError: the folder has no tokenizer that can be used here; the message says what would do.
        OSError: a file cannot be read.
    """
    if ids is not None:
        return _stored(ids)
    if is_own(weights):
        return load_tokenizer(weights).encode(_read(text) if text else split_corpus(weights)[1])
    return _published(weights, _read(text) if text else split_corpus(FOLDER)[1])


def _read(text: Path) -> str:
    try:
        return text.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{text} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{text} is not UTF-8 text") from None


def _stored(path: Path) -> list[int]:
    """Return ids from a .npy file, or from 16-bit numbers as nanoGPT's val.bin holds them."""
    try:
        found = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.fromfile(path, dtype=np.uint16)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, EOFError):
        # NumPy's own words for a file that is no .npy advise to unpickle it, which would run what it holds.
        raise ValueError(f"{path} is no .npy file of plain numbers") from None
    if found.ndim != 1 or not np.issubdtype(found.dtype, np.integer) or not found.size:
        raise ValueError(f"{path} is not one row of token ids")
    return found.tolist()


def _published(folder: Path, text: str) -> list[int]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} has no tokenizer.json; put the model's there, or give the ids of a text with --ids FILE "
            "(nanoGPT's val.bin, or .npy)"
        )
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise ValueError(
            "tokenizer.json needs the package tokenizers: pip install tokenizers, or give ids with --ids FILE"
        ) from None
    return Tokenizer.from_file(str(path)).encode(text).ids
