"""Teachers answer as their formula says, and the simulated answers have those frequencies."""

import numpy as np
import pytest
from scipy.stats import binomtest

from activeduel.sim import PairPool, Teachers, simulate
from activeduel.sim.kernels.functions import answer_probability
from activeduel.theory import win_probability

N = 20_000


def share_of_wins(teachers, margin, labels=N):
    """One pair, one teacher: how often the first response won in ``labels`` simulated answers."""
    pool = PairPool([[margin]], [0], [1.0], teachers)
    out = simulate("random", pool, horizon=labels, replicates=1, seed=17, checkpoints=[labels])
    return int(out.label.sum())


@pytest.mark.parametrize("b", [-1.0, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("lapse", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("bias", [0.0, -0.7])
def test_answers_have_the_frequency_of_the_formula(b, lapse, bias):
    """20,000 answers against lapse/2 + (1 - lapse) mu(b m + bias); error rate 1e-6 a case."""
    teachers = Teachers([[b]], lapse=[lapse], bias=[bias])
    margin = 0.8
    honest = float(win_probability([[b * margin + bias]], [1.0])[0])
    p = lapse / 2 + (1 - lapse) * honest
    assert binomtest(share_of_wins(teachers, margin), N, p).pvalue > 1e-6


def test_negative_control_the_test_sees_a_lapse_that_is_ignored():
    lapsing = Teachers([[2.0]], lapse=[0.3])
    honest = float(win_probability([[0.8]], [1.0], 2.0)[0])
    assert binomtest(share_of_wins(lapsing, 0.8), N, honest).pvalue < 1e-6


def test_drift_multiplies_rationality_with_every_label():
    plain = answer_probability(0.5, 2.0 * np.exp(0.01 * 30), 0.0, 0.0, 0.0, 0)
    assert answer_probability(0.5, 2.0, 0.0, 0.0, 0.01, 30) == pytest.approx(plain, rel=1e-15)
    assert answer_probability(0.5, 2.0, 0.0, 0.0, 0.01, 0) == pytest.approx(
        float(win_probability([[0.5]], [1.0], 2.0)[0]), rel=1e-15
    )


def test_defaults_are_honest_teachers_at_price_one():
    teachers = Teachers([[1.0, 2.0], [0.5, 3.0]])
    assert (teachers.count, teachers.context_types) == (2, 2)
    for values in (teachers.lapse, teachers.bias, teachers.drift):
        assert values.tolist() == [0.0, 0.0]
    assert teachers.cost.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("rationality", "options", "says"),
    [
        ([1.0, 2.0], {}, "rationality: found shape"),
        ([[np.nan]], {}, "rationality: .*not finite"),
        ([], {}, "rationality"),
        ([[1.0]], {"cost": [0.0]}, "cost: found 0"),
        ([[1.0]], {"cost": [-1.0]}, "cost: found -1"),
        ([[1.0]], {"cost": [1.0, 1.0]}, "cost: found shape"),
        ([[1.0]], {"lapse": [1.1]}, "lapse"),
        ([[1.0]], {"lapse": [-0.1]}, "lapse"),
        ([[1.0]], {"bias": [np.inf]}, "bias"),
        ([[1.0]], {"drift": 0.1}, "drift: found shape"),
    ],
)
def test_refuses_by_name(rationality, options, says):
    with pytest.raises(ValueError, match=says):
        Teachers(rationality, **options)
