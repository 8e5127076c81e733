"""The published curves: the authors' stored results, and what the paper prints of them."""

import json
import math
from pathlib import Path

import pytest

from rl import published
from rl.settings import preset
from rl.tasks import DATASOURCES, NUM_TEST_TASKS

STORED = Path(__file__).parents[2] / "../shared/reference/rl_published_curves.json"
STORED_METHODS = ("maml", "pretrained", "random", "oracle")
NAMES = dict(zip(DATASOURCES, ("point", "cheetah", "cheetahdirec", "ant", "antdirec"), strict=True))
EVERY = [(datasource, method) for datasource in DATASOURCES for method in STORED_METHODS]


@pytest.mark.parametrize("datasource, method", EVERY)
def test_what_the_authors_stored(datasource, method):
    """To the three decimals that the file has; a standard error follows from a deviation rounded to them."""
    if not STORED.exists():
        pytest.skip(f"no {STORED}")
    stored, curve = json.loads(STORED.read_text())[NAMES[datasource]][method], published.find(datasource, method)
    assert list(curve.means) == stored["mean"] and list(curve.stds) == stored["std_over_tasks"]
    assert curve.sems == pytest.approx(stored["sem"], abs=0.0006) and NUM_TEST_TASKS == stored["n_tasks"]


@pytest.mark.parametrize(
    "datasource, printed",
    [("point", [-40.41, -11.68, -3.33, -3.23]), ("cheetah_dir", [-50.69, 293.19, 313.48, 315.65])],
)
def test_as_printed_in_tables_4_and_5(datasource, printed):
    assert [round(mean, 2) for mean in published.find(datasource, "maml").means[:4]] == printed


def test_standard_error_is_of_the_sample_deviation():
    """By hand for MAML's first step on 2-D navigation: 6.983 · √(40/39) / √40 = 1.118."""
    assert published.find("point", "maml").sems[1] == pytest.approx(1.118, abs=0.0005)
    curve = published.find("ant_dir", "random")
    assert curve.sems == pytest.approx([std * math.sqrt(40 / 39) / math.sqrt(40) for std in curve.stds])


@pytest.mark.parametrize("datasource, method", EVERY)
def test_curves_have_the_steps_of_the_test(datasource, method):
    """n_itr of test_maml_*.py less one; the oracle takes none."""
    steps = 0 if method == "oracle" else 4 if datasource == "point" else 3
    curve = published.find(datasource, method)
    assert len(curve.means) == len(curve.stds) == len(curve.sems) == steps + 1


@pytest.mark.parametrize("datasource", DATASOURCES)
def test_adapting_helps_maml_most_and_the_oracle_is_best(datasource):
    """[P] figures 4 and 5."""
    curves = {method: published.find(datasource, method).means for method in STORED_METHODS}
    gains = {method: means[1] - means[0] for method, means in curves.items() if method != "oracle"}
    after = {method: means[min(3, len(means) - 1)] for method, means in curves.items()}
    assert gains["maml"] == max(gains.values())
    assert sorted(after, key=after.get)[-2:] == ["maml", "oracle"]


def test_checkpoints():
    """[M] maml_examples/test_maml_*.py and [D]; the initial policy isn't trained."""
    found = {
        method: [published.find(datasource, method).iteration for datasource in DATASOURCES]
        for method in STORED_METHODS
    }
    assert found == {
        "maml": [100, 475, 100, 375, 575],
        "pretrained": [100, 475, 500, 575, 1000],
        "random": [0, 0, 0, 0, 0],
        "oracle": [100, 975, 500, 550, 1975],
    }


@pytest.mark.parametrize("datasource, method", EVERY)
def test_the_training_behind_a_curve_is_no_shorter(datasource, method):
    """[P] A.2: 500, among whose checkpoints MAML's was chosen; ant_dir's is a later one."""
    assert preset(datasource, method)["metatrain_iterations"] >= published.find(datasource, method).iteration


def test_sources():
    assert published.find("point", "maml").source == "[P] figure 4, table 4; [D] icml_point_results_maml.pkl"
    assert published.find("point", "pretrained").source == "[P] figure 4; [D] icml_point_results_sens0.pkl"
    assert published.find("cheetah_dir", "oracle").source == "[P] figure 5; [D] icml_cheetahdirec_results_oracle.pkl"
    assert published.find("ant_vel", "random").source == "[D] icml_ant_results_random.pkl"
    not_drawn = [key for key, curve in published.CURVES.items() if not curve.drawn]
    assert [key for key in not_drawn if key[1] != "context_vector"] == [
        ("cheetah_vel", "random"),
        ("ant_vel", "random"),
    ]


def test_the_context_vector_is_printed_without_more():
    """[P] tables 4 and 5."""
    found = [key for key in published.CURVES if key not in EVERY]
    assert found == [("point", "context_vector"), ("cheetah_dir", "context_vector")]
    point, cheetah = (published.find(*key) for key in found)
    assert (point.means, cheetah.means) == ((-42.42, -13.90, -5.17, -3.18), (-40.49, -44.08, -38.27, -42.50))
    assert (point.source, cheetah.source) == ("[P] table 4", "[P] table 5")
    for curve in (point, cheetah):
        assert curve.sems == (None,) * 4 and curve.stds is None and curve.iteration is None


def test_nothing_is_found_where_nothing_is_published():
    assert published.find("glyphs", "maml") is None and published.find("point", "anil") is None


def test_commands():
    assert published.command("cheetah_vel", "maml") == "python main.py --datasource=cheetah_vel"
    assert published.command("point", "context_vector") == "python main.py --datasource=point --method=context_vector"
    assert published.command("ant_dir", "oracle") == "python main.py --datasource=ant_dir --baseline=oracle"
