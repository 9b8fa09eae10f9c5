"""A machine-made text world: prompts, pairs of answers with a known reward, three teachers.

    python -m activeduel.llm.text_world OUT [--pairs 1500] [--seed 0] [--model demo]

OUT gets ``pool.jsonl`` and ``judgements.csv``, and with ``--model`` the folder ``model``, a language
model built on the spot (no download). The texts are words without grammar: a world whose truth is
known, not an imitation of language.
"""

import argparse
import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from .._durable import write_atomically
from .config import DataOptions, TeacherOptions

TOPICS = {  # context type -> words that any answer on it may hold; they neither help nor harm
    "cooking": ["rice", "pan", "oven", "soup", "salt", "bread", "onion", "sauce", "dough", "stove"],
    "repair": ["screw", "hinge", "pipe", "wire", "motor", "valve", "panel", "drill", "bolt"],
    "travel": ["train", "ticket", "hotel", "border", "map", "bag", "ferry", "bus", "museum"],
}
WORDS = {  # property -> words that carry it
    "steps": ["first", "then", "next", "after", "place", "check", "fix", "open"],
    "figures": ["three", "half", "minutes", "metres", "grams", "degrees", "exactly", "percent"],
    "reasons": ["because", "so", "therefore", "since", "hence", "thus"],
    "hedges": ["maybe", "perhaps", "might", "could", "guess", "hm"],
    "chatter": ["weather", "cousin", "movie", "gossip", "cat", "joke", "song", "funny"],
    "warnings": ["careful", "danger", "never", "warning"],
    "insults": ["stupid", "idiot", "boring", "ugly"],
}
WEIGHTS = {  # reward of an answer made of that property alone
    "steps": 4.0,
    "figures": 6.0,
    "reasons": 3.0,
    "hedges": -4.0,
    "chatter": -6.0,
    "warnings": 12.0,
    "insults": -14.0,
}
LENGTH_WEIGHT = 1.5  # reward of an answer e times as long
_RARE = ("warnings", "insults")  # in one answer out of eight
_LENGTHS = (8, 25)  # words of an answer, the last one not included
_PAIRS_PER_PROMPT = 3
_ASKS = ("how do i handle", "what about", "explain", "help me with", "tell me about", "where goes")
_TIMES = ("today", "quickly", "alone", "at night", "for a friend", "without tools", "again")
_FEWEST = min(map(len, TOPICS.values()))  # words of the topic with the fewest prompts
_PROMPTS = len(TOPICS) * _FEWEST * (_FEWEST - 1) * len(_ASKS) * len(_TIMES)  # different ones
MOST = _PROMPTS * _PAIRS_PER_PROMPT

TEACHERS = (
    TeacherOptions("crowd", "simulated", 0.5, {"cooking": 0.5, "travel": 0.5, "repair": 0.5}),
    TeacherOptions("chef", "simulated", 1.0, {"cooking": 2.0, "travel": 0.8, "repair": 0.3}),
    TeacherOptions("engineer", "simulated", 1.5, {"cooking": 0.3, "travel": 1.0, "repair": 3.0}),
)


def data_options(folder: Path, **changes: Any) -> DataOptions:
    """The options that read this world with its judgements, gold, rewards and context types."""
    columns = {"context_column": "context", "gold_column": "gold", "reward_column": "reward"}
    files = {"dataset_name": str(folder / "pool.jsonl")}
    return DataOptions(
        **{**files, "judgements": str(folder / "judgements.csv"), **columns, **changes}
    )


def reward(answer: str) -> float:
    """Hidden reward of an answer: sum of weight x share of its words, + 1.5 log(words / 8).

    >>> reward("rice pan oven soup salt bread onion first")          # one step among eight words
    0.5
    >>> round(reward("rice pan oven soup salt bread onion idiot") + 1.75, 9)
    0.0
    """
    words = answer.split()
    count = {name: sum(word in kind for word in words) for name, kind in WORDS.items()}
    content = sum(WEIGHTS[name] * count[name] for name in WORDS) / len(words)
    return content + LENGTH_WEIGHT * math.log(len(words) / _LENGTHS[0])


def write_world(
    out: Path, *, pairs: int = 1500, seed: int = 0, conversational: bool = True
) -> Path:
    """Write ``pool.jsonl`` and ``judgements.csv`` (each teacher once on each pair) to ``out``.

    Every prompt has three pairs. Half of the pairs are near copies: the answers differ in one to
    three words, as two samples of one model often do. Longer answers are slightly better.
    ``conversational`` writes lists of messages, else plain strings. The same arguments give the
    same files. Raises ``ValueError`` for fewer than 12 pairs, or more than ``MOST``.
    """
    if not 12 <= pairs <= MOST:
        raise ValueError(
            f"pairs: found {pairs}; needed 12 to {MOST}, three a prompt, of which there are not more. "
            "Change it."
        )
    if seed < 0:
        raise ValueError(f"seed: found {seed}; needed 0 or more. Change it.")
    rng = np.random.default_rng(seed)
    rows = list(world_rows(pairs, rng))
    judgements = io.StringIO()
    table = csv.writer(judgements, lineterminator="\n")
    table.writerow(["pair_id", "annotator", "preference"])
    for row in rows:
        gap = row["reward_a"] - row["reward_b"]
        for teacher in TEACHERS:
            (rationality,) = teacher.rationality_in([row["context"]])
            says_a = rng.random() < expit(rationality * gap)
            table.writerow([row["pair_id"], teacher.name, int(says_a)])
    if conversational:
        for row in rows:
            row["prompt"] = message("user", row["prompt"])
            for side in ("response_a", "response_b"):
                row[side] = message("assistant", row[side])
    out.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(out / "pool.jsonl", lines.encode())
    write_atomically(out / "judgements.csv", judgements.getvalue().encode())
    return out


def message(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def world_rows(pairs: int, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """The world's pairs as plain strings, with everything known of them."""
    prompts = _prompts(-(-pairs // _PAIRS_PER_PROMPT), rng)
    for number in range(pairs):
        context, prompt = prompts[number // _PAIRS_PER_PROMPT]
        a = _answer(context, rng)
        b = _near_copy(a, context, rng) if rng.random() < 0.5 else _answer(context, rng)
        reward_a, reward_b = reward(a), reward(b)
        yield {
            "pair_id": f"p{number:05d}",
            "context": context,
            "prompt": prompt,
            "response_a": a,
            "response_b": b,
            "reward_a": reward_a,
            "reward_b": reward_b,
            "gold": 0.5 if reward_a == reward_b else float(reward_a > reward_b),
        }


def _prompts(count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Different prompts, context types in turn."""
    found: dict[str, str] = {}
    while len(found) < count:
        context = list(TOPICS)[len(found) % len(TOPICS)]
        one, two = rng.choice(TOPICS[context], 2, replace=False)
        ask, time = rng.choice(_ASKS), rng.choice(_TIMES)
        found.setdefault(f"{ask} the {one} and the {two} {time} ?", context)
    return [(context, prompt) for prompt, context in found.items()]


def _answer(context: str, rng: np.random.Generator) -> str:
    return " ".join(_words(context, int(rng.integers(*_LENGTHS)), rng))


def _words(context: str, length: int, rng: np.random.Generator) -> list[str]:
    """Words of properties drawn in shares of this answer's own."""
    names = [name for name in WORDS if name not in _RARE or rng.random() < 0.125]
    shares = rng.dirichlet([2.0] + [0.5] * len(names))
    kinds = [TOPICS[context], *(WORDS[name] for name in names)]
    chosen = rng.choice(len(kinds), size=length, p=shares)
    return [kinds[k][int(rng.integers(len(kinds[k])))] for k in chosen]


def _near_copy(answer: str, context: str, rng: np.random.Generator) -> str:
    """The answer with one to three words replaced; never the same text again."""
    words = answer.split()
    while " ".join(words) == answer:
        for new in _words(context, int(rng.integers(1, 4)), rng):
            words[int(rng.integers(len(words)))] = new
    return " ".join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m activeduel.llm.text_world",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--pairs", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", choices=["demo", "test"], help="also a model, in OUT/model")
    options = parser.parse_args(arguments)
    try:
        write_world(options.out, pairs=options.pairs, seed=options.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{options.out}: pool.jsonl ({options.pairs} pairs), judgements.csv")
    if options.model:
        from .tiny_model import DEMO_STEPS, write_model

        steps = DEMO_STEPS if options.model == "demo" else 0
        write_model(options.out / "model", size=options.model, seed=options.seed, steps=steps)
        print(f"{options.out / 'model'}: a model of size {options.model!r}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
