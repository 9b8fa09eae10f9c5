"""simulate(algorithm, world, ...): replicates of an algorithm in a world with known truth."""

from __future__ import annotations

from typing import Any, overload

import numpy as np  # noqa: F401  (for the examples)
from numpy.typing import ArrayLike

from ..theory.checks import one_of, whole_number
from .algorithms import ALGORITHMS, DUELING, LABELLING, Dueling, Labelling
from .dueling import play_rounds
from .labelling import label_pools
from .stream import StreamingWorld
from .threads import Progress
from .trajectories import DuelTrajectories, PoolTrajectories, Trajectories
from .world import DuelingWorld, PairPool


@overload
def simulate(
    algorithm: str | Labelling,
    world: PairPool,
    *,
    horizon: int,
    replicates: int,
    seed: int,
    workers: int = 1,
    device: str = "cpu",
    checkpoints: ArrayLike | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> PoolTrajectories: ...


@overload
def simulate(
    algorithm: str | Dueling,
    world: DuelingWorld | StreamingWorld,
    *,
    horizon: int,
    replicates: int,
    seed: int,
    workers: int = 1,
    device: str = "cpu",
    checkpoints: ArrayLike | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> DuelTrajectories: ...


def simulate(
    algorithm: str | Labelling | Dueling,
    world: PairPool | DuelingWorld | StreamingWorld,
    *,
    horizon: int,
    replicates: int,
    seed: int,
    workers: int = 1,
    device: str = "cpu",
    checkpoints: ArrayLike | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Trajectories:
    """Run ``replicates`` independent replicates of ``algorithm`` for ``horizon`` labels or rounds.

    A draw is named by (seed, replicate, label or round), so the result does not depend on
    ``workers``, nor on ``device`` ("cpu" or "cuda") but for ties that the last bits decide; "cuda"
    runs what has a kernel there, on one NVIDIA GPU, and says so of what has none. ``checkpoints`` (c,) are the counts of labels or rounds at which results are reported
    (default: 12, spaced by equal factors). ``progress`` is called with the number of replicates just
    finished. Options everywhere: ``engine="kernel"`` or ``"plain"``; ``first_replicate=0``, the number
    of the first replicate.

    On a pool the horizon counts labels. ``batch=1`` questions per refit; ``warm_up`` uniformly random
    (pair, teacher) labels first, counted in the horizon (default 4 d); ``ridge=1e-2`` in every fit and
    information while selecting; ``final_ridge=0`` in the reported estimates; ``assumed_rationality``
    and ``selector_rationality`` (m, K), what estimator and selector believe (default: the truth; the
    selector's default is the estimator's).

    On a dueling world or a stream it counts rounds. Besides the algorithm's own options (see its
    file): ``refit_growth`` >= 1, theta is refitted when det gram has grown by this factor (default 1,
    after every query, on a finite world, and 1.02 on a stream); ``record=0``, how many queries are
    written down in full; ``update_gram=True``, False only as a negative control. On a stream appo and
    oppo always run plain: their policy on a new prompt needs all past rounds.

    Raises ``ValueError`` on unknown algorithms and options, on a horizon above the capacity, and where
    ``device="cuda"`` cannot be. Ctrl-C on a GPU is ``KeyboardInterrupt`` with the finished replicates
    in its ``trajectories``.

    >>> from activeduel.sim import PairPool, Teachers
    >>> pool = PairPool.synthetic(50, 3, 1, Teachers([[1.0]]), np.random.default_rng(0))
    >>> simulate("dual", pool, horizon=40, replicates=2, seed=1).theta.shape
    (2, 3)
    >>> world = DuelingWorld.with_gap(4, 3, 2, 0.5, np.random.default_rng(0))
    >>> simulate("appo", world, horizon=40, replicates=2, seed=1, radius=5.0).regret.shape
    (2, 12)
    """
    one_of("device", device, ["cpu", "cuda"])
    replicates = whole_number("replicates", replicates, low=1)
    workers = whole_number("workers", workers, low=1)
    common = (horizon, replicates, seed, workers, device, checkpoints, progress, options)
    if isinstance(world, PairPool):
        return label_pools(_known(algorithm, LABELLING, Labelling, "a PairPool"), world, *common)
    if isinstance(world, DuelingWorld | StreamingWorld):
        return play_rounds(_known(algorithm, DUELING, Dueling, "a dueling world"), world, *common)
    raise ValueError(
        f"world: found {type(world).__name__}, needed a PairPool, DuelingWorld or StreamingWorld."
    )


def _known(algorithm: Any, known: dict[str, Any], kind: type, where: str) -> Any:
    """The algorithm named, or as given; a ``ValueError`` where it does not belong to the world."""
    if isinstance(algorithm, str):
        one_of("algorithm", algorithm, list(ALGORITHMS))
        if algorithm in known:
            return known[algorithm]
    elif isinstance(algorithm, kind):
        return algorithm
    found = repr(algorithm) if isinstance(algorithm, str) else type(algorithm).__name__
    raise ValueError(f"algorithm: found {found}, needed on {where} one of {', '.join(known)}.")
