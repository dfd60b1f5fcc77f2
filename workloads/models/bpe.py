"""Byte-pair encoding: text to token ids and back.

In: a text to learn from, or merges that were learned. Out: `Tokenizer`. Merges never cross the border of a word, which
keeps learning and encoding simple. Source: Sennrich, Haddow and Birch (2016), arXiv 1508.07909.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

_WORDS = re.compile(rb" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s")
_Pair = tuple[int, int]


@dataclass(frozen=True)
class Tokenizer:
    """The bytes that are tokens of their own, in order, and the pairs that became tokens, in order."""

    alphabet: bytes
    merges: tuple[_Pair, ...]

    @property
    def vocabulary(self) -> int:
        """How many tokens there are."""
        return len(self.alphabet) + len(self.merges)

    @cached_property
    def _pieces(self) -> list[bytes]:
        pieces = [bytes([byte]) for byte in self.alphabet]
        for left, right in self.merges:
            pieces.append(pieces[left] + pieces[right])
        return pieces

    @cached_property
    def _ranks(self) -> dict[_Pair, int]:
        return {pair: rank for rank, pair in enumerate(self.merges)}

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`.

        Raises:
            ValueError: a byte of it is not in the alphabet.
        """
        return [token for word in _WORDS.findall(text.encode()) for token in self._word(word)]

    def decode(self, ids: list[int]) -> str:
        """Return the text of `ids`."""
        return b"".join(self._pieces[token] for token in ids).decode("utf-8", "replace")

    @cached_property
    def _word(self):
        return lru_cache(maxsize=None)(self._split)

    def _split(self, word: bytes) -> tuple[int, ...]:
        unknown = set(word) - set(self.alphabet)
        if unknown:
            raise ValueError(
                f"the text has {bytes([min(unknown)])!r}, which is not among the {len(self.alphabet)} bytes that this "
                "tokenizer knows: leave it out of the text, or name the --weights of a model whose tokenizer knows it"
            )
        ids = [self.alphabet.index(byte) for byte in word]
        while len(ids) > 1:
            rank, pair = min((self._ranks.get(pair, len(self.merges)), pair) for pair in pairwise(ids))
            if rank == len(self.merges):
                break
            ids = _merged(ids, pair, len(self.alphabet) + rank)
        return tuple(ids)

    def to_json(self) -> str:
        """Return the tokenizer as JSON."""
        return json.dumps({"alphabet": list(self.alphabet), "merges": self.merges})

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Return the tokenizer that `to_json` wrote."""
        data = json.loads(text)
        return cls(bytes(data["alphabet"]), tuple((left, right) for left, right in data["merges"]))


def learn(text: str, vocabulary: int) -> Tokenizer:
    """Return a tokenizer with `vocabulary` tokens, or fewer where no pair occurs twice."""
    words = Counter(_WORDS.findall(text.encode()))
    alphabet = bytes(sorted(set(text.encode())))
    split = [([alphabet.index(byte) for byte in word], count) for word, count in words.items()]
    merges: list[_Pair] = []
    while len(alphabet) + len(merges) < vocabulary:
        pairs: Counter[_Pair] = Counter()
        for ids, count in split:
            for pair in pairwise(ids):
                pairs[pair] += count
        # The smaller pair wins a tie, so that one text gives one tokenizer.
        best, count = max(pairs.items(), key=lambda item: (item[1], (-item[0][0], -item[0][1])), default=(None, 0))
        if best is None or count < 2:
            break
        token = len(alphabet) + len(merges)
        merges.append(best)
        split = [(_merged(ids, best, token), count) for ids, count in split]
    return Tokenizer(alphabet, tuple(merges))


def _merged(ids: list[int], pair: _Pair, token: int) -> list[int]:
    merged, place = [], 0
    while place < len(ids):
        if tuple(ids[place : place + 2]) == pair:
            merged.append(token)
            place += 2
        else:
            merged.append(ids[place])
            place += 1
    return merged
