"""Worlds with known truth, and the algorithms that are tried in them."""

from .algorithms import ALGORITHMS, DUELING, LABELLING
from .simulate import simulate
from .stream import StreamingWorld
from .teachers import Teachers
from .trajectories import DuelTrajectories, PoolTrajectories, Trajectories
from .world import DuelingWorld, PairPool

__all__ = [
    "ALGORITHMS",
    "DUELING",
    "LABELLING",
    "DuelTrajectories",
    "DuelingWorld",
    "PairPool",
    "PoolTrajectories",
    "StreamingWorld",
    "Teachers",
    "Trajectories",
    "simulate",
]
