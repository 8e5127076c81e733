"""Few-shot forecasting: each task is one damped oscillator; from ten short windows of it, foretell what comes next.

    python examples/time_series.py

MAML with a network, a loss and tasks of one's own. Eight values are the input, the one behind them is the target.
"""

import argparse

import numpy as np
import tensorflow as tf

import maml
from data_generators.episode import Episode
from maml.methods import maml as algorithm

WINDOW, POINTS = 8, 10


def sample(seed, num_tasks):
    """An Episode: windows [M, n, WINDOW] and the values behind them [M, n, 1], of M oscillators."""
    rng = np.random.default_rng(seed)
    frequency, decay, phase = (rng.uniform(*r, [num_tasks, 1, 1]) for r in ((0.3, 1.5), (0.0, 0.1), (0.0, 6.3)))
    begin = rng.uniform(0, 10, [num_tasks, 2 * POINTS, 1])
    time = begin + np.arange(WINDOW + 1)
    series = (np.exp(-decay * time) * np.sin(frequency * time + phase)).astype(np.float32)
    series += 0.02 * rng.standard_normal(series.shape, np.float32)
    x, y = series[..., :WINDOW], series[..., WINDOW:]
    return Episode(x[:, :POINTS], y[:, :POINTS], x[:, POINTS:], y[:, POINTS:])


def init(seed):
    """θ of a network with one hidden layer."""
    normal = [tf.random.stateless_normal(shape, [seed, i]) for i, shape in enumerate(([WINDOW, 64], [64, 1]))]
    return {"w1": normal[0] / 3, "b1": tf.zeros([64]), "w2": normal[1] / 8, "b2": tf.zeros([1])}


def forward(weights, x):
    """One task: [n, WINDOW] -> [n, 1]."""
    return tf.tanh(x @ weights["w1"] + weights["b1"]) @ weights["w2"] + weights["b2"]


def main(iterations):
    """The mean squared error on new oscillators after 0, 1, … steps."""
    network = maml.Network(init, maml.single_task(forward))
    problem = maml.Problem((WINDOW,), 1, lambda outputs: network, embedding=None, loss=maml.mse, metric=None)
    method = algorithm.build(algorithm.Settings(inner_lr=0.1, num_updates=1), problem)
    trainer = maml.Trainer(method.init(seed=1), learning_rate=0.002)
    step = trainer.compile(method, tasks_per_chunk=8, jit=False)
    for i in range(iterations):
        step(sample([1, i], num_tasks=16))

    new = sample([2, 0], num_tasks=200)
    state, errors = method.start(trainer.current_weights(), new.support_x, new.support_y), []
    for _ in range(4):
        errors.append(float(tf.reduce_mean(maml.mse(method.predict(state, new.query_x), new.query_y))))
        state = method.step(state, new.support_x, new.support_y)
    print("mean squared error after 0, 1, 2, 3 steps:", ", ".join(f"{error:.4f}" for error in errors))
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=2000)
    main(parser.parse_args().iterations)
