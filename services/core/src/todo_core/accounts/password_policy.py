"""Which passwords are refused because they are guessed first (NIST SP 800-63B, section 5.1.1.2).

common_passwords.txt holds the words: those of zxcvbn 4.5.0's list of leaked passwords (MIT licence; its 30,000 most
frequent), brought to the form of `_core`, and a few dozen that are frequent in China. It is kept as one text: a set of
its words would take 20 times the memory, and a search takes 30 microseconds.
"""

import unicodedata
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise

_FEWEST_DISTINCT = 5
_LONGEST_DECORATION = 8
"""Characters around a word that make it no better: `Password123!`. More than these are a password by themselves."""
_LETTER_FOR = str.maketrans("0134578@$!", "oieastbasi")


def is_guessed_first(password: str) -> bool:
    """Tell whether a password repeats, counts, or is a common word, with or without digits around it."""
    text = _folded(password)
    steps = [ord(second) - ord(first) for first, second in pairwise(text)]
    counts = max((sum(step == way for step in steps) for way in (1, -1)), default=0)
    return (
        len(set(text)) < _FEWEST_DISTINCT
        or counts >= len(text) - 3
        or any(f" {form} " in _common() for form in {text, _core(text), _core(_once(text))} if form and " " not in form)
    )


def is_own_word(password: str, username: str, email: str) -> bool:
    """Tell whether a password is the account's name or address, with or without digits around it."""
    given = _folded(password)
    return any(
        _plain(given) == _plain(word) or (_core(word) and _core(given) == _core(word))
        for word in (_folded(username), _folded(email), _folded(email).partition("@")[0])
    )


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


def _core(text: str) -> str:
    """The word in a folded text: without a few characters around it, without separators, once where it repeats."""
    start, end = 0, len(text)
    while start < end and not text[start].isalpha():
        start += 1
    while end > start and not text[end - 1].isalpha():
        end -= 1
    if start + len(text) - end > _LONGEST_DECORATION:
        start, end = 0, len(text)
    return _once(_plain(text[start:end].translate(_LETTER_FOR)))


def _once(text: str) -> str:
    """Return the unit that a text repeats; the whole text where it repeats nothing."""
    period = (text + text).find(text, 1)
    return text[:period] if 0 < period < len(text) else text


@lru_cache(maxsize=1)
def _common() -> str:
    words = files("todo_core.accounts").joinpath("common_passwords.txt").read_text(encoding="utf-8").split()
    return f" {' '.join(words)} "
