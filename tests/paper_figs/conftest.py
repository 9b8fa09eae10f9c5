"""The registered figures at a tiny scale, made once for all tests of this folder."""

import logging
from dataclasses import replace

import pytest

from activeduel.paper_figs import FIGURES, engine
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
    "duels": {"replicates": 4, "horizon": 30_000, "thresholds": [1, 8], "budgets": [100, 3100]},
    "cross": {
        "replicates": 4,
        "horizons": {"4/0.8": 40_000, "2/0.57": 30_000, "2/0.8": 15_000, "4/0.57": 80_000},
    },
    "radii": {"replicates": 8, "horizon": 30_000, "divisors": [1, 8]},
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
def first_run(tiny, tmp_path_factory):
    """Every tiny figure made: the options, the drawn pages by name, the messages logged meanwhile."""
    options = Options(scale="smoke", out=tmp_path_factory.mktemp("figures"))
    pages, messages = {}, []

    def keeping(name, figure):
        def draw(page, table):
            pages[name] = page
            figure.draw(page, table)

        return replace(figure, draw=draw)

    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "algorithm_version", lambda: "fixed")
            assert make_figures({n: keeping(n, f) for n, f in tiny.items()}, options) == 0
    finally:
        logging.getLogger().removeHandler(handler)
    for page in pages.values():
        page.draw_without_rendering()
    return options, pages, messages


@pytest.fixture(scope="session")
def made(first_run):
    """The options under which every tiny figure has been made."""
    return first_run[0]


@pytest.fixture(scope="session")
def pages(first_run):
    """Each tiny figure's page, drawn as the program draws it."""
    return first_run[1]


@pytest.fixture(autouse=True)
def fixed_sources(monkeypatch):
    """Saved results stay valid for the session, whatever is edited meanwhile."""
    monkeypatch.setattr(store, "algorithm_version", lambda: "fixed")


@pytest.fixture(scope="session")
def observations(tiny, made):
    """What each tiny figure's experiment saw, by the figure's name: read, never computed again."""

    def refuse(*_):
        raise AssertionError("a saved result was not found")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "algorithm_version", lambda: "fixed")
        patch.setattr(engine, "_compute", refuse)
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
