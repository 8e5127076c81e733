"""What the settings make of a data source: the paper's networks, and the tasks of training cut to what there is."""

import killed
import pytest
import tensorflow as tf

from data_generators.errors import UserError
from data_generators.sinusoid import SinusoidTasks
from maml.methods.card import Episodes
from maml.runs.problems import input_shape_of, problem_of, training_episodes
from maml.runs.settings import resolve


def shapes(network):
    return {name: w.shape.as_list() for name, w in network.init(0).items()}


def network_of(settings, *input_shape):
    problem = problem_of(settings, input_shape or None)
    return problem.network(problem.num_outputs)


@pytest.mark.parametrize(
    "settings, shape",
    [
        (resolve("sinusoid"), (1,)),
        (resolve("sinusoid", "oracle"), (3,)),
        (resolve("omniglot"), (28, 28, 1)),
        (resolve("glyphs"), (28, 28, 1)),
        (resolve("miniimagenet"), (84, 84, 3)),
        (resolve("folder", image_size=32, channels=1), (32, 32, 1)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_shape_of_an_example_is_known_without_the_data(settings, shape):
    assert input_shape_of(settings) == problem_of(settings).input_shape == shape


def test_a_sine_wave_has_two_hidden_layers_of_40():
    """[P] 5.1."""
    expected = {"w1": [1, 40], "b1": [40], "w2": [40, 40], "b2": [40], "w3": [40, 1], "b3": [1]}
    assert shapes(network_of(resolve("sinusoid"))) == expected


def test_characters_have_four_convolutions_and_a_mean_over_space():
    """[P] 5.2: 64 filters."""
    got = shapes(network_of(resolve("omniglot", num_classes=20)))
    assert [got[f"conv{i}"] for i in (1, 2, 3, 4)] == [[3, 3, 1, 64]] + [[3, 3, 64, 64]] * 3
    assert got["w5"] == [64, 20] and "beta0" in got and "gamma0" not in got


def test_photographs_have_their_last_map_whole():
    """[C] maml.py: 5 x 5 x 32 of four max-pools."""
    assert shapes(network_of(resolve("miniimagenet")))["w5"] == [800, 5]


def test_the_dense_classifier_has_four_hidden_layers():
    """[P] 5.2, A.1."""
    got = shapes(network_of(resolve("omniglot", conv=False)))
    assert [got[f"w{i}"] for i in range(1, 6)] == [[784, 256], [256, 128], [128, 64], [64, 64], [64, 5]]


@pytest.mark.parametrize("given", [{}, {"conv": False}])
def test_an_embedding_is_the_network_without_its_last_layer(given):
    problem = problem_of(resolve("omniglot", **given))
    last = {"w5", "b5"}
    expected = {name: shape for name, shape in shapes(problem.network(5)).items() if name not in last}
    assert shapes(problem.embedding()) == expected


def test_features_are_as_long_as_the_last_layer_is_wide():
    embedding = problem_of(resolve("omniglot", num_filters=4, jit=False)).embedding()
    weights = {name: w[None] for name, w in embedding.init(0).items()}
    assert embedding.forward(weights, tf.zeros([1, 3, 28, 28, 1])).shape == [1, 3, 4]


def test_the_norm_is_the_settings():
    got = shapes(network_of(resolve("omniglot", "prototypical", norm_scale=True, norm_averages=True)))
    assert {"gamma3", "moving_mean3", "moving_variance3"} <= got.keys()


# The tasks of training


def episodes(settings, **sizes):
    return training_episodes(settings, killed.image_tasks(**sizes))


def test_mamls_tasks_are_those_of_the_test():
    settings = killed.image_settings(update_batch_size=2, query_batch_size=7)
    assert episodes(settings, sizes=(9, 9)) == (Episodes(2, 2, 7), None)
    cut, said = episodes(settings)  # of four images a class
    assert cut == Episodes(2, 2, 2) and "of 2 queries a class instead of 2-way 2-shot tasks of 7 queries" in said


def test_what_a_method_wants_is_taken_where_the_data_have_it():
    settings = resolve("glyphs", "prototypical", num_classes=2, train_ways=3, train_queries=2)
    assert episodes(settings, sizes=(4, 4, 4)) == (Episodes(3, 1, 2), None)


def test_what_the_data_have_not_is_cut_and_said():
    settings = resolve("glyphs", "prototypical", num_classes=2, train_ways=60, train_queries=5)
    cut, said = episodes(settings, sizes=(4, 3, 4))
    assert cut == Episodes(3, 1, 2)
    assert said == (
        "there are 3 classes to train on, the smallest of 3 images: trained on 3-way 1-shot tasks of 2 queries a class "
        "instead of 60-way 1-shot tasks of 5 queries a class"
    )


def test_a_class_without_an_image_left_to_ask_is_an_error():
    settings = resolve("glyphs", "prototypical", num_classes=2, update_batch_size=4)
    with pytest.raises(UserError, match="has 4 images; 4 support images and one query image need at least 5"):
        episodes(settings)


def test_a_single_class_is_nothing_to_train_on():
    settings = resolve("glyphs", "prototypical", num_classes=2)
    with pytest.raises(UserError, match="there is 1 class to train on, expected two or more"):
        episodes(settings, sizes=(4,))


def test_waves_have_no_classes_to_cut():
    assert training_episodes(resolve("sinusoid"), SinusoidTasks())[1] is None
