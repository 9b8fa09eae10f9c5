"""A recorded set made for tests: known reward, known annotators, written as the two files of replay."""

from pathlib import Path

import numpy as np
from scipy.special import expit

from activeduel.theory.checks import Floats


def write_world(
    folder: Path, z: Floats, theta: Floats, rationality: Floats, *, repeats: int = 1, seed: int = 1
) -> tuple[Path, Path]:
    """Everybody answers every pair ``repeats`` times; theta (d,) for all or (m, d), one taste each."""
    rng = np.random.default_rng(seed)
    m, n = len(rationality), len(z)
    margins = z @ np.broadcast_to(theta, (m, z.shape[1])).T * rationality
    judgements, features = folder / "judgements.csv", folder / "features.csv"
    with judgements.open("w", encoding="utf-8") as file:
        file.write("pair_id,annotator,preference,scene\n")
        for _ in range(repeats):
            wins = rng.random((n, m)) < expit(margins)
            for (i, j), win in np.ndenumerate(wins):
                file.write(f"p{i},a{j},{int(win)},s{i % 9}\n")
    with features.open("w", encoding="utf-8") as file:
        file.write("pair_id," + ",".join(f"x{k}" for k in range(z.shape[1])) + "\n")
        for i, row in enumerate(z):
            file.write(f"p{i}," + ",".join(f"{x:.9g}" for x in row) + "\n")
    return judgements, features
