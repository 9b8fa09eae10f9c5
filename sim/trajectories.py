"""What replicates did, at checkpoints: in pools of pairs, and on dueling worlds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ..theory.checks import Floats, Ints

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class Trajectories:
    """R replicates at c checkpoints; the two kinds of world add their own."""

    rounds: Ints  # (c,) labels bought (pools) or rounds played (dueling worlds)
    queries: Ints  # (R, c) labels asked for so far
    theta_path: Floats  # (R, c, d) estimates, NaN where no finite optimum exists
    information_path: Floats  # (R, c, d, d) information of the labels at the true theta, no ridge

    @property
    def theta(self) -> Floats:
        """(R, d) the last estimates."""
        return np.asarray(self.theta_path[:, -1])

    @property
    def information(self) -> Floats:
        """(R, d, d) the last information matrices."""
        return np.asarray(self.information_path[:, -1])

    def to_frame(self) -> DataFrame:
        """One row a (replicate, checkpoint): every number known by replicate and checkpoint."""
        import pandas as pd

        r, c, d = self.theta_path.shape
        columns: dict[str, Any] = {
            "replicate": np.repeat(np.arange(r), c),
            "round": np.tile(self.rounds, r),
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if value.shape == (r, c):
                columns[field.name] = value.ravel()
        columns |= {f"theta_{k}": self.theta_path[:, :, k].ravel() for k in range(d)}
        return pd.DataFrame(columns)


@dataclass(frozen=True, eq=False)
class PoolTrajectories(Trajectories):
    """Labels bought from a pool."""

    spent: Floats  # (R, c) money spent so far
    pair: Ints  # (R, T) pair of each label
    teacher: Ints  # (R, T) teacher of each label
    label: Ints  # (R, T) 1 = first response preferred

    @property
    def picks(self) -> Ints:
        """(R, T, 2) pair and teacher of each label, in the order bought."""
        return np.stack([self.pair, self.teacher], axis=-1).astype(np.int64)

    @property
    def regret(self) -> Floats:
        """Regret belongs to dueling worlds; a pool has none."""
        raise AttributeError(
            "a PairPool has no regret: labels are bought, nothing is played; "
            "use theta_path and information_path."
        )


@dataclass(frozen=True, eq=False)
class DuelTrajectories(Trajectories):
    """Rounds played on a dueling world; rounds are numbered from 0, q is the option ``record``."""

    regret: Floats  # (R, c) so far, of the first arm only
    regret_both: Floats  # (R, c) so far, mean of the two arms shown (unasked: first arm)
    largest_distance: Floats  # (R,) sup over rounds of ||theta_hat - theta*||_gram
    late_regret: Floats  # (R,) first arm's regret over the rounds from horizon // 2 on
    costly_unasked: Ints  # (R,) unasked rounds with regret
    costly_inside: Ints  # (R,) those with ||theta_hat - theta*||_gram <= the algorithm's radius
    last_query: Ints  # (R,) round of the last query, -1 where nothing was asked
    below_threshold: Ints  # (R,) queries with ||z||_{gram^-1} at most the uncertainty threshold
    query_round: Ints  # (R, q) rounds of the first q queries, -1 behind the last
    queried: Ints  # (R, q, 3) prompt, first arm, second arm, -1 behind the last
    label: Ints  # (R, q) 1 = first arm preferred, -1 behind the last
    norm: Floats  # (R, q) ||z||_{gram^-1} before it entered gram, NaN behind the last
