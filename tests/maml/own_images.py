"""A small classifier, images and labels of one's own, and run folders, for the tests of `maml.trained`."""

import json

import numpy as np
import tensorflow as tf
from PIL import Image
from toys import random_weights

import maml
from maml import methods, networks
from maml.meta_training import Trainer
from maml.runs.checkpoints import Checkpoints, State
from maml.runs.problems import problem_of
from maml.runs.settings import resolve

SHAPE = (16, 16, 3)
NET = networks.conv_net(SHAPE, 4, 3, max_pool=True, flatten=True)  # compiled elsewhere: the other form of the layers
LABELS = ["cat", "ant", "bee", "ant", "cat", "ant"]  # 2 cats, 3 ants, 1 bee
ONE_HOT = np.eye(3, dtype=np.float32)[[2, 0, 1, 0, 2, 0]]  # sorted: ant, bee, cat


def small_settings(method=None, **given):
    """For images of SHAPE and three classes. MAML's step size is 0.05."""
    small = {"image_size": 16, "num_classes": 3, "num_filters": 4, "train_classes": 6}
    small |= {"update_lr": 0.05} if method is None else {}
    small = {name: value for name, value in small.items() if name not in methods.get(method or "maml").unused}
    return resolve("folder", method, **{**small, **given})


def make(net=NET, seed=0, origin="a test", **given):
    """MAML's, of random weights."""
    return maml.Classifier(small_settings(**given), random_weights(net, seed, tf.float32), origin)


def method_of(settings):
    return settings.card.build(settings.own, problem_of(settings))


def make_of(method, **given):
    """A method's, as its training begins."""
    settings = small_settings(method, **given)
    return maml.Classifier(settings, method_of(settings).init(0), "a test")


def images(n, seed=0, shape=SHAPE):
    """uint8: every image has its own colour, so that statistics of a batch differ from those of another."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, *shape)) * rng.random((n, 1, 1, 3)) * 255).astype(np.uint8)


def write_images(folder, arrays, names):
    folder.mkdir(parents=True, exist_ok=True)
    for array, name in zip(arrays, names):
        Image.fromarray(array).save(folder / name)
    return [folder / name for name in names]


def write_folder(folder):
    """Two cats, three ants, a bee; four images to classify, of which one is hidden and one is text."""
    for i, label in enumerate(LABELS):
        write_images(folder / label, images(6)[i : i + 1], [f"{i}.png"])
    write_images(folder, images(4, 1), ["d.png", "b.png", "c.png", "a.png"])
    write_images(folder, images(1), [".hidden.png"])
    (folder / "notes.txt").write_text("notes")
    return folder


def write_run(folder, settings, best=1):
    """A run with checkpoints of iterations 1 and 2, `best` by validation, as training writes them. {iteration: θ}."""
    method, training = method_of(settings), settings.training
    trainer = Trainer(method.init(0), training.meta_lr, training.optimizer, training.clip)
    state = State(trainer)
    state.best_iteration.assign(best)
    kept, weights = Checkpoints(folder / "checkpoints", state, settings.to_dict()), {}
    for iteration in (1, 2):
        weights[iteration] = random_weights(method, iteration, tf.float32)
        for name, w in weights[iteration].items():
            trainer.weights[name].assign(w)
        trainer.iteration.assign(iteration)
        kept.save(iteration)
    (folder / "config.json").write_text(json.dumps(settings.to_dict()))
    return weights


def one_line(error):
    """The text of an error, which has just one line."""
    (line,) = str(error.value).splitlines()
    return line
