"""Did you mean …? For names of verbs, options and containers that are nearly right."""

from __future__ import annotations

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable


def suggestion(word: str, known: Iterable[str], show: Callable[[str], str]) -> str:
    """Return `; did you mean …?` with what `word` was probably meant to be, or nothing."""
    best, least = "", 3
    for candidate in known:
        if len(candidate) < 2:
            continue
        # What was left unfinished is likelier than what was misspelt.
        unfinished = len(word) > 2 and candidate.startswith(word)
        steps = 0 if unfinished else edits(word, candidate)
        if steps < min(least, len(word)) and steps <= len(candidate) // 3 + 1:
            best, least = candidate, steps
    return "; did you mean %s?" % show(best) if best else ""


def edits(one: str, other: str) -> int:
    """Return how many letters to insert, remove, replace or swap to get from `one` to `other`."""
    if abs(len(one) - len(other)) > 2:
        return 3
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def similar_container(root: str, container_id: str) -> str:
    """Return `; did you mean "ID"?` for a container in `root` with a name like this, or nothing."""
    try:
        known = sorted(posix.listdir(root))
    except OSError:
        return ""
    # Itself may be there by now, or be what is left of it.
    others = [name for name in known if name != container_id]
    return suggestion(container_id, others, lambda found: '"%s"' % found)
