"""Worlds with known truth, and the algorithms that are tried in them."""

from .algorithms import ALGORITHMS
from .simulate import Trajectories, simulate
from .teachers import Teachers
from .world import DuelingWorld, PairPool

__all__ = ["ALGORITHMS", "DuelingWorld", "PairPool", "Teachers", "Trajectories", "simulate"]
