"""Rows of the simulator's loops: the compiled kernel against the plain loop, decision by decision.

The commands ``python -m activeduel.benchmarks.labelling`` and ``...dueling`` say where the time goes.
"""

from functools import partial

from ..sim import LABELLING, PoolTrajectories
from . import dueling, labelling
from .measure import race
from .row import Answer, Outcome, Row

ROUNDS = 4000  # dueling: the plain loop takes its time


def _same(same: bool) -> Answer:
    return Answer(same, {}, "" if same else "kernel and plain loop decided differently")


def labelling_loop() -> Outcome:
    """2,000 labels of the dual rule, seed 0, one core."""
    pool = labelling.a_pool()

    def run(engine: str) -> PoolTrajectories:
        return labelling.one_replicate("dual", pool, 0, engine)[1]

    run("kernel")  # compiles
    found = race(partial(run, "kernel"), partial(run, "plain"))
    label = found.ours.median / labelling.LABELS
    cells = labelling.mean_distinct_cells(found.peer_answer)
    parts = labelling.stages(LABELLING["dual"].rule, pool, label, cells)
    floor = labelling.LABELS * sum(part.flops for part in parts) / labelling.multiply_add_rate()
    same = bool((found.answer.picks == found.peer_answer.picks).all())
    return Outcome(found.ours, found.peer, found.ratio, floor, _same(same))


def dueling_loop() -> Outcome:
    """4,000 rounds of APPO, seed 0, one core."""
    world, options = dueling.the_world(), {**dueling.OPTIONS["appo"], "record": ROUNDS}
    dueling.play("appo", world, 10, 0, **dueling.OPTIONS["appo"])  # compiles
    found = race(
        lambda: dueling.play("appo", world, ROUNDS, 0, **options)[1],
        lambda: dueling.play("appo", world, ROUNDS, 0, engine="plain", **options)[1],
    )
    ours, plain = found.answer, found.peer_answer
    same = bool((ours.queried == plain.queried).all() and (ours.regret == plain.regret).all())
    floor = dueling.draws_seconds(ROUNDS)
    return Outcome(found.ours, found.peer, found.ratio, floor, _same(same))


ROWS = (
    Row(
        "labelling/dual",
        f"{labelling.LABELS:,} labels from {labelling.PAIRS} pairs, {labelling.TEACHERS} teachers, "
        f"d = {labelling.DIM}",
        "plain loop",
        "its flops, counted, at the core's best rate of multiply-adds",
        labelling_loop,
    ),
    Row(
        "dueling/appo",
        f"{ROUNDS:,} rounds, {dueling.PROMPTS} prompts, {dueling.ACTIONS} actions, "
        f"d = {dueling.DIM}",
        "plain loop",
        "the two draws of every round, nothing else",
        dueling_loop,
    ),
)
