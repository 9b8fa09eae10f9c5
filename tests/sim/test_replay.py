"""The replay experiment: splits, features, refits and purchases."""

import numpy as np
import pytest
from recorded_world import write_world

from activeduel.sim.kernels.random import CounterRng
from activeduel.sim.one_reward import compare_tastes, describe_annotators, scaled_to_typical
from activeduel.sim.recorded import read_recorded
from activeduel.sim.replay import TWIN, plan_replay, replay
from activeduel.sim.splits import divide, reduce_features, reduced
from activeduel.theory.joint_estimate import fit_jointly

RNG = np.random.default_rng(3)
Z = RNG.standard_normal((90, 3)) * [1, 10, 0.1]
SHARP = np.array([3.0, 1.0, 0.0])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    files = write_world(tmp_path_factory.mktemp("w"), Z, np.array([1, 0.1, 10]), SHARP, repeats=2)
    return read_recorded(*files, "scene")


def test_whole_groups_are_held_out(world):
    found = divide(world, "scene", 20, seed=0)
    assert (found.units, found.held_units, found.distinct) == (9, 3, 84)
    seen = {tuple(np.unique(world.group[s.held_out])) for s in found.splits}
    assert len(seen) == 20
    for split in found.splits:
        assert not set(world.group[split.train]) & set(world.group[split.held_out])
        assert len(split.train) + len(split.held_out) == 90 and split.mixed == 0


def test_few_groups_give_few_splits(world):
    few = world._replace(group=world.group % 3)
    found = divide(few, "scene", 20, seed=0)
    assert len(found.splits) == found.distinct == 3
    with pytest.raises(ValueError, match=r"found 0 usable splits.*needed two"):
        divide(world._replace(group=world.group * 0), "scene", 20, seed=0)


def test_items_are_held_out_and_mixed_pairs_dropped(world):
    items = np.stack([np.arange(90) % 10, np.arange(90) % 9 + 10], axis=1)
    found = divide(world._replace(items=items), "item", 5, seed=0)
    for split in found.splits:
        train, held = items[split.train], items[split.held_out]
        assert not set(train.ravel()) & set(held.ravel())
        assert len(train) + len(held) + split.mixed == 90 and split.mixed > 0


def test_features_keep_their_sign_and_lose_what_is_constant(world):
    train = np.arange(60)
    reduction = reduce_features(world, train, 10, 4.0, CounterRng(0))
    z = reduced(world, reduction, np.arange(90))
    assert np.mean((z[:60] ** 2).sum(axis=1)) == pytest.approx(4.0)
    second = z[:60].T @ z[:60] / 60
    assert np.allclose(second, np.diag(np.diag(second)))  # principal components
    scaled = Z / np.sqrt((Z[:60] ** 2).mean(axis=0))  # scale only: no column is centred
    assert np.allclose(z @ z.T, scaled @ scaled.T * 4 / 3)
    assert reduction.kept_share == pytest.approx(1.0)
    assert reduce_features(world, train, 2, 4.0, CounterRng(0)).basis.shape == (3, 2)


def test_constant_columns_are_dropped(tmp_path):
    z = np.column_stack([Z, np.zeros(90)])
    constant = read_recorded(*write_world(tmp_path, z, np.ones(4), SHARP))
    assert reduce_features(constant, np.arange(60), 10, 4.0, CounterRng(0)).used.tolist() == [
        0,
        1,
        2,
    ]
    files = write_world(tmp_path, 0 * z, np.ones(4), SHARP)
    with pytest.raises(ValueError, match="4 columns that never differ"):
        reduce_features(read_recorded(*files), np.arange(60), 10, 4.0, CounterRng(0))


def test_every_selector_spends_the_budget_within_capacity(world):
    names = ["dual", "teacher_only", "uncertainty_best_teacher"]
    options = {"group": "scene", "splits": 2, "budget": 60, "batch": 7, "seed": 4}
    plan, splits = plan_replay(world, selectors=names, **options)
    assert plan.selectors == ("random", *names)
    assert plan.labels.tolist() == [10, 17, 24, 31, 38, 45, 52, 59, 60]
    found = replay(world, plan, splits)
    for name in (*plan.selectors, TWIN):
        assert found.agreement[name].shape == (2, 9)
        assert (found.bought[name].sum(axis=1) == 60).all()
        assert (found.agreement[name][:, 0] == found.agreement["random"][:, 0]).all()  # one warm-up
    assert (found.agreement["random"] != found.agreement[TWIN]).any()
    again = replay(world, plan, splits)
    assert all((found.agreement[n] == again.agreement[n]).all() for n in found.agreement)
    alone = replay(world, *plan_replay(world, selectors=["dual"], **options))
    assert (alone.agreement["dual"] == found.agreement["dual"]).all()  # not changed by its company


def test_buying_everything_gives_everybody_the_same_reward(world):
    capacity = 60 * 3 * 2
    plan, splits = plan_replay(world, group="scene", selectors=["dual"], splits=2, budget=capacity)
    ends = {name: a[:, -1] for name, a in replay(world, plan, splits).agreement.items()}
    # rationalities are estimated at different moments, so rewards agree only nearly
    assert np.abs(ends["dual"] - ends["random"]).max() < 0.02
    with pytest.raises(ValueError, match=f"found {capacity + 1}.*holds {capacity}"):
        plan_replay(world, group="scene", budget=capacity + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selectors": ["best"]}, "selectors: found 'best', needed one of apo"),
        ({"splits": 1}, "splits"),
        ({"budget": 1}, "budget"),
        ({"batch": 0}, "batch"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_options(world, options, message):
    with pytest.raises(ValueError, match=message):
        plan_replay(world, **options)


def test_agreement_with_the_truth_is_the_best(world):
    """With 300 labels the reward nearly orders pairs as the truth does."""
    plan, splits = plan_replay(world, group="scene", splits=3, budget=300, selectors=["random"])
    found = replay(world, plan, splits)
    truth = np.sign(Z @ [1, 0.1, 10])
    for j, split in enumerate(splits.splits):
        rows = np.isin(world.pair, split.held_out)
        best = np.mean(truth[world.pair[rows]] == 2 * world.preference[rows] - 1)
        assert found.agreement["random"][j, -1] == pytest.approx(best, abs=0.03)


def test_the_annotators_table_finds_the_sharp_one(world):
    found = describe_annotators(world)
    assert found.status == "converged" and found.labels.tolist() == [180] * 3
    assert np.mean(found.rationality**2) == pytest.approx(1)  # equal labels
    b = found.rationality / found.rationality[1]
    assert b[0] > 2 and abs(b[2]) < 0.5
    assert found.same_again > found.same_other  # a sharp annotator repeats, a coin does not


def test_rationalities_and_errors_do_not_depend_on_the_reference():
    """The fit fixes one teacher's rationality; the root mean square scale undoes the choice."""
    rng = np.random.default_rng(0)
    z, teacher = rng.standard_normal((600, 3)), np.arange(600) % 3
    wins = rng.random(600) < 1 / (1 + np.exp(-z.sum(axis=1) * np.array([2, 1, -0.5])[teacher]))
    found = []
    for reference in range(3):
        fit = fit_jointly(z, wins, teacher, np.zeros(600, int), reference=reference)
        found.append(scaled_to_typical(fit.rationality[:, 0], fit.covariance[3:, 3:], np.ones(3)))
    for b, error in found[1:]:
        assert np.allclose(b, found[0][0], rtol=1e-6) and np.allclose(error, found[0][1], rtol=1e-4)
    assert found[0][0][2] < 0 and (found[0][1] > 0).all()


def test_nothing_held_out_is_seen_before_it_is_judged(world):
    """Votes and features of held-out pairs change what is measured, never what is bought or learned."""
    names = ["dual", "random_best_teacher"]
    plan, splits = plan_replay(world, group="scene", splits=2, budget=60, selectors=names)
    one = splits._replace(splits=splits.splits[:1])
    held = np.isin(world.pair, one.splits[0].held_out)

    def flipped(rows):
        return world._replace(preference=np.where(rows, 1 - world.preference, world.preference))

    values = np.array(world.features.values)
    values[world.rows[one.splits[0].held_out, 0]] *= -1
    turned = world._replace(features=world.features._replace(values=values))
    true = replay(world, plan, one)
    for other in (flipped(held), turned):
        found = replay(other, plan, one)
        assert found.kept_share == pytest.approx(true.kept_share, abs=0)
        for name in names:
            assert (found.bought[name] == true.bought[name]).all()
            assert found.agreement[name] == pytest.approx(1 - true.agreement[name])
        assert found.best_feature == pytest.approx(1 - true.best_feature)
        assert found.ceiling[:, 0] == pytest.approx(1 - true.ceiling[:, 0])
    seen = replay(flipped(~held), plan, one)  # negative control: training votes do matter
    assert seen.agreement["dual"] == pytest.approx(1 - true.agreement["dual"], abs=0.1)
    cut = replay(flipped(~held & (world.annotator == 0)), plan, one)
    assert (cut.bought["dual"] != true.bought["dual"]).any()


def test_agreement_and_consistency_against_counting_by_hand(tmp_path):
    """Two pairs; ann is asked twice about p: (1, 0); bob (1), cal (1) there; all agree on q."""
    (tmp_path / "f.csv").write_text("pair_id,x\np,1\nq,2\n")
    rows = ["p,ann,1", "p,ann,0", "p,bob,1", "p,cal,1", "q,ann,0", "q,bob,0", "q,cal,0"]
    (tmp_path / "j.csv").write_text("\n".join(["pair_id,annotator,preference", *rows]))
    found = describe_annotators(read_recorded(tmp_path / "j.csv", tmp_path / "f.csv"))
    assert found.agreement.tolist() == [2 / 3, 1, 1]  # bob's and cal's others on p: 2 votes to 1
    assert found.same_again == 0.0
    # across annotators: p has ann-bob (1 of 2), ann-cal (1 of 2), bob-cal (1 of 1); q has 3 of 3
    assert found.same_other == pytest.approx((1 + 1 + 1 + 3) / (2 + 2 + 1 + 3))


def test_tastes_are_told_from_rationality(tmp_path):
    """Own rewards foresee better where tastes differ, not where only rationality (and sign) does."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((150, 4))
    tastes = 3 * rng.standard_normal((6, 4))
    differ = compare_tastes(read_recorded(*write_world(tmp_path, z, tastes, np.ones(6))), 0)
    assert np.mean(differ.own - differ.shared) > 0.1
    one = write_world(tmp_path, z, tastes[0], np.array([1, 0.5, -1, 0.3, 2, 1]))
    same = compare_tastes(read_recorded(*one), 0)
    assert np.mean(same.own - same.shared) < 0
