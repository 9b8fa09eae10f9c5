"""The report of a language-model run, on ledgers whose outcome is known beforehand."""

import io
import json
import re
import subprocess
import sys
from html import escape

import numpy as np
import pytest
from ledger_by_hand import SPLIT, SPREAD, TEACHERS, Run, rising
from rich.console import Console

from activeduel.llm.ledger import Ledger
from activeduel.validate import llm_report
from activeduel.validate.llm_cells import selector_cells, teacher_cells
from activeduel.validate.llm_curves import common_grid, steps
from activeduel.validate.llm_facts import Stage
from activeduel.validate.llm_report import write_report
from activeduel.validate.llm_tables import frequency


def test_steps_are_never_extrapolated():
    x, y = np.array([10.0, 20.0, 40.0]), np.array([0.5, 0.6, 0.7])
    assert steps(x, y, np.array([10.0, 19.9, 20.0, 39.0, 40.0])).tolist() == [
        0.5,
        0.5,
        0.6,
        0.6,
        0.7,
    ]
    for outside in (9.9, 40.1):
        with pytest.raises(AssertionError):
            steps(x, y, np.array([outside]))
    assert common_grid([x, np.array([15.0, 30.0])]).tolist() == [15.0, 20.0, 30.0]
    assert not len(common_grid([x, np.array([50.0])]))


def test_a_better_selector_is_called_better_with_the_interval_of_its_formula():
    run = Run()
    run.arms("random", rising(0.7, SPREAD))
    gains = np.array([0.05, 0.06, 0.05, 0.07, 0.07])
    run.arms("dual", rising(0.7, SPREAD) + np.linspace(0, 1, 6) * gains[:, None])
    found = run.summary()
    (compared,) = found["comparisons"]
    # t_{4, .975} = 2.776445; held out over training 100 / 300; rounding to 1 of 80 pairs
    half = 2.776445 * np.sqrt((gains.var(ddof=1) + 1 / (12 * 80**2)) * (1 / 5 + 1 / 3))
    assert compared["difference"]["estimate"] == pytest.approx(0.06)
    assert compared["difference"]["low"] == pytest.approx(0.06 - half, abs=1e-7)
    assert compared["finding"] == "better"
    assert found["answer"]["in_words"].startswith(
        "dual is better than random: +6.0 points (95 %: +"
    )
    # dual's mean: 0.6, .632, .664, .696, .728, .76; random's end 0.7 is reached at 500
    assert compared["labels_needed"]["estimate"] == compared["money_needed"]["estimate"] == 500
    assert compared["saving"]["estimate"] == pytest.approx(1 / 6)
    _, rows = selector_cells(found)
    assert [row[0] for row in rows] == ["dual", "random", "length only"]
    assert rows[0][1].startswith("76.0 [") and rows[1][2:4] == ["600", "600"]


def test_equal_arms_are_not_called_better():
    run = Run()
    run.arms("random", rising(0.7, SPREAD))
    run.arms("dual", rising(0.7, SPREAD[::-1]))
    found = run.summary()
    assert found["comparisons"][0]["difference"]["estimate"] == pytest.approx(0)
    assert (
        "dual: no better than random, on this evidence: 0.0 points" in found["answer"]["in_words"]
    )
    assert "could not have been told from chance" in found["answer"]["in_words"]
    assert (found["comparisons"][0]["saving"]["low"] or 0) <= 0


def test_identical_replicates_are_no_proof():
    """A gain of one held-out pair, seen twice, has no spread; rounding alone explains it."""
    run = Run(replicates=2)
    run.arms("random", rising(0.7)[:2])
    run.arms("dual", rising(0.7)[:2] + 1 / 80)
    assert run.summary()["answer"]["finding"] == "no better"


def test_a_worse_selector_is_called_worse():
    run = Run(selector="apo")
    run.arms("random", rising(0.7, SPREAD))
    run.arms("apo", rising(0.62, SPREAD))
    found = run.summary()
    assert found["answer"]["in_words"].startswith("apo is worse than random: -8.0 points")
    assert "does not reach what random reaches" in found["comparisons"][0]["needed_in_words"]
    assert found["comparisons"][0]["labels_needed"]["estimate"] is None


@pytest.mark.parametrize(("replicates", "pairs"), [(2, 25), (5, 100)])
def test_the_error_rate_of_better(pairs, replicates):
    """Equal selectors, replicates correlated as their overlapping splits say (test share 1/4).

    "better" may be said in 2.5 % of runs; of 400, binomial(400, 0.025) exceeds 18 in 0.6 % of
    seeds a case. Accuracies are rounded to whole held-out pairs, which without the added variance
    of rounding would give 6 % at two replicates of 25 pairs.
    """
    rng = np.random.default_rng(3)
    split = SPLIT | {"decided_test_pairs": pairs}
    said = {"better": 0, "worse": 0, "no better": 0}
    for _ in range(400):
        run = Run(replicates=replicates)
        noise = np.sqrt(1 / 4) * rng.standard_normal() + np.sqrt(3 / 4) * rng.standard_normal(
            replicates
        )
        gain = np.round(np.sqrt(0.2 / pairs) * noise * pairs) / pairs
        for r in range(replicates):
            run.arm(f"random/{r}", [0.6, 0.7], (100, 600))
            run.arm(f"dual/{r}", [0.6, 0.7 + gain[r]], (100, 600))
        run.records = [(a, i, n, split if n == "split" else v) for a, i, n, v in run.records]
        said[run.summary()["comparisons"][0]["finding"]] += 1
    assert said["better"] <= 18 and said["worse"] <= 18 and said["no better"] >= 364


def test_one_replicate_has_no_interval_and_says_so():
    run = Run(replicates=1)
    run.arms("random", rising(0.7)[:1])
    run.arms("dual", rising(0.8)[:1])
    found = run.summary()
    assert found["answer"]["finding"] == "one replicate"
    assert "no interval can be given" in found["answer"]["in_words"]
    assert "better than" not in found["answer"]["in_words"].split("Run more")[0]
    assert found["comparisons"][0]["difference"]["low"] is None
    assert selector_cells(found)[1][0][1] == "80.0"
    assert "needed_in_words" not in found["comparisons"][0]  # a saving would be read from one curve


def test_an_unfinished_run_gets_no_verdict():
    run = Run()
    run.arms("random", rising(0.7, SPREAD)[:4])
    run.arms("dual", rising(0.8, SPREAD)[:2])
    run.arm("dual/2", [0.6, 0.9], (100, 200))
    found = run.summary()
    assert found["progress"]["unfinished"] == ["dual/2", "dual/3", "dual/4", "random/4"]
    said = found["answer"]["in_words"]
    assert said.startswith("Unfinished: 4 of 10 arms have not spent their budget.")
    assert "No verdict on dual against random yet" in said and "is better" not in said
    assert found["comparisons"][0]["of"] == [0, 1]  # the pairs of arms that are comparable
    assert "labels_needed" not in found["comparisons"][0]


def test_arms_on_their_way_are_compared_at_the_same_money():
    run = Run(replicates=1)
    run.arm("random/0", [0.6, 0.65, 0.7], (100, 200, 300))
    run.arm("dual/0", [0.6, 0.9], (100, 200))
    found = run.summary()["comparisons"][0]
    assert found["money"] == 200 and found["difference"]["estimate"] == pytest.approx(0.25)


def test_money_left_that_buys_no_label_is_spent():
    """Prices 1 and 4, budget 600: with less than 4 left an arm is at its end, with 4 it is not."""
    for spent, finished in ((596.5, True), (596.0, False)):
        run = Run(teachers=TEACHERS, replicates=1)
        run.arm("dual/0", [0.6, 0.7], (100, 200), (300, spent))
        found = run.summary()
        assert ("dual/0" not in found["progress"]["unfinished"]) == finished
    run.records.append(("dual/0", 1, "finished", {"why": "no label is left to buy"}))
    assert "dual/0" not in run.summary()["progress"]["unfinished"]


def test_prices_put_arms_on_a_common_grid_of_money():
    """dual buys 150 labels at 4, random 600 at 1; both spend 600."""
    run = Run(teachers=TEACHERS)
    for r in range(5):
        run.arm(f"random/{r}", [0.6, 0.62, 0.64 + r / 500], (100, 350, 600))
        run.arm(f"dual/{r}", [0.6, 0.7, 0.72 + r / 500], (25, 75, 149), (100, 300, 598))
    found = run.summary()
    curves = found["curves"]["money"]
    assert curves["dual"]["x"] == [100, 300, 598, 600]
    assert found["curves"]["labels"]["dual"]["x"] == [25, 75, 149]
    assert found["differences"]["money"]["random"]["x"] == [100, 300, 598, 600]
    assert found["differences"]["money"]["random"]["estimate"] == pytest.approx(
        [0, 0.1, 0.104, 0.08]
    )
    compared = found["comparisons"][0]
    assert (
        compared["labels_needed"]["estimate"] == 75 and compared["money_needed"]["estimate"] == 300
    )
    assert compared["saving"]["estimate"] == pytest.approx(0.5)
    assert not found["money_is_labels"]


def test_nothing_yet(tmp_path):
    found = write_report(Run().write(tmp_path), Console(quiet=True))
    assert found["answer"]["in_words"] == "Nothing has been bought yet."
    assert "Nothing has been bought yet." in (tmp_path / "report.html").read_text()


def test_without_a_truth_there_is_no_accuracy():
    run = Run(replicates=1)
    run.arm("random/0", [0.5], (600,))
    run.arm("dual/0", [0.5], (600,))
    for _, _, name, value in run.records:
        if name == "evaluation":
            value["accuracy"] = value["length_accuracy"] = None
    found = run.summary()
    assert "no held-out pair has a truth" in found["answer"]["in_words"]
    assert found["curves"]["money"] == {} and not found["progress"]["unfinished"]


def test_where_nothing_could_be_bought_the_truth_is_not_blamed():
    run = Run(replicates=1)
    run.records += [
        (f"{name}/0", 0, "finished", {"asked": 0, "money": 0.0}) for name in ("dual", "random")
    ]
    assert "no label was bought" in run.summary()["answer"]["in_words"]


def test_no_saving_is_read_from_a_flat_curve():
    """random ends where the warm-up left it: dual 'reaches' that at once, and saves nothing by it."""
    run = Run()
    run.arms("random", rising(0.6, SPREAD))
    run.arms("dual", rising(0.6, SPREAD))
    (found,) = run.summary()["comparisons"]
    assert "cannot be said" in found["needed_in_words"] and "saving" not in found
    assert selector_cells(run.summary())[1][1][-2:] == ["-", "-"]


def test_answers_of_people_are_counted_once_and_waiting_is_no_broken_run():
    teachers = [{"name": "ann", "kind": "people", "folder": "here"}]
    run = Run(teachers=teachers, replicates=1)
    for arm in ("dual/0", "random/0"):
        run.arm(arm, [0.6, 0.7], (1, 2))
        for _ in range(2):  # the same two pairs
            run.label(arm, "ann", 1.0, asks=4)
    said = run.summary()["ledger"]["in_words"]
    assert "4 labels asked in all arms together" in said and "People gave 2 answers" in said
    assert "broken run" not in said


def test_no_torch_is_needed():
    code = "import sys, activeduel.validate.llm_report; assert not {'torch', 'transformers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_baseline_no_claim():
    run = Run(baselines=[])
    run.arms("dual", rising(0.8, SPREAD))
    assert "what selection gained is unknown" in run.summary()["answer"]["in_words"]


def test_each_baseline_is_compared_and_random_comes_first():
    run = Run(baselines=["uncertainty", "random"])
    run.arms("random", rising(0.7, SPREAD))
    run.arms("uncertainty", rising(0.8, SPREAD))
    run.arms("dual", rising(0.8, SPREAD))
    found = run.summary()
    findings = {c["baseline"]: c["finding"] for c in found["comparisons"]}
    assert findings == {"random": "better", "uncertainty": "no better"}
    assert "better than random" in found["answer"]["in_words"]


def test_a_reward_that_only_learned_the_length_is_said_to():
    run = Run()
    run.arms("random", rising(0.7, SPREAD), length_accuracy=0.71)
    run.arms("dual", rising(0.8, SPREAD), length_accuracy=0.5)
    found = run.summary()["length"]
    assert found["from"] == "random" and not found["beaten"]
    assert found["end"]["estimate"] == pytest.approx(0.71)
    assert "is not shown to beat it: -1.0 points" in found["in_words"]


def test_teachers_are_counted_by_hand():
    run = Run(teachers=TEACHERS, replicates=1, baselines=[], estimate_rationality=True)
    believed = {"crowd": {"code": 0.25, "talk": 0.75}, "expert": {"code": 1.5, "talk": 1.25}}
    agreement = {"crowd": {"known": 4, "right": 3}}
    run.arm(
        "dual/0", [0.7], (8,), (20.0,), rationality=believed, estimated=True, agreement=agreement
    )
    for preference in (1.0, 0.0, 0.5, None):
        run.label("dual/0", "crowd", 1.0, preference)
    run.label("dual/0", "expert", 4.0, 1.0, asks=3)
    run.label("dual/0", "expert", 4.0, None, status="asked")
    run.label("dual/0", "expert", 4.0, 0.0)
    run.label("dual/0", "expert", 4.0, 1.0)
    found = run.summary()
    crowd, expert = (teacher["by"]["dual"] for teacher in found["teachers"])
    assert (crowd["asked"], crowd["money"], crowd["ties"], crowd["unparsable"]) == (4, 4.0, 1, 1)
    assert crowd["share"] == 0.5 and crowd["money_share"] == 0.2
    assert crowd["agreement"] == 0.75 and expert["agreement"] is None
    assert (expert["open"], expert["repeated"], expert["money"]) == (1, 1, 16.0)
    assert teacher_cells(found)[1][0][3:] == ["4", "50 %", "4", "25 % (1)", "33 %", "75 %"]
    rows = found["rationality"]["rows"]
    assert found["rationality"]["estimated"] and [row["believed"] for row in rows] == [
        0.25,
        0.75,
        1.5,
        1.25,
    ]
    assert [row["stated"] for row in rows] == [0.5, 0.5, 2.0, 1.5]
    odds = found["ledger"]
    assert odds["asked"] == 8 and odds["money"] == 20 and odds["unparsable_money"] == 1
    assert "1 question put more than once" in odds["in_words"]
    assert "could not be read" in odds["in_words"] and "open" in odds["in_words"]


def test_exact_interval_of_a_share():
    assert frequency(0, 0) == {"estimate": None, "low": None, "high": None}
    assert frequency(0, 20)["high"] == pytest.approx(1 - 0.025 ** (1 / 20))  # (1 - p)^20 = 0.025


def test_trainings_and_stages():
    run = Run(method="reward", replicates=2)
    for r in range(2):
        run.arm(f"dual/{r}", [0.6, 0.7], (100, 600))
        trained = {
            "state": "a", "labels": 600, "ties_left_out": 5, "accuracy": 0.7 + r / 10,
            "head_accuracy": 0.72, "loss": 0.5, "steps": 30,
        }  # fmt: skip
        run.records.append((f"dual/{r}", 1, "trained", trained))
        run.stages += [
            Stage(f"dual/{r}", 0, "ask", 30.0, 2**30),
            Stage(f"dual/{r}", 0, "select", 1.5, 5),
        ]
    run.stages.append(Stage("", 0, "features", 37.0, 3 * 2**30))
    found = run.summary()
    (row,) = found["trainings"]
    assert row["accuracy"]["estimate"] == pytest.approx(0.75) and row["labels"] == 600
    assert row["head_accuracy"]["estimate"] == pytest.approx(0.72)
    stages = {row["stage"]: row for row in found["stages"]["rows"]}
    assert stages["ask"]["seconds"] == 60 and stages["ask"]["times"] == 2
    assert found["stages"]["seconds"] == 100 and found["stages"]["peak_bytes"] == 3 * 2**30
    assert stages["select"]["share"] == pytest.approx(0.03)


def whole_run():
    run = Run(teachers=TEACHERS)
    rng = np.random.default_rng(1)
    run.arms("random", rising(0.7, SPREAD))
    run.arms("dual", rising(0.78, SPREAD) + 0.003 * rng.standard_normal((5, 6)))
    for i in range(6):
        run.label("dual/0", ("crowd", "expert")[i % 2], 1.0 + 3 * (i % 2), (1.0, 0.5, None)[i % 3])
    run.label("dual/0", "expert", 4.0, 1.0, asks=2)
    run.stages.append(Stage("", 0, "features", 37.0, 3 * 2**30))
    origin = {"version": "1.0", "code": {"commit": "c" * 40, "dirty": False}, "device": "cpu"}
    run.records.append(("", 0, "origin", origin))
    return run


def test_the_files_and_the_terminal(tmp_path):
    folder = whole_run().write(tmp_path)
    console = Console(record=True, width=140, file=io.StringIO())
    found = write_report(folder, console)
    text = console.export_text()
    assert found["answer"]["in_words"] in re.sub(r"\s+", " ", text) and "report.html" in text
    saved = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    assert saved == json.loads(json.dumps(found))
    page = (folder / "report.html").read_text()
    assert escape(found["answer"]["in_words"]).replace(" %", "&nbsp;%") in page
    assert page.count("data:image/svg+xml;base64,") == 2 * 3  # labels, money, lead; light and dark
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    before = [(folder / name).read_bytes() for name in llm_report.FILES]
    write_report(folder, Console(quiet=True))
    assert before == [(folder / name).read_bytes() for name in llm_report.FILES]


def test_the_report_is_written_while_the_run_goes_on(tmp_path):
    run = whole_run()
    run.records = run.records[:20]
    run.write(tmp_path)
    with Ledger(tmp_path / "ledger.sqlite", "identity", run.configuration) as ledger:
        found = write_report(tmp_path, Console(quiet=True))
        assert found["progress"]["unfinished"]
        ledger.note_stage("dual/0", 0, "ask", 1.0, 0)
    assert not list(tmp_path.glob(".tmp-*"))


def test_where_things_stood_is_read_beside_the_ledger(tmp_path):
    """The ledger's configuration leaves out paths; config.json has them, the ledger's come first."""
    run = Run(budget=50.0, label_batch=5)
    for name in ("dataset_name", "model_name_or_path"):
        del run.configuration[name]
    folder = run.write(tmp_path / "night run 3")
    assert write_report(folder, Console(quiet=True))["run"]["model"] == "unnamed"
    (folder / "config.json").write_text('{"model_name_or_path": "tiny", "budget": 99}')
    found = write_report(folder, Console(quiet=True))["run"]
    assert (found["model"], found["budget"], found["name"]) == ("tiny", 50, "night run 3")


def test_a_folder_without_a_ledger_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"ledger\.sqlite: found no ledger"):
        write_report(tmp_path, Console(quiet=True))
    assert not list(tmp_path.iterdir())


def test_names_are_shown_as_text_never_as_markup(tmp_path):
    name = "<script>[bold]&"
    run = Run(teachers=[{**TEACHERS[0], "name": name}], run_name="a", replicates=1)
    run.arm("dual/0", [0.6, 0.7], (100, 600), rationality={name: {"code": 1.0, "talk": 1.0}})
    run.label("dual/0", name, 1.0)
    write_report(run.write(tmp_path), Console(quiet=True))
    page = (tmp_path / "report.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;[bold]&amp;" in page
