"""Teachers without a model: an answer depends on (seed, teacher, pair, number) and nothing else."""

import math
import subprocess
import sys

import numpy as np
import pytest
from text_pools import GAP, pool, question, said

from activeduel.llm.config import TeacherOptions
from activeduel.llm.teachers import TEACHERS, make
from activeduel.llm.teachers.protocol import uniform


def simulated(data, *, rationality=1.0, seed=0, name="crowd", **settings):
    options = TeacherOptions(name, "simulated", rationality=rationality, settings=settings)
    return make(options, data, seed=seed)


def share(teacher, data, questions):
    return np.mean(list(said(teacher, questions).values()))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 0.75),
        ({"rationality": 0.0}, 0.5),
        ({"rationality": -1.0}, 0.25),
        ({"rationality": {"even": 1.0, "odd": 2.0}}, (0.75 + 0.9) / 2),
        ({"lapse": 1.0}, 0.5),
        ({"lapse": 0.5}, 0.625),
        ({"bias": -GAP}, 0.5),
    ],
)
def test_a_simulated_teacher_answers_as_often_as_its_model_says(settings, expected):
    """Within 4.9 standard errors (false alarm 1e-6 a case) at n = 4000."""
    data = pool(2)
    questions = [question(data, i % 2, i) for i in range(4000)]
    found = share(simulated(data, **settings), data, questions)
    error = math.sqrt(0.25 / 4000)
    assert abs(found - expected) < 4.9 * error
    assert abs(found - (expected + 0.1)) > 4.9 * error  # negative control: the check has power


def test_an_answer_depends_on_seed_teacher_pair_and_number_alone():
    data = pool(40)
    questions = [question(data, i, number) for i in range(40) for number in range(3)]
    answers = said(simulated(data), questions)
    assert said(simulated(data), questions[::-1]) == answers
    assert said(simulated(data), questions[7:8]) == {questions[7].key: answers[questions[7].key]}
    renamed = [q._replace(key=f"arm {q.key}") for q in questions]
    assert list(said(simulated(data), renamed).values()) == list(answers.values())
    assert said(simulated(data, seed=1), questions) != answers
    assert said(simulated(data, name="other"), questions) != answers
    by_number = np.array(list(answers.values())).reshape(40, 3)
    assert (by_number[:, 0] != by_number[:, 1]).any()  # asked again, it may say otherwise


def test_named_uniform_numbers_are_uniform():
    """Kolmogorov-Smirnov at 1e-6: the largest deviation at n = 5000 stays below 2.69 / sqrt(n)."""
    drawn = np.sort([uniform(0, "crowd", f"pair {i}", 0) for i in range(5000)])
    assert 0 <= drawn[0] and drawn[-1] < 1
    assert np.abs(drawn - (np.arange(5000) + 0.5) / 5000).max() < 2.69 / math.sqrt(5000)
    assert uniform("a", "b c") != uniform("a b", "c")


def test_a_simulated_teacher_needs_hidden_rewards():
    data = pool(4)
    data.rewards[2, 1] = np.nan
    assert simulated(data).capacity().tolist() == [-1, -1, 0, -1]
    with pytest.raises(ValueError, match="'crowd' .*no hidden rewards.*reward_column"):
        simulated(pool(4, rewards=False))
    with pytest.raises(ValueError, match="lapse 1.5"):
        simulated(data, lapse=1.5)
    with pytest.raises(ValueError, match="states no rationality"):
        simulated(data, rationality={"even": 1.0})


JUDGEMENTS = [(0, "ann", 1.0), (2, "bob", 0.0), (0, "ann", 0.0), (0, "ann", 0.5), (3, "ann", 1.0)]


def recorded(data, name="ann", seed=0, **settings):
    return make(TeacherOptions(name, "recorded", settings=settings), data, seed=seed)


def test_an_annotator_sells_each_of_its_judgements_once():
    data = pool(4, judgements=JUDGEMENTS)
    ann = recorded(data)
    assert ann.capacity().tolist() == [3, 0, 0, 1]
    answers = said(ann, [question(data, 0, n) for n in range(3)] + [question(data, 3)])
    assert sorted(list(answers.values())[:3]) == [0.0, 0.5, 1.0] and answers["3/0"] == 1.0
    for pair, number in ((0, 3), (1, 0), (0, -1)):
        with pytest.raises(ValueError, match=f"number {number} on pair 'pair {pair}'"):
            said(ann, [question(data, pair, number)])
    assert said(recorded(data, "second", annotator="bob"), [question(data, 2)]) == {"2/0": 0.0}


def test_the_order_of_judgements_on_one_pair_is_drawn_by_the_seed():
    data = pool(4, judgements=JUDGEMENTS)
    questions = [question(data, 0, n) for n in range(3)]
    orders = {tuple(said(recorded(data, seed=s), questions).values()) for s in range(60)}
    assert len(orders) == 6  # every order
    assert said(recorded(data), questions[::-1]) == said(recorded(data), questions)


def test_an_unknown_annotator_is_named():
    data = pool(4, judgements=JUDGEMENTS)
    with pytest.raises(
        ValueError, match=r"by 'anne'; needed one of the data set's 2\. Did you mean 'ann'"
    ):
        recorded(data, "anne")


@pytest.mark.parametrize("kind", TEACHERS)
def test_an_unknown_setting_is_refused_with_the_nearest(kind):
    if kind in ("classifier", "generative"):
        pytest.importorskip("torch", reason="needs torch: pip install 'activeduel[llm]'")
    known = {"recorded": "annotator", "simulated": "lapse", "people": "folder"}
    near = known.get(kind, "model_name_or_path")
    options = TeacherOptions("ann", kind, settings={f"{near}s": "x"})
    with pytest.raises(ValueError, match=rf"'ann' \({kind}\): .*'{near}s'\. Did you mean '{near}'"):
        make(options, pool(4, judgements=JUDGEMENTS), seed=0)


@pytest.mark.parametrize("value", ["much", True, math.nan, None, [0.1]])
def test_a_setting_of_another_type_is_refused(value):
    with pytest.raises(ValueError, match=r"'lapse': found .*, needed a finite number"):
        simulated(pool(), lapse=value)
    assert simulated(pool(), lapse="1e-1").probability(0, 0) == pytest.approx(
        0.725
    )  # as YAML reads
    with pytest.raises(ValueError, match="found no 'folder', needed it"):
        make(TeacherOptions("ann", "people"), pool(), seed=0)


@pytest.mark.parametrize("kind", ["classifier", "generative"])
def test_the_settings_of_a_judge_are_checked_without_torch(kind):
    """So that a configuration is refused before anything is loaded."""
    code = (
        "import sys; from activeduel.llm.config import TeacherOptions; "
        "from activeduel.llm.teachers import check; "
        f"options = TeacherOptions('judge', {kind!r}, settings={{'model_name_or_path': 'm', 'dtype': 'fp16'}})\n"
        "try: check(options)\n"
        "except ValueError as error: print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'dtype': found 'fp16', needed 'auto'" in done.stdout and done.stdout.endswith("False\n")


def test_a_teacher_below_chance_prefers_the_worse_response():
    """The mirror image: P(a) at rationality -b is 1 - P(a) at b."""
    both = [make(TeacherOptions("t", "simulated", 1.0, b), pool(), seed=0) for b in (2.0, -2.0)]
    p, q = (teacher.probability(0, 0) for teacher in both)
    assert p > 0.5 and q == pytest.approx(1 - p, abs=1e-15)


def test_an_annotator_may_be_a_number():
    """As YAML reads a name of digits."""
    judged = pool(4, judgements=[(0, "7", 1.0), (1, "7", 0.0)])
    teacher = make(TeacherOptions("ann", "recorded", settings={"annotator": 7}), judged, seed=0)
    assert teacher.capacity().tolist() == [1, 1, 0, 0]
