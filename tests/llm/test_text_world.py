"""The machine-made world: known reward, known teachers, the same files for the same seed."""

import numpy as np
import pytest
from scipy.special import expit

from activeduel.llm.data import TextPool, read_pool, split
from activeduel.llm.text_world import (
    LENGTH_WEIGHT,
    MOST,
    TEACHERS,
    WEIGHTS,
    WORDS,
    data_options,
    main,
    reward,
    world_rows,
    write_world,
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> TextPool:
    """The demo's world: 1,500 pairs."""
    folder = tmp_path_factory.mktemp("large")
    return read_pool(data_options(write_world(folder, conversational=False)))


def decided(pool: TextPool) -> np.ndarray:
    return np.flatnonzero(pool.gold != 0.5)


def test_rewards_are_those_of_the_texts(large):
    for i in range(50):
        assert large.rewards[i].tolist() == [reward(str(text)) for text in large.responses[i]]
    gap = large.rewards[:, 0] - large.rewards[:, 1]
    assert (large.gold == (1 + np.sign(gap)) / 2).all()


def test_the_reward_is_linear_in_shares_of_words_and_log_length():
    assert reward("first first rice pan soup salt bread oven") == pytest.approx(
        WEIGHTS["steps"] / 4
    )
    twice = reward("rice " * 16) - reward("rice " * 8)
    assert twice == pytest.approx(LENGTH_WEIGHT * np.log(2))


def test_shape_of_the_world(large):
    assert len(large.pair_ids) == 1500 and large.group.max() + 1 == 500
    assert large.context_types == ("cooking", "repair", "travel")
    assert np.bincount(large.context).min() == 498  # types take turns, three pairs a prompt
    assert large.annotators == ("chef", "crowd", "engineer")
    assert len(large.preference) == 4500 and large.left_out == 0
    assert 0.45 < large.gold[decided(large)].mean() < 0.55
    assert len(decided(large)) > 0.9 * 1500  # near copies may tie


def test_length_says_a_little_of_the_reward_and_no_more(large):
    """A length-only rule beats the coin and is far from the truth, counted in words or characters."""
    sure = decided(large)
    for measure in (len, lambda text: len(text.split())):
        lengths = np.array([[measure(text) for text in pair] for pair in large.responses])[sure]
        guess = (1 + np.sign(lengths[:, 0] - lengths[:, 1])) / 2
        right = 1 - np.abs(guess - large.gold[sure])
        assert 0.52 < right.mean() < 0.62


def test_word_shares_predict_the_preference(large):
    """600 noisy labels on the true properties predict over 95 % of held-out pairs: it can be learned."""
    kinds = list(WORDS.values())

    def shares(text) -> list[float]:
        words = text.split()
        return [sum(w in kind for w in words) / len(words) for kind in kinds] + [np.log(len(words))]

    phi = np.array([[shares(text) for text in pair] for pair in large.responses])
    z, gap = phi[:, 0] - phi[:, 1], large.rewards[:, 0] - large.rewards[:, 1]
    train, test = split(large, 0.25, 0, 0)
    rng = np.random.default_rng(0)
    asked = rng.choice(train, 600, replace=False)
    wins, theta = rng.random(600) < expit(gap[asked]), np.zeros(len(kinds) + 1)
    for _ in range(30):
        p = expit(z[asked] @ theta)
        hessian = (z[asked].T * (p * (1 - p))) @ z[asked] + 1e-2 * np.eye(len(theta))
        theta -= np.linalg.solve(hessian, z[asked].T @ (p - wins) + 1e-2 * theta)
    test = test[large.gold[test] != 0.5]
    assert ((z[test] @ theta > 0) == (large.gold[test] == 1)).mean() > 0.95


@pytest.mark.parametrize("teacher", TEACHERS, ids=lambda teacher: teacher.name)
def test_recorded_judgements_follow_each_teachers_rationality(large, teacher):
    """Wins for a, per context type, within 4 standard deviations of what Bradley-Terry expects."""
    gap = large.rewards[:, 0] - large.rewards[:, 1]
    rationality = np.array(teacher.rationality_in(large.context_types))
    mine = large.annotator == large.annotators.index(teacher.name)
    pair, says = large.judged_pair[mine], large.preference[mine]
    expected = expit(rationality[large.context[pair]] * gap[pair])
    for context in range(3):
        here = large.context[pair] == context
        # judgements weighted by the gap: a teacher of another rationality misses it
        miss = (gap[pair] * (says - expected))[here].sum()
        sd = np.sqrt((gap[pair] ** 2 * expected * (1 - expected))[here].sum())
        assert abs(miss) < 4 * sd
        other = expit(0 * gap[pair])
        if rationality[context] >= 0.5:  # the negative control: a coin would be seen
            assert abs((gap[pair] * (says - other))[here].sum()) > 4 * sd


def test_the_same_seed_writes_the_same_files(tmp_path, world):
    again = write_world(tmp_path / "again", pairs=120, seed=7)
    other = write_world(tmp_path / "other", pairs=120, seed=8)
    for name in ("pool.jsonl", "judgements.csv"):
        assert (again / name).read_bytes() == (world.folder / name).read_bytes()
        assert (other / name).read_bytes() != (world.folder / name).read_bytes()


def test_conversations_and_plain_strings_are_the_same_world(world, plain_world):
    assert world.pool.responses[0][0] == (
        {"role": "assistant", "content": plain_world.pool.responses[0][0]},
    )
    assert (world.pool.rewards == plain_world.pool.rewards).all()
    assert world.pool.identity != plain_world.pool.identity


def test_the_command(tmp_path, capsys):
    assert main([str(tmp_path), "--pairs", "12"]) == 0
    assert "pool.jsonl (12 pairs)" in capsys.readouterr().out
    assert len(read_pool(data_options(tmp_path)).pair_ids) == 12
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--pairs", "3"])
    assert "needed 12 to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "found"),
    [(["--pairs", "1000000"], "found 1000000; needed 12 to"), (["--seed", "-1"], "seed: found -1")],
)
def test_what_this_world_does_not_hold_is_refused(tmp_path, capsys, words, found):
    """There are so many prompts only: looking for more would never end."""
    with pytest.raises(SystemExit):
        main([str(tmp_path), *words])
    assert found in capsys.readouterr().err


def test_there_are_as_many_prompts_as_it_says():
    rows = world_rows(MOST, np.random.default_rng(0))
    assert len({row["prompt"] for row in rows}) == MOST // 3
