"""Figures of reinforcement-learning runs; what is drawn is read off the axes before they become a PNG."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from run_folders import write_config, write_metrics, write_run, write_trajectories

from data_generators.errors import UserError
from rl import plots, published
from rl.settings import METHODS

FIVE = ["point", "cheetah_vel", "cheetah_dir", "ant_vel", "ant_dir"]


def is_png(path):
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def labelled(axis):
    """The lines of the legend, by what it calls them."""
    return {line.get_label(): line for line in axis.lines if not line.get_label().startswith("_")}


def test_learning_curve_before_and_after_adaptation(tmp_path, drawn):
    folder = write_run(tmp_path, seed=3, trained=500)
    write_metrics(folder, [-100.0] * 60, [-50.0] * 59 + [-20.0])
    assert is_png(plots.learning_curve(folder))
    title = "Half-cheetah, goal velocity: MAML · seed 3 · 60 of 500 iterations\ntraining tasks"
    assert drawn[0].get_suptitle() == title
    axis = drawn[0].axes[0]
    assert list(labelled(axis)) == ["before adaptation, smoothed", "after adaptation, smoothed"]
    assert len(axis.lines) == 4 and axis.lines[2].get_ydata()[-1] == -20  # each iteration, and smoothed over 3
    np.testing.assert_allclose(axis.lines[3].get_ydata()[-3:], [-50, -40, -35])
    np.testing.assert_array_equal(axis.lines[3].get_xdata(), np.arange(1, 61))


def test_learning_curve_of_a_run_that_was_not_tested(tmp_path, drawn):
    folder = write_config(tmp_path, "point", cg_iterations=20, seed=7)
    write_metrics(folder, [-100.0] * 100, [-50.0] * 100)
    plots.learning_curve(folder)
    assert drawn[0].get_suptitle() == "2-D navigation: MAML, 20 CG iterations · seed 7 · 100 iterations\ntraining tasks"


def test_learning_curve_without_inner_steps_is_one(tmp_path, drawn):
    folder = write_run(tmp_path, method="pretrained")
    write_metrics(folder, [-100.0, -90.0], [-100.0, -90.0])
    plots.learning_curve(folder)
    assert list(labelled(drawn[0].axes[0])) == ["without adaptation, smoothed"]


def test_adaptation_figure_shows_measured_and_published_alike(tmp_path, drawn):
    folders = {
        method: [write_run(tmp_path, "ant_dir", method)] for method in ("oracle", "random", "pretrained", "maml")
    }
    path = plots.adaptation_figure(folders)
    assert path == folders["maml"][0] / "figure_5.png" and is_png(path)
    axis = drawn[0].axes[0]
    lines = labelled(axis)
    assert list(lines) == [label + suffix for label in ("MAML", "pretrained", "random", "oracle")
                           for suffix in ("", ", published")]  # fmt: skip
    for method, label in list(METHODS.items())[:4]:
        measured, theirs = lines[label], lines[f"{label}, published"]
        assert (measured.get_linestyle(), theirs.get_linestyle()) == ("-", "--")
        assert measured.get_color() == theirs.get_color() and measured.get_zorder() > theirs.get_zorder()
        np.testing.assert_allclose(measured.get_ydata(), theirs.get_ydata() + 1)
        np.testing.assert_allclose(theirs.get_ydata()[0], published.find("ant_dir", method).means[0])
    assert len({line.get_color() for line in lines.values()}) == 4
    assert list(lines["MAML"].get_xdata()) == [0, 1, 2, 3]
    assert list(lines["oracle"].get_xdata()) == [0, 3]  # flat


def test_bands_are_one_standard_error(tmp_path, drawn):
    """write_run's standard errors are 2."""
    plots.adaptation_figure({"maml": [write_run(tmp_path, "ant_dir")]})
    (band,) = (each for each in drawn[0].axes[0].collections if not isinstance(each, LineCollection))
    (vertices,) = [path.vertices for path in band.get_paths()]
    at_the_start = vertices[vertices[:, 0] == 0, 1]
    np.testing.assert_allclose([at_the_start.min(), at_the_start.max()], [8.659 + 1 - 2, 8.659 + 1 + 2])


def test_published_curves_have_their_standard_errors(tmp_path, drawn):
    """[D]: MAML's standard deviation over the 40 tasks after one step is 54.898. That of a flat curve is along it."""
    plots.adaptation_figure({"maml": [write_run(tmp_path, "cheetah_dir")]})
    maml, *_, oracle = (each for each in drawn[0].axes[0].collections if isinstance(each, LineCollection))
    error = 54.898 / 39**0.5
    np.testing.assert_allclose(maml.get_segments()[1], [[1, 293.193 - error], [1, 293.193 + error]])
    assert len(oracle.get_segments()) == 2


def test_figure_of_2d_navigation_is_the_papers_4th(tmp_path, drawn):
    assert plots.adaptation_figure({"maml": [write_run(tmp_path, "point")]}).name == "figure_4.png"
    assert drawn[0].get_suptitle() == "2-D navigation · seed 1 · 40 test tasks · ± standard error over tasks"
    assert list(drawn[0].axes[0].get_xticks()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("datasource", FIVE)
def test_what_isnt_run_is_drawn_as_published(datasource, tmp_path, drawn):
    """[P] figure 5 has no random policy for the goal velocities."""
    folder = write_run(tmp_path, datasource, "oracle")
    assert plots.adaptation_figure({"oracle": [folder]}).parent == folder
    shown = ["MAML, published", "pretrained, published", "random, published", "oracle", "oracle, published"]
    if datasource in ("cheetah_vel", "ant_vel"):
        shown.remove("random, published")
    assert list(labelled(drawn[0].axes[0])) == shown


def test_random_policy_is_compared_where_it_is_run(tmp_path, drawn):
    plots.adaptation_figure({"random": [write_run(tmp_path, "ant_vel", "random")]})
    assert "random, published" in labelled(drawn[0].axes[0])


def test_a_run_shorter_than_the_papers_says_so(tmp_path, drawn):
    plots.adaptation_figure({"maml": [write_run(tmp_path, trained=100, iteration=90)]})
    assert "MAML,\n100 of 500 iterations" in labelled(drawn[0].axes[0])


def test_the_context_vectors_published_returns_are_drawn_where_it_is_run(tmp_path, drawn):
    """[P] prints them in tables alone; ANIL has none."""
    folders = {method: [write_run(tmp_path, "point", method)] for method in ("anil", "context_vector")}
    plots.adaptation_figure(folders)
    lines = labelled(drawn[0].axes[0])
    assert {"ANIL", "context vector", "context vector, published"} < lines.keys() and "ANIL, published" not in lines
    np.testing.assert_allclose(lines["context vector, published"].get_ydata(), [-42.42, -13.90, -5.17, -3.18])
    assert len({line.get_color() for line in lines.values()}) == 6


def test_other_settings_stand_beside_what_is_published_of_the_method(tmp_path, drawn):
    folder = write_run(tmp_path, given={"stop_grad": True})
    plots.draw(folder)
    assert list(labelled(drawn[0].axes[0])) == ["MAML", "MAML, published"]
    assert drawn[0].get_suptitle().startswith("Half-cheetah, goal velocity: MAML, first order · ")


def test_draw_makes_what_there_are_tables_for(tmp_path):
    folder = write_run(tmp_path, "point")
    write_metrics(folder, [-40.0, -30.0], [-30.0, -20.0])
    write_trajectories(folder)
    plots.draw(folder)
    own = {"adaptation_curve.png", "learning_curve.png", "trajectories.png"}
    assert {path.name for path in folder.glob("*.png")} == {"figure_4.png", *own}


def test_draw_unites_methods_and_seeds(tmp_path, drawn):
    """Not those by other settings, or not tested yet; the figure moves to the first of the methods and seeds."""
    pretrained = write_run(tmp_path, method="pretrained")
    plots.draw(pretrained)
    assert (pretrained / "figure_5.png").exists()
    second = write_run(tmp_path, seed=2)
    plots.draw(second)
    assert (second / "figure_5.png").exists() and not (pretrained / "figure_5.png").exists()
    write_run(tmp_path, method="oracle", given={"cg_iterations": 20})
    maml = write_run(tmp_path)
    plots.draw(pretrained)
    assert (maml / "figure_5.png").exists()
    assert not (second / "figure_5.png").exists() and not (pretrained / "figure_5.png").exists()
    assert list(labelled(drawn[-1].axes[0])) == [
        "MAML, mean of 2 seeds", "MAML, published", "pretrained", "pretrained, published",
        "oracle, published"]  # fmt: skip
    assert drawn[-1].get_suptitle().startswith("Half-cheetah, goal velocity · seeds 1, 2 · ")


def test_seeds_are_thin_lines_and_their_mean(tmp_path, drawn):
    """Seeds of 1, 2, 3, 4 and 3, 4, 5, 6, ± 1 and ± 3: the mean is 2, 3, 4, 5, ± 2."""
    folders = [
        write_run(tmp_path, seed=seed, values=list(range(first, first + 4)), errors=[error] * 4, trained=trained)
        for seed, first, error, trained in ((2, 3, 3, 90), (1, 1, 1, 40))
    ]
    plots.adaptation_figure({"maml": folders})
    axis = drawn[0].axes[0]
    thin = [line for line in axis.lines if line.get_linewidth() < 1]
    assert [line.get_ydata().tolist() for line in thin] == [[1, 2, 3, 4], [3, 4, 5, 6]]
    mean = labelled(axis)["MAML, mean of 2 seeds,\n40 to 90 of 500 iterations"]
    assert mean.get_ydata().tolist() == [2, 3, 4, 5] and mean.get_linewidth() > 1
    (band,) = (each for each in axis.collections if not isinstance(each, LineCollection))
    (vertices,) = [path.vertices for path in band.get_paths()]
    at_the_start = vertices[vertices[:, 0] == 0, 1]
    assert (at_the_start.min(), at_the_start.max()) == (0, 4)


def test_seeds_of_other_settings_share_a_figure_of_their_own(tmp_path, drawn):
    given = {"outer": "trpo_subsampled"}
    write_run(tmp_path)
    first, second = (write_run(tmp_path, seed=seed, given=given) for seed in (1, 2))
    plots.draw(second)
    assert list(labelled(drawn[-1].axes[0])) == ["MAML, mean of 2 seeds", "MAML, published"]
    assert (first / "figure_5.png").exists() and not (second / "figure_5.png").exists()


def test_a_damaged_run_beside_it_stops_no_figure(tmp_path, drawn):
    (write_run(tmp_path, method="oracle") / "summary.json").write_text("{")
    plots.draw(write_run(tmp_path))
    assert "oracle" not in labelled(drawn[0].axes[0])


def test_trajectories_before_and_after_1_to_3_steps(tmp_path, drawn):
    folder = write_run(tmp_path, "point", trained=60)
    write_trajectories(folder, steps=5, episodes=3, goal=(-0.3, 0.4))
    assert is_png(plots.trajectories(folder))
    assert drawn[0].get_suptitle() == "2-D navigation: MAML · seed 1 · 60 of 100 iterations\ntest task 6 · ★ goal"
    titles = [axis.get_title(loc="left") for axis in drawn[0].axes]
    assert titles == ["before adaptation", "after 1 step", "after 2 steps", "after 3 steps"]
    for axis in drawn[0].axes:
        *paths, goal = axis.lines
        assert [len(line.get_xdata()) for line in paths] == [20, 20, 20]
        assert all(line.get_xydata()[0].tolist() == [0, 0] for line in paths)
        assert goal.get_xydata().tolist() == [[-0.3, 0.4]]
        assert axis.get_xlim() == axis.get_ylim()


@pytest.mark.parametrize(
    "draw, missing",
    [
        (plots.learning_curve, "metrics.csv"),
        (plots.trajectories, "trajectories_test.csv"),
        (lambda folder: plots.adaptation_figure({"maml": [folder]}), "summary.json"),
        (plots.draw, "summary.json"),
    ],
)
def test_missing_file_is_named_and_nothing_is_written(tmp_path, draw, missing):
    with pytest.raises(UserError, match=missing):
        draw(tmp_path)
    assert not list(tmp_path.iterdir())
