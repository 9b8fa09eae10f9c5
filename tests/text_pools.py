"""Small pools of text pairs made by hand, for teachers to be asked about."""

import math

import numpy as np

from activeduel.llm.data import TextPool
from activeduel.llm.teachers import Question

GAP = math.log(3)  # a reward difference whose win probability is 3/4


def pool(n=6, *, rewards=True, judgements=()):
    """n pairs, alternately of context "even" and "odd"; a is better by GAP."""
    pair, annotator, preference = zip(*judgements, strict=True) if judgements else ((), (), ())
    names = tuple(sorted(set(annotator)))
    return TextPool(
        pair_ids=tuple(f"pair {i}" for i in range(n)),
        prompts=tuple(f"prompt {i}" for i in range(n)),
        responses=tuple((f"left {i}", f"right {i}") for i in range(n)),
        context=np.arange(n) % 2,
        context_types=("even", "odd"),
        group=np.arange(n),
        gold=np.full(n, np.nan),
        rewards=np.tile([GAP, 0.0] if rewards else [np.nan, np.nan], (n, 1)),
        annotators=names,
        judged_pair=np.array(pair, dtype=np.int64),
        annotator=np.array([names.index(a) for a in annotator], dtype=np.int64),
        preference=np.array(preference, dtype=np.float64),
    )


def question(pool, pair, number=0, key=None):
    texts = pool.prompts[pair], pool.responses[pair]
    pair_id = pool.pair_ids[pair]
    return Question(
        key or f"{pair}/{number}", pair, number, pair_id, *texts, int(pool.context[pair])
    )


def said(teacher, questions):
    return {a.key: a.preference for a in teacher.answers(questions)}
