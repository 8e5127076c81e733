"""The multi-task baseline, by hand and by NumPy: y = w·x, and a task's answer is a at x = 1: its error is (w − a)²."""

import numpy as np
import pytest
import tensorflow as tf
from toys import given

from data_generators.episode import Episode
from data_generators.errors import UserError
from maml import losses, methods
from maml.meta_training import Trainer, meta_gradient
from maml.methods import multi_task
from maml.networks import Network
from maml.optimizers import averaging
from maml.runs.settings import resolve


def init(seed):
    """A number that is the seed's."""
    return {"w": tf.random.stateless_normal([1], [seed, 0], dtype=tf.float64)}


LINE = given(Network(init, lambda weights, x: weights["w"][:, None] * x), losses.mse)


def tasks(*answers):
    """Episodes of two examples, x = 1 and y = a."""
    y = tf.constant(answers, tf.float64)[:, None, None] * tf.ones([1, 2, 1], tf.float64)
    return Episode(tf.ones_like(y), y, y[:, :0], y[:, :0])


def built(**settings):
    method = multi_task.build(multi_task.Settings(**{"networks": 3, "fit_lr": 0.1, "enough": 1e-4, **settings}), LINE)
    return method, method.init(1)


def numpy_fit(w, answer, enough=1e-4, rate=0.1, limit=10000, penalty=0.0, target=0.0):
    """(w, steps) of Adam on (w − a)² + λ(w − target)², until (w − a)² < enough."""
    m = v = 0.0
    for t in range(1, limit + 1):
        if (w - answer) ** 2 < enough:
            return w, t - 1
        g = 2 * (w - answer) + 2 * penalty * (w - target)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8 / np.sqrt(1 - 0.999**t))
    return w, limit


def fresh(theta, number):
    return float(theta["fresh/w"][number, 0])


def test_a_fit_is_adams_and_ends_when_the_error_is_small_enough():
    method, theta = built()
    result = method.objective(theta, tasks(2.0), 0.0)
    fitted, steps = numpy_fit(fresh(theta, 0), 2.0)
    assert 5 < steps < 200 and result["fit_steps"].numpy() == [steps]
    np.testing.assert_allclose(result["fit_loss"], [(fitted - 2) ** 2], rtol=1e-9)
    np.testing.assert_allclose(result["loss"], [0.5 * (theta["w"][0] - fitted) ** 2], rtol=1e-9)
    np.testing.assert_allclose(result["support_loss"], [(theta["w"][0] - 2) ** 2], rtol=1e-12)


def test_each_task_ends_by_itself_and_none_goes_on_beyond_the_limit():
    method, theta = built(num_updates=20)
    steps = method.objective(theta, tasks(fresh(built()[1], 0) + 0.05, 50.0), 0.0)["fit_steps"].numpy()
    assert 0 < steps[0] < 20 and steps[1] == 20


@pytest.mark.parametrize("pulled_to", ["zero", "mean"])
def test_fits_are_pulled(pulled_to):
    """A task's own error is what ends a fit, so that λ must be small enough for it to be reached."""
    method, theta = built(pulled_to=pulled_to, penalty=0.004)
    later = {**theta, "count": tf.ones([], tf.float64)}
    target = 0.0 if pulled_to == "zero" else float(theta["w"][0])
    fitted, steps = numpy_fit(fresh(theta, 1), 2.0, penalty=0.004, target=target)
    assert steps < 10000
    result = method.objective(later, tasks(2.0), 0.0)
    assert result["fit_steps"].numpy() == [steps]
    np.testing.assert_allclose(result["fit_loss"], [(fitted - 2) ** 2], rtol=1e-6)


def test_the_first_fit_has_no_mean_to_be_pulled_to():
    (plain, theta), (pulled, _) = built(), built(pulled_to="mean", penalty=100.0)
    got, expected = (method.objective(theta, tasks(2.0), 0.0) for method in (pulled, plain))
    np.testing.assert_array_equal(got["fit_loss"], expected["fit_loss"])


def test_theta_is_the_mean_of_the_fits():
    """Three networks, each from a start of its own; a fourth begins where the first did."""
    method, theta = built()
    trainer = Trainer(theta, averaging(1.0), "sgd")
    step, answers, fits = trainer.compile(method, jit=False), (2.0, -1.0, 5.0, 0.5), []
    for number, answer in enumerate(answers):
        step(tasks(answer))
        fits.append(numpy_fit(fresh(theta, number % 3), answer)[0])
        np.testing.assert_allclose(trainer.weights["w"], [np.mean(fits)], rtol=1e-9)
    assert trainer.weights["count"].numpy() == 4
    assert len({fresh(theta, number) for number in range(3)} | {float(theta["w"][0])}) == 4
    np.testing.assert_array_equal(trainer.weights["fresh/w"], theta["fresh/w"])


def test_the_gradient_is_theta_minus_the_fit():
    method, theta = built()
    _, gradients, carried = meta_gradient(method.objective, theta, tasks(2.0))
    np.testing.assert_allclose(gradients["w"], theta["w"] - numpy_fit(fresh(theta, 0), 2.0)[0], rtol=1e-9)
    assert carried["count"].numpy() == 1


def test_at_test_it_takes_mamls_steps():
    method, theta = built(inner_lr=0.25)
    new = tasks(2.0)
    state = method.step(method.start(theta, new.support_x, new.support_y), new.support_x, new.support_y)
    np.testing.assert_allclose(state["w"], [theta["w"] - 0.25 * 2 * (theta["w"] - 2)], rtol=1e-12)
    assert set(state) == {"w"}


@pytest.mark.parametrize("settings", [{"penalty": 0.1}, {"pulled_to": "mean"}])
def test_lambda_belongs_to_a_pull(settings):
    with pytest.raises(UserError, match="penalty is .*, expected a number where the weights are pulled"):
        multi_task.Settings(**settings)


def test_the_papers_three_rows_are_told_by_their_settings():
    labels = []
    for pulled_to, penalty in (("nothing", None), *multi_task.PENALTIES.items()):
        given = {"pulled_to": pulled_to, "penalty": penalty} if penalty else {}
        (cell,) = resolve("sinusoid", "multi_task", **given).cells(5)
        labels.append(cell.label)
    assert labels == [cell.label for cell in methods.get("multi_task").published] and len(set(labels)) == 3
