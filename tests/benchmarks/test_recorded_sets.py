"""The two public sets become files that replay reads; skipped where the sets are absent."""

from pathlib import Path

import numpy as np
import pytest

from activeduel.benchmarks.recorded_sets import main
from activeduel.sim.recorded import read_recorded
from activeduel.sim.replay import plan_replay

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SETS = {
    # name: folder, group, pairs, judgements, annotators, features
    "light_field": ("light_field_quality", "scene", 870, 26580, 29, 3 * 7),
    "food": ("food_preference", "item", 1092, 7290, 54, 3 + 36 + 8 + 5),
}


@pytest.mark.parametrize("name", SETS)
def test_converted_sets(name, tmp_path, capsys):
    folder, group, pairs, judgements, annotators, columns = SETS[name]
    if not (DATA / folder).is_dir():
        pytest.skip(f"needs the recorded set {folder} in ../shared/data beside the repository")
    assert main([name, str(DATA / folder), str(tmp_path)]) == 0
    assert f"--group {group}" in capsys.readouterr().out
    found = read_recorded(tmp_path / "judgements.csv", tmp_path / "features.csv", group)
    assert (len(found.pair_ids), len(found.pair)) == (pairs, judgements)
    assert (len(found.annotators), len(found.features.names)) == (annotators, columns)
    plan, splits = plan_replay(found, group=group)
    assert len(splits.splits) == 20 and plan.budget == 600


def test_light_field_levels_stand_within_their_type(tmp_path):
    folder = DATA / "light_field_quality"
    if not folder.is_dir():
        pytest.skip(
            "needs the recorded set light_field_quality in ../shared/data beside the repository"
        )
    main(["light_field", str(folder), str(tmp_path)])
    found = read_recorded(tmp_path / "judgements.csv", tmp_path / "features.csv", "scene")
    pair = found.pair_ids.index("Car|DQ-1|DQ-4")
    z = dict(zip(found.features.names, found.differences(np.array([pair]))[0], strict=True))
    assert {k: v for k, v in z.items() if v} == {
        "DQ level": pytest.approx(-3 / 24),
        "DQ level^2": pytest.approx(-15 / 24**2),
    }


def test_a_folder_without_the_set_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["food", str(tmp_path / "nowhere"), str(tmp_path / "out")])
    assert stop.value.code == 2 and "items.csv.gz: found no such file" in capsys.readouterr().err
