"""Checkpoints as the authors' code (cbfinn/maml at a7f45f1) writes them: TensorFlow 1's graph, optimiser and Saver.

Variables are made in the order and scopes of their maml.py, so TensorFlow itself gives them their names.
"""

import tensorflow as tf

v1 = tf.compat.v1


def save(prefix, weights, adam=False, without=()):
    """weights: {name: array} of one of our networks. adam: with the optimiser's slots. without: our names left out."""
    weights = {name: tf.convert_to_tensor(w).numpy() for name, w in weights.items()}
    conv = "conv1" in weights
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("model"):
            made = _construct_conv_weights(weights) if conv else _construct_fc_weights(weights)
            # forward_conv calls its scopes 0, 1, 2, 3; forward_fc '0' and then str(i + 1) for i = 1, 2, …
            for i in range(4 if conv else sum(name.startswith("w") for name in weights) - 1):
                with v1.variable_scope(str(i if conv or i == 0 else i + 1)):
                    made |= _normalize(weights, i)
        variables = [variable for name, variable in made.items() if name not in without]
        if adam:
            v1.train.AdamOptimizer(0.001).minimize(tf.add_n([tf.reduce_sum(w * w) for w in variables]))
            variables = v1.global_variables()
        session.run(v1.global_variables_initializer())
        v1.train.Saver(variables).save(session, str(prefix))


def _construct_conv_weights(weights):
    made = {}
    for i in range(1, 5):
        made[f"conv{i}"] = v1.get_variable(f"conv{i}", initializer=weights[f"conv{i}"])
        made[f"b{i}"] = v1.Variable(weights[f"b{i}"])
    return made | {name: v1.Variable(weights[name], name=name) for name in ("w5", "b5")}


def _construct_fc_weights(weights):
    last = max(int(name[1:]) for name in weights if name.startswith("w"))
    return {name: v1.Variable(weights[name]) for i in range(1, last + 1) for name in (f"w{i}", f"b{i}")}


def _normalize(weights, i):
    """`tf.contrib.layers.batch_norm` makes beta and moving averages, `layer_norm` beta and gamma."""
    made = {f"{name}{i}": v1.get_variable(name, initializer=weights[f"{name}{i}"])
            for name in ("beta", "gamma") if f"{name}{i}" in weights}  # fmt: skip
    if f"beta{i}" in weights and f"gamma{i}" not in weights:
        for name in ("moving_mean", "moving_variance"):
            made[f"{name}{i}"] = v1.get_variable(name, initializer=weights[f"beta{i}"])
    return made
