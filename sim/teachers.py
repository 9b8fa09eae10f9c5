"""Teachers with known rationality and price; lapses, bias and drift for stress tests."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..theory.checks import Floats, real_array


@dataclass(frozen=True, eq=False)
class Teachers:
    """m teachers in K context types: P(Y = 1) = lapse/2 + (1 - lapse) mu(b exp(drift t) m + bias).

    ``rationality`` b (m, K), any sign; ``cost`` (m,) price of one label, > 0 (default ones).
    Stress tests only, all (m,) and 0 by default, unknown to every selector and estimator:
    ``lapse`` share of answers given by a coin, ``bias`` towards the first response (in logits),
    ``drift`` growth of log rationality per label bought (t counts the labels so far).
    Raises ``ValueError`` on wrong shapes, values that are not finite, prices <= 0, lapses outside
    [0, 1].

    >>> Teachers([[1.0, 2.0], [0.5, 0.5]]).cost.tolist()
    [1.0, 1.0]
    """

    rationality: Floats
    cost: Floats = field(default_factory=lambda: np.empty(0))
    lapse: Floats = field(default_factory=lambda: np.empty(0))
    bias: Floats = field(default_factory=lambda: np.empty(0))
    drift: Floats = field(default_factory=lambda: np.empty(0))

    def __init__(
        self,
        rationality: ArrayLike,
        cost: ArrayLike | None = None,
        *,
        lapse: ArrayLike | None = None,
        bias: ArrayLike | None = None,
        drift: ArrayLike | None = None,
    ):
        b = real_array("rationality", rationality, (None, None))
        m = (b.shape[0],)
        values = {
            "rationality": b,
            "cost": np.ones(m) if cost is None else real_array("cost", cost, m),
            "lapse": np.zeros(m) if lapse is None else real_array("lapse", lapse, m),
            "bias": np.zeros(m) if bias is None else real_array("bias", bias, m),
            "drift": np.zeros(m) if drift is None else real_array("drift", drift, m),
        }
        if (values["cost"] <= 0).any():
            bad = values["cost"].min()
            raise ValueError(f"cost: found {bad:g}, needed prices > 0 for every teacher.")
        if ((values["lapse"] < 0) | (values["lapse"] > 1)).any():
            raise ValueError(f"lapse: found {values['lapse']}, needed shares in [0, 1].")
        for name, value in values.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def count(self) -> int:
        """m, the number of teachers."""
        return int(self.rationality.shape[0])

    @property
    def context_types(self) -> int:
        """K, the number of context types."""
        return int(self.rationality.shape[1])
