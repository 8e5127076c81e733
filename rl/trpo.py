"""The outer loop's step: a trust region on the KL, by conjugate gradients and a backtracking line search.

Every function takes vectors [P] of a policy's weights, and works eagerly or in a tf.function. Sources: [M]
cbfinn/maml_rl, sandbox/rocky/tf/optimizers/conjugate_gradient_optimizer.py and rllab/misc/krylov.py.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from data_generators.errors import UserError

HVP = ("finite_difference", "exact")  # how the KL's Hessian times a vector is computed
CG_TOLERANCE = 1e-10  # on r·r
DAMPING = 1e-5
BACKTRACK_RATIO = 0.8
BACKTRACKS = 15  # step lengths tried: 0.8⁰ … 0.8¹⁴


class Outcome(NamedTuple):
    """What an outer step did. loss, kl: at the last step length tried, whether accepted or not; 0-d tensors."""

    loss_before: tf.Tensor
    loss: tf.Tensor
    kl: tf.Tensor
    backtracks: tf.Tensor  # int: lengths that were given up
    accepted: tf.Tensor  # bool
    gradient_finite: tf.Tensor | bool = True  # where the step looks at that; TRPO's loss is not finite either then

    @property
    def finite(self):
        """Whether loss, KL and gradient are."""
        return bool(np.isfinite([self.loss, self.kl]).all() and self.gradient_finite)

    def reason(self, max_kl):
        """Why the step was rejected, in words; "" if it was not."""
        if self.accepted:
            return ""
        if not self.finite:
            return "gradient not finite" if np.isfinite([self.loss, self.kl]).all() else "loss or KL not finite"
        return "KL over its limit" if self.loss < self.loss_before and self.kl >= max_kl else "loss not lower"


def step(objective, weights, batch, max_kl, hvp, cg_iterations, curvature=None):
    """(weights, Outcome) after one TRPO step on θ; the weights are the same where it was rejected.

    objective: a `meta_policy.Objective`.
    weights: θ, a dict.
    batch: a MetaBatch.
    max_kl: δ.
    hvp: one of HVP; UserError for others.
    cg_iterations: of conjugate gradients.
    curvature: the MetaBatch that Hessian-vector products are of, where not all of `batch`: some of its tasks, as [M]
        may subsample. Gradient, loss and KL of the line search are of `batch` all the same.
    """
    if hvp not in HVP:
        raise UserError(f"hvp is {hvp!r}, expected one of {', '.join(HVP)}")
    theta, curvature = flatten(weights), batch if curvature is None else curvature
    loss_before, gradient = objective.loss_gradient(weights, batch)

    def kl_gradient(vector):
        return flatten(objective.kl_gradient(unflatten(vector, weights), curvature))

    def exact(vector):
        return flatten(objective.kl_product(weights, unflatten(vector, weights), curvature))

    product = finite_difference_product(kl_gradient, theta) if hvp == "finite_difference" else exact
    descent = descent_step(lambda vector: product(vector) + DAMPING * vector, flatten(gradient), max_kl, cg_iterations)
    new, outcome = line_search(
        lambda vector: objective.value(unflatten(vector, weights), batch), theta, descent, loss_before, max_kl
    )
    return unflatten(new, weights), outcome


def finite_difference_product(gradient, theta):
    """x -> [∇(θ + εx) − ∇(θ − εx)]/(2ε) with ε = 1/(‖θ‖ + 1e-8), about 0.1 here.

    [M] passes its number of slices, 1, where a base of 1e-8 was meant; the published runs have that.
    """
    epsilon = 1 / (tf.norm(theta) + 1e-8)
    return lambda x: (gradient(theta + epsilon * x) - gradient(theta - epsilon * x)) / (2 * epsilon)


def conjugate_gradient(product, b, iterations, tolerance=CG_TOLERANCE):
    """x that nearly solves product(x) = b; ends after so many iterations, or once the residual has r·r < tolerance."""

    def iterate(i, x, r, p, rr):
        z = product(p)
        v = rr / _dot(p, z)
        r = r - v * z
        rr_new = _dot(r, r)
        return i + 1, x + v * p, r, r + rr_new / rr * p, rr_new

    def unfinished(i, x, r, p, rr):
        return tf.logical_or(i == 0, rr >= tolerance)

    state = (0, tf.zeros_like(b), b, b, _dot(b, b))
    return tf.while_loop(unfinished, iterate, state, maximum_iterations=iterations)[1]


def descent_step(product, gradient, max_kl, cg_iterations):
    """The step that lowers the loss most where, to second order, KL ≤ δ: √(2δ/(dᵀHd + 1e-8))·d with d = H⁻¹g.

    To be subtracted. Its factor is 1 where that is no number, as dᵀHd < 0 makes it.
    """
    direction = conjugate_gradient(product, gradient, cg_iterations)
    length = tf.sqrt(2 * max_kl / (_dot(direction, product(direction)) + 1e-8))
    return tf.where(tf.math.is_nan(length), tf.ones_like(length), length) * direction


def line_search(value, theta, descent, loss_before, max_kl):
    """(θ − 0.8ⁿ·descent for the first n with a lower loss and KL ≤ δ, or θ; the Outcome).

    The step is rejected where loss or KL is no number, the loss is not lower, or KL ≥ δ.
    value: θ -> (loss, KL).
    theta, descent: vectors [P].
    loss_before: of θ.
    max_kl: δ.
    """

    def at(n):
        return theta - tf.cast(BACKTRACK_RATIO, theta.dtype) ** tf.cast(n, theta.dtype) * descent

    def failing(n, loss, kl):
        return tf.logical_not(tf.logical_and(loss < loss_before, kl <= max_kl))

    first = (0, *value(at(0)))
    n, loss, kl = tf.while_loop(
        failing, lambda n, *_: (n + 1, *value(at(n + 1))), first, maximum_iterations=BACKTRACKS - 1
    )
    accepted = tf.logical_and(loss < loss_before, kl < max_kl)  # False where one is no number
    return tf.where(accepted, at(n), theta), Outcome(loss_before, loss, kl, n, accepted)


def flatten(weights):
    """One vector of a dict of tensors."""
    return tf.concat([tf.reshape(w, [-1]) for w in weights.values()], 0)


def unflatten(vector, like):
    """The dict of tensors that `flatten` makes `vector` of; names and shapes as in `like`."""
    parts = tf.split(vector, [w.shape.num_elements() for w in like.values()])
    return {name: tf.reshape(part, w.shape) for (name, w), part in zip(like.items(), parts)}


def _dot(a, b):
    return tf.reduce_sum(a * b)
