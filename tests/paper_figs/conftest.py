"""The registered figures at a tiny scale, made once for all tests of this folder."""

from dataclasses import replace

import pytest

from activeduel.paper_figs import FIGURES
from activeduel.paper_figs.engine import Options, make_figures, observe
from activeduel.sim import store

TINY = {
    "estimates": {
        "selectors": ["dual", "random", "conversation_only", "random_best_teacher"],
        "replicates": 12,
        "labels": [100, 250, 400],
    },
    "accuracies": {
        "selectors": ["dual", "random", "random_best_teacher"],
        "replicates": 6,
        "ridge": 0.01,
        "labels": [25, 50],
    },
    "asked": {"worlds": 12, "replicates": 2, "labels": 100},
    "rates": {"selectors": ["dual", "random"], "replicates": 6, "labels": [100, 200]},
    "shifts": {
        "rare_shares": [0.03, 0.3],
        "rare_best": [0.0, 1.0],
        "labels": [50, 400],
        "replicates": 10,
    },
}


@pytest.fixture(scope="session")
def tiny():
    """FIGURES with every experiment's smoke scale replaced by a tiny one."""
    return {
        name: replace(
            figure,
            experiment=replace(figure.experiment, settings={"smoke": TINY[figure.experiment.name]}),
        )
        for name, figure in FIGURES.items()
    }


@pytest.fixture(scope="session")
def made(tiny, tmp_path_factory):
    """The options under which every tiny figure has been made."""
    options = Options(scale="smoke", out=tmp_path_factory.mktemp("figures"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "algorithm_version", lambda: "fixed")
        assert make_figures(tiny, options) == 0
    return options


@pytest.fixture(autouse=True)
def fixed_sources(monkeypatch):
    """Saved results stay valid for the session, whatever is edited meanwhile."""
    monkeypatch.setattr(store, "algorithm_version", lambda: "fixed")


@pytest.fixture(scope="session")
def observations(tiny, made):
    """What each tiny figure's experiment saw, by the figure's name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "algorithm_version", lambda: "fixed")
        return {
            name: observe(
                figure.experiment,
                figure.experiment.settings["smoke"],
                made,
                lambda _: lambda share: None,
            )[0]
            for name, figure in tiny.items()
        }


@pytest.fixture(scope="session")
def tables(tiny, observations):
    """Each tiny figure's table, by name."""
    return {
        name: figure.table(observations[name], figure.experiment.settings["smoke"])
        for name, figure in tiny.items()
    }
