"""What the report says of ADPO, beside DPO on random labels and DPO on all."""

import pytest
from ledger_by_hand import SPLIT, SPREAD, Run
from rich.console import Console

from activeduel.validate.llm_cells import policy_cells
from activeduel.validate.llm_report import write_report


def policy_run(gap, replicates=5, rival="dpo"):
    """ADPO that ends ``gap`` above its rival, replicate by replicate."""
    beside = {"dpo_baseline": rival == "dpo", "baselines": ["random"] if rival == "random" else []}
    run = Run(method="adpo", replicates=replicates, **beside)
    for r in range(replicates):
        adpo = {
            "pairs": 300, "asked": 120, "usable": 118, "pseudo": 180, "pseudo_known": 160,
            "pseudo_right": 144, "money": 120.0, "accuracy": 0.75 + SPREAD[r] + gap[r],
            "length_accuracy": 0.55,
        }  # fmt: skip
        run.records += [(f"adpo/{r}", 0, "split", SPLIT), (f"adpo/{r}", 0, "policy", adpo)]
        for step, asked, accuracy in ((0, 0, 0.5), (10, 60, 0.6), (20, 120, 0.75)):
            look = {"asked": asked, "money": float(asked), "accuracy": accuracy + SPREAD[r]}
            run.records.append((f"adpo/{r}", step, "evaluation", look | {"length_accuracy": 0.5}))
        labels = {"dpo": 300, "random": 120}[rival]
        end = {"asked": labels, "usable": labels, "money": float(labels)}
        own = {"accuracy": 0.75 + SPREAD[r], "length_accuracy": 0.55}
        run.records.append((f"{rival}/{r}", 0, "policy", end | own))
    return run


def against(gap, rival, replicates=5):
    return policy_run(gap, replicates, rival).summary()["policies"]["against"][rival]


@pytest.mark.parametrize("rival", ["random", "dpo"])
def test_adpo_is_judged_beside_its_rival(rival):
    """The same rule as for selectors: no word of a gain whose interval touches 0."""
    equal = against([0.01, -0.01, 0.02, -0.02, 0.0], rival)
    assert equal["finding"] == "no better" and "no better than DPO" in equal["in_words"]
    assert against([-0.1] * 5, rival)["finding"] == "worse"
    assert against([0.1] * 5, rival)["finding"] == "better"
    assert against([-0.1], rival, 1)["finding"] == "one replicate"
    half = policy_run([0.0] * 5, rival=rival)
    half.records = half.records[:-6]  # the last replicate's ADPO ended, its rival not
    found = half.summary()
    assert found["policies"]["against"][rival]["finding"] == "unfinished"
    assert "4 of 5 replicates" in found["answer"]["in_words"]


def test_what_adpo_asked_and_how_often_it_was_right_about_itself():
    found = policy_run([0.0] * 5).summary()
    assert "asked for labels on 40 % of its pairs" in found["policies"]["in_words"]
    assert "is not ruled out" in found["answer"]["in_words"]  # fewer labels than DPO: what it cost
    precision = found["policies"]["rows"][0]["adpo"]["precision"]
    assert precision["estimate"] == 0.9 and 0.83 < precision["low"] < 0.9 < precision["high"] < 0.95
    assert found["length"]["beaten"] and "the policy beats it" in found["length"]["in_words"]


def test_the_curve_of_adpo_is_a_mean_over_replicates():
    found = policy_run([0.0] * 5).summary()["policies"]["curves"]["labels"]["adpo"]
    assert found["x"] == [0, 60, 120] and found["replicates"] == 5
    assert found["estimate"] == pytest.approx([0.5, 0.6, 0.75])
    assert found["low"][1] < 0.6 < found["high"][1]


def test_the_page_draws_what_it_says(tmp_path):
    run = policy_run([0.0] * 5, rival="random")
    summary = write_report(run.write(tmp_path), Console(quiet=True))
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure") == 1 and "ADPO on its way" in page  # labels are money here
    assert "DPO, random pairs" in page and "Replicate by replicate" in page
    head, rows = policy_cells(summary)
    assert [row[0] for row in rows] == ["ADPO", "DPO, random pairs"] and len(rows[0]) == len(head)
    assert rows[1][4].startswith("+0.0 [") and rows[0][5] == "180"


def test_adpo_alone_claims_nothing():
    run = policy_run([0.0] * 5)
    run.configuration["dpo_baseline"] = False
    found = run.summary()
    assert found["answer"]["finding"] == "alone" and "is unknown" in found["answer"]["in_words"]


def test_replicates_whose_rival_could_not_be_trained_are_not_left_out_in_silence():
    run = policy_run([0.1] * 5, rival="random")
    for name, _, kind, value in run.records:
        if kind == "policy" and name in ("random/3", "random/4"):
            value["accuracy"] = None  # its money bought nothing decided
    found = run.summary()["policies"]["against"]["random"]
    assert found["finding"] == "nothing yet" and "only 3 of 5 replicates" in found["in_words"]


def test_an_interval_without_an_end_tells_no_gain():
    found = against([0.5, -0.5], "random", 2)
    assert "No gain could have been told from chance" in found["in_words"]


def test_policies_without_a_truth_have_no_accuracy():
    run = policy_run([0.0] * 5, rival="random")
    for _, _, kind, value in run.records:
        if kind in ("policy", "evaluation"):
            value |= {"accuracy": None, "length_accuracy": None}
    found = run.summary()
    assert "no held-out pair has a decided truth" in found["policies"]["in_words"]
    assert "nothing can be said" in found["answer"]["in_words"] and found["length"] is None
