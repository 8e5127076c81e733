"""Tiny random networks and tasks for the tests, and the same networks written again, for one task, with TensorFlow's
own convolution and pooling. Random normal everywhere: no ties, no zeros. Float64 unless told otherwise."""

import numpy as np
import tensorflow as tf

from data_generators.episode import Episode
from maml import losses, networks
from maml.meta_training import meta_gradient
from maml.method import Problem, num_tasks

KINDS = {  # kind: (input shape, arguments of conv_net or None for a dense net)
    "dense": ((6,), None),
    "strided": ((16, 16, 1), {}),
    "strided odd": ((17, 13, 2), {}),
    "max-pool": ((16, 16, 1), {"max_pool": True, "flatten": True}),
    "max-pool odd": ((19, 17, 2), {"max_pool": True, "flatten": True}),
}
OUTPUTS = 3
TRAIN_CLASSES = 5
SUPPORT, QUERIES = 4, 5  # examples of a task
SHOTS = SUPPORT / OUTPUTS  # K of a classifier's support set


def network(kind, norm, dtype=tf.float64, num_outputs=OUTPUTS, shape=None):
    """num_outputs: None for features. shape: of an input, where not the kind's."""
    own_shape, conv = KINDS[kind]
    shape = shape or own_shape
    if conv is None:
        return networks.dense_net(int(np.prod(shape)), (7, 5), num_outputs, norm, dtype)
    return networks.conv_net(shape, 3, num_outputs, norm, dtype=dtype, **conv)


def problem(kind, norm, loss, dtype=tf.float64, num_outputs=OUTPUTS):
    """A Problem of these networks: regression for the loss "mse", classification for "cross_entropy"."""
    return Problem(
        input_shape=KINDS[kind][0],
        num_outputs=num_outputs,
        network=lambda outputs, shape=None: network(kind, norm, dtype, outputs, shape),
        embedding=lambda: network(kind, norm, dtype, None),
        loss=losses.mse if loss == "mse" else losses.cross_entropy,
        metric=None if loss == "mse" else losses.accuracy,
        num_train_classes=None if loss == "mse" else TRAIN_CLASSES,
        maps=None if kind == "dense" else lambda shape, blocks: networks.conv_maps(shape, 3, blocks, norm, dtype=dtype),
    )


def given(network, loss, metric=None):
    """A Problem with just one network, whatever the number of outputs."""
    return Problem((1,), 1, lambda outputs: network, None, loss, metric)


def random_weights(net, seed=0, dtype=tf.float64):
    """As large as makes activations of about 1; biases, offsets and scales are random too."""
    rng, weights = np.random.default_rng(seed), {}
    for name, w in net.init(0).items():
        value = rng.normal(size=w.shape)
        scale = 0.3 if len(w.shape) == 1 else np.sqrt(2 / np.prod(w.shape[:-1]))
        weights[name] = tf.constant(name.startswith("gamma") + scale * value, dtype)
    return weights


def random_episode(kind, num_tasks, loss, seed=0, dtype=tf.float64, support=SUPPORT, query=QUERIES):
    """loss: "mse" for real targets, "cross_entropy" for one-hot ones."""
    rng, parts = np.random.default_rng(seed), []
    for n in (support, query):
        parts.append(rng.normal(size=(num_tasks, n, *KINDS[kind][0])))
        if loss == "mse":
            parts.append(rng.normal(size=(num_tasks, n, OUTPUTS)))
        else:
            parts.append(np.eye(OUTPUTS)[rng.integers(OUTPUTS, size=(num_tasks, n))])
    return Episode(*(tf.constant(part, dtype) for part in parts))


def loss_function(name):
    """(outputs, targets) -> [M], on the tasks of `random_episode`."""
    return losses.mse if name == "mse" else lambda logits, labels: losses.cross_entropy(logits, labels, SHOTS)


def mean_meta_gradient(method, weights, batch):
    """(metrics, gradients) of a Method's objective, means over the tasks; not compiled."""
    metrics, gradients, _ = meta_gradient(method.objective, weights, batch)
    return tf.nest.map_structure(lambda total: total / num_tasks(batch), (metrics, gradients))


def reference_forward(norm, max_pool, flatten):
    """conv_net's forward for one task, without the task axis: x [n, H, W, C] -> [n, outputs]."""

    def forward(weights, x):
        for i in range(4):
            x = tf.nn.conv2d(x, weights[f"conv{i + 1}"], 1 if max_pool else 2, "SAME") + weights[f"b{i + 1}"]
            if norm != "None":
                axes = [0, 1, 2] if norm == "batch_norm" else [1, 2, 3]
                mean = tf.reduce_mean(x, axes, keepdims=True)
                variance = tf.reduce_mean((x - mean) ** 2, axes, keepdims=True)
                x = (x - mean) / tf.sqrt(variance + (1e-3 if norm == "batch_norm" else 1e-12))
                x = x * weights.get(f"gamma{i}", 1) + weights[f"beta{i}"]
            x = tf.nn.relu(x)
            if max_pool:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = tf.reshape(x, [x.shape[0], -1]) if flatten else tf.reduce_mean(x, [1, 2])
        return x @ weights["w5"] + weights["b5"]

    return forward


def assert_close(got, expected, tolerance, what=""):
    """Largest difference below `tolerance` times the largest entry expected."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, what
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert error < tolerance, f"{what}: off by {error:.1e} of the largest entry"
