"""The rows at tiny sizes, through the same code; and what catches a wrong answer."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from activeduel.benchmarks import (
    designs,
    designs_on_a_gpu,
    dueling,
    labelling,
    loops,
    measure,
    memory,
    selection,
)
from activeduel.benchmarks.certificate import certificate, check_design
from activeduel.benchmarks.row import Target, met
from activeduel.theory import d_optimal


@pytest.fixture(autouse=True)
def three_turns(monkeypatch):
    monkeypatch.setattr(measure, "PATIENCE", 0.0)
    monkeypatch.setattr(measure, "TURN", 0.0)


TINY = {
    "cvxpy": partial(designs.against_cvxpy, partial(designs.gaussian, 40, 3)),
    "frank-wolfe": partial(designs.against_frank_wolfe, partial(designs.gaussian, 300, 4), 5.0),
    "chebyshev": partial(designs.against_frank_wolfe, partial(designs.chebyshev, 2), 5.0),
    "quadratic": partial(designs.against_frank_wolfe, partial(designs.quadratic, 3), 5.0),
    "signs": partial(designs.against_frank_wolfe, partial(designs.signs, 4), 5.0),
    "passes": partial(designs.against_passes, partial(designs.gaussian, 500, 3)),
    "warm-start": partial(designs.warm_start, 200, 3),
    "pairs": partial(designs.all_pairs, 30, 3),
    "selection": partial(selection.dual_batch, 60, 5, 8),
}


@pytest.mark.parametrize("name", TINY)
def test_a_row_measures_and_its_answer_is_right(name):
    found = TINY[name]()
    assert found.answer.right, found.answer.complaint
    assert found.ours.repeats >= measure.FEWEST
    for spread in (found.ours, found.peer, found.ratio):
        assert 0 < spread.low <= spread.median <= spread.high < np.inf
    assert 0 < found.floor < found.ours.median
    assert not found.at_least


def test_the_row_of_a_gpu_on_a_cpu_and_without_one():
    torch = pytest.importorskip("torch", reason="torch is not installed: the extra 'torch' has it")
    found = designs_on_a_gpu.on_a_device(3000, 4, device="cpu")
    assert found.answer.right, found.answer.complaint
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="no CUDA GPU"):
            designs_on_a_gpu.on_a_device(3000, 4)


def test_the_loops_as_rows(monkeypatch):
    monkeypatch.setattr(labelling, "LABELS", 60)
    monkeypatch.setattr(loops, "ROUNDS", 60)
    for found in (loops.labelling_loop(), loops.dueling_loop()):
        assert found.answer.right and found.floor > 0
    monkeypatch.setattr(dueling, "play", different_play())
    assert not loops.dueling_loop().answer.right


def different_play():
    """Negative control: a kernel that asks once more than the plain loop."""
    plain = dueling.play

    def play(*words, **options):
        seconds, found = plain(*words, **options)
        if "engine" not in options:
            found.queried[...] = ~found.queried
        return seconds, found

    return play


def test_a_stopped_peer_gives_lower_bounds():
    found = designs.against_frank_wolfe(partial(designs.gaussian, 300, 4), 0.0)
    assert found.at_least and "stopped" in found.notes[0] and found.answer.right
    assert met(Target("ratio", 1e9), found) is None  # open, not missed
    assert met(Target("seconds", 1e9), found) is True


# ------------------------------------------------------------------------------- what is wrong


def solved():
    points = designs.gaussian(200, 5)
    return points, d_optimal(points)


def test_the_certificate_against_brute_force_and_the_reference():
    points, design = solved()
    gap, log_det = certificate(points, design.weights)
    inverse = np.linalg.inv(points.T @ np.diag(design.weights) @ points)
    assert gap == pytest.approx(max(x @ inverse @ x for x in points) / 5 - 1, abs=1e-12)
    assert log_det == pytest.approx(3.938950115263, abs=5e-6)
    assert check_design(points, design.weights, design.log_det, None).right


@pytest.mark.parametrize("break_it", ["weights", "negative", "sum", "nan", "log_det", "peer"])
def test_negative_control_a_wrong_design_is_seen(break_it, monkeypatch):
    points, design = solved()
    weights, log_det, peer = design.weights.copy(), design.log_det, design.weights
    if break_it == "weights":  # one per mille of the weight in the wrong place
        weights = 0.999 * weights + 0.001 / len(weights)
    elif break_it == "negative":
        weights[:2] += [-1e-3, 1e-3]
    elif break_it == "sum":
        weights *= 1.001
    elif break_it == "nan":
        weights[3] = np.nan
    elif break_it == "log_det":
        log_det += 1e-6
    else:  # gaps that both are small, at values that differ: one of the two certificates lies
        values = iter([(1e-7, log_det), (1e-7, log_det + 1e-4)])
        monkeypatch.setattr(
            "activeduel.benchmarks.certificate.certificate", lambda *_: next(values)
        )
    answer = check_design(points, weights, log_det, peer)
    assert not answer.right and answer.complaint


def test_negative_control_wrong_picks_are_seen():
    problem = selection.gaussian_pool(60, 5, 8)
    picks, eager = selection.select(problem), selection.eager_greedy(*problem[:2], 8)
    assert selection.check_picks(problem, picks, eager).right
    swapped = picks._replace(pair=(picks.pair + 1) % 60)
    assert not selection.check_picks(problem, swapped, eager).right
    boasting = picks._replace(score=1.01 * picks.score)
    assert not selection.check_picks(problem, boasting, eager).right
    twice = picks._replace(pair=picks.pair[[0] * 8], teacher=picks.teacher[[0] * 8])
    assert not selection.check_picks(problem, twice, eager).right


# ------------------------------------------------------------------------------- measuring


def test_a_race_takes_turns_and_takes_ratios_turn_by_turn(monkeypatch):
    monkeypatch.setattr(measure, "PATIENCE", 1e9)
    order, clock = [], iter([0.0, 0.0, 1.0, 1.0, 3.0, 3.0, 7.0, 7.0, 11.0])  # 1, 2, then 4, 4
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    found = measure.race(lambda: order.append("a"), lambda: order.append("b"), turns=2)
    assert order == ["a", "b", "a", "b"]
    assert found.ours.repeats == found.peer.repeats == found.ratio.repeats == 2
    assert found.ratio == measure.spread([2.0, 1.0])


def test_a_short_turn_is_filled_with_further_calls(monkeypatch):
    """A clock that says 4 ms a call: three calls fill 10 ms."""
    monkeypatch.setattr(measure, "TURN", 0.01)
    monkeypatch.setattr(measure, "timed", lambda call: (0.004, call()))
    calls = []
    seconds, last = measure.turn(lambda: calls.append(1) or len(calls))
    assert last == len(calls) == 3 and seconds == pytest.approx(0.004)


def test_a_slow_peer_takes_one_turn():
    order = []
    found = measure.race(
        lambda: order.append("a"), lambda: order.append("b"), seconds_of=lambda _: 100.0
    )
    assert order == ["a", "b", "a", "a"] and found.peer.median == 100.0


def test_peak_memory_is_what_the_call_adds(tmp_path, monkeypatch):
    (tmp_path / "allocating.py").write_text(
        "import numpy as np\n"
        "def prepare(megabytes, held):\n"
        "    kept = np.ones(held * 125_000)\n"  # 8 bytes each: not counted
        "    return lambda: np.ones(megabytes * 125_000).sum() + kept[0]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    prepare = SimpleNamespace(__module__="allocating", __qualname__="prepare")
    found = memory.peak_above_input(prepare, 80, 50)
    if found is None:
        pytest.skip("needs Linux's /proc")
    assert found == pytest.approx(80e6, rel=0.05)
    with pytest.raises(RuntimeError, match="nothing_there"):
        memory.peak_above_input(SimpleNamespace(__module__="nothing_there", __qualname__="f"))
