"""What a generative judge's replies mean: read, combined over both orders, counted. No torch."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..data import Text
from .people_files import readable

TEMPLATE = """You compare two responses to one prompt. Say which one is better.

[Prompt]
{prompt}

[Response A]
{response_a}

[Response B]
{response_b}

Answer with one letter, A or B, or with the word tie if both are equally good."""
PATTERNS = {"a": r"\bA\b", "b": r"\bB\b", "tie": r"(?i:\btie\b)"}
FIRST, SECOND, TIE, UNREADABLE = "first", "second", "tie", "?"
_SHOWN = {"a": FIRST, "b": SECOND, "tie": TIE}
_LONGEST = 80  # characters of an unreadable reply that the ledger keeps
_PLACES = ("prompt", "response_a", "response_b")


class Verdict(NamedTuple):
    """One preference out of two replies."""

    preference: float | None  # 1 a, 0 b, 0.5 tie or the orders disagree; None: not readable
    note: str  # verdict in the order (a, b) and in the order (b, a), by the place shown


def fill(template: str, prompt: Text, responses: tuple[Text, Text]) -> str:
    """The template with the texts in it, put in at once: braces in a text mean nothing.

    >>> fill("{prompt}: {response_a} | {response_b}", "p", ("{response_b}", "y"))
    'p: {response_b} | y'
    """
    texts = dict(zip(_PLACES, map(readable, (prompt, *responses)), strict=True))
    return re.sub(r"\{(prompt|response_a|response_b)\}", lambda found: texts[found[1]], template)


def check_template(template: str) -> str | None:
    """What the template lacks or has too much, in words; None where it is whole."""
    places = set(re.findall(r"\{([A-Za-z_]\w*)\}", template))
    missing = [f"{{{name}}}" for name in _PLACES if name not in places]
    unknown = [f"{{{name}}}" for name in sorted(places.difference(_PLACES))]
    if missing:
        return f"a template without {', '.join(missing)}"
    return f"a template with {', '.join(unknown)}, which nothing fills" if unknown else None


def compile_patterns(verdicts: Any) -> dict[str, re.Pattern[str]]:
    """Regular expressions by verdict (a, b, and tie where the judge may say so).

    Raises ``ValueError`` in words where that is not what ``verdicts`` holds.
    """
    if not isinstance(verdicts, Mapping) or not {"a", "b"} <= set(verdicts) <= set(PATTERNS):
        raise ValueError(
            "found verdicts that do not name a and b (and tie, if at all); needed one regular "
            "expression each. Repair verdicts."
        )
    try:
        patterns = {str(k): re.compile(v) for k, v in verdicts.items()}
        if empty := [name for name, pattern in patterns.items() if pattern.search("")]:
            raise TypeError(f"that of {empty[0]!r} is found in an empty reply")
        return patterns
    except (re.error, TypeError) as error:
        raise ValueError(
            f"found a broken regular expression in verdicts ({error}); needed one each. Repair it."
        ) from error


def read_reply(reply: str, patterns: Mapping[str, re.Pattern[str]]) -> str:
    """FIRST, SECOND or TIE where exactly one pattern occurs in the reply, else UNREADABLE.

    >>> read_reply("B.", compile_patterns(PATTERNS)), read_reply("A or B", compile_patterns(PATTERNS))
    ('second', '?')
    """
    said = [name for name, pattern in patterns.items() if pattern.search(reply)]
    return _SHOWN[said[0]] if len(said) == 1 else UNREADABLE


def combine(replies: tuple[str, str], patterns: Mapping[str, re.Pattern[str]]) -> Verdict:
    """The preference out of the replies to (a, b) and to (b, a).

    The same response twice: that one. Different verdicts: a tie, 0.5. One unreadable: None.

    >>> combine(("A", "B"), compile_patterns(PATTERNS))  # a both times
    Verdict(preference=1.0, note='first second')
    >>> combine(("A", "A"), compile_patterns(PATTERNS))  # whatever stands first
    Verdict(preference=0.5, note='first first')
    """
    shown = [read_reply(reply, patterns) for reply in replies]
    note = " ".join(shown)
    if UNREADABLE in shown:
        return Verdict(None, f"{note}: {replies[shown.index(UNREADABLE)][:_LONGEST]!r}")
    agreed = {"first second": 1.0, "second first": 0.0}
    return Verdict(agreed.get(note, 0.5), note)


def order_bias(notes: Iterable[str]) -> dict[str, int]:
    """How often a judge, asked in both orders, agreed with itself; counted from the ledger's notes.

    "agree": the same response, or a tie, twice; "first", "second": whatever stood there; "torn": a
    tie once only; "unreadable".

    >>> order_bias(["first second", "first first", "tie first", "? tie: 'Well'"])
    {'agree': 1, 'first': 1, 'second': 0, 'torn': 1, 'unreadable': 1}
    """
    kinds = {"first second": "agree", "second first": "agree", "tie tie": "agree"}
    kinds |= {"first first": "first", "second second": "second"}
    count = Counter(
        "unreadable" if UNREADABLE in (said := note.split(":")[0]) else kinds.get(said, "torn")
        for note in notes
        if note
    )
    return {kind: count[kind] for kind in ("agree", "first", "second", "torn", "unreadable")}
