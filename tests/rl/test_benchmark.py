"""The benchmark: what is counted, and that every part of it is there. (Speeds are no test's business.)"""

import dataclasses
import re

import pytest
import tensorflow as tf

from maml.benchmarks import machine
from rl import benchmark
from rl.meta_policy import MetaBatch, Objective, Samples
from rl.meta_rl import MetaRL
from rl.policy import gaussian_mlp
from rl.settings import resolve


def tiny():
    return resolve("point", meta_batch_size=2, update_batch_size=2, horizon=5, jit=False)


def test_flops_of_a_small_policy_by_hand():
    """Layers 3 x 4 and 4 x 2: 24 and 16 a step. A gradient: inner 4·24 + 9·16, outer 2·24 + 3·16, together 336; a
    value: inner 96, outer 40. On 5 steps, 23 gradients and 2 values: 5·(23·336 + 2·136)."""
    given = dict(cg_iterations=10, steps=5, values=2)
    assert benchmark.trpo_flops([3, 4, 2], num_updates=1, **given) == 40_000
    # A second inner step: 240 more for a gradient, 96 for a value.
    assert benchmark.trpo_flops([3, 4, 2], num_updates=2, **given) == 40_000 + 5 * (23 * 240 + 2 * 96)


@pytest.mark.parametrize("num_updates", [0, 1, 2])
def test_flops_are_those_of_the_compiled_program(num_updates):
    """Of XLA's products, after it has dropped what nothing needs: one gradient more, and one value more."""
    sizes, steps = [3, 16, 8, 2], 40
    policy = gaussian_mlp(sizes[0], sizes[-1], hidden=sizes[1:-1])
    normal = tf.random.normal

    def samples():
        return Samples(
            normal([1, steps, 3]), normal([1, steps, 2]), normal([1, steps]), tf.ones([1, steps]),
            normal([1, steps, 2]), tf.zeros([1, 2]),
        )  # fmt: skip

    batch = MetaBatch(tuple(samples() for _ in range(num_updates)), samples())
    objective = Objective(policy, 0.1)
    one, another = (benchmark.trpo_flops(sizes, num_updates, 10, steps, values) for values in (1, 2))
    value = another - one
    gradient = (one - value) / 23
    for function, flops in ((objective._value, value), (objective._kl_gradient, gradient)):
        compiled = tf.function(function, jit_compile=True)
        program = compiled.experimental_get_compiler_ir(policy.init(1), batch)(stage="optimized_hlo")
        assert flops_of_products(program) == flops


def flops_of_products(program):
    """2 · output entries · length of the sums, of every `dot`."""
    shapes = re.findall(r"(%[\w.]+) = f32\[([\d,]+)\]", program)  # parameters too: they stand in lines of their own
    shapes = {name: [int(n) for n in shape.split(",")] for name, shape in shapes}
    total = 0
    for output, left, axis in re.findall(r"(%[\w.]+) = \S+ dot\((%[\w.]+), .*lhs_contracting_dims={(\d)}", program):
        total += 2 * int(tf.reduce_prod(shapes[output])) * shapes[left][int(axis)]
    return total


def test_the_parts_of_a_meta_iteration_are_its_time():
    run = MetaRL(tiny())
    metrics = run.iterate()
    assert list(run.seconds) == ["sampling", "advantages", "inner steps", "outer step"]
    assert min(run.seconds.values()) > 0 and metrics["sampling_seconds"] == run.seconds["sampling"]
    learning = sum(run.seconds.values()) - run.seconds["sampling"]
    assert metrics["learning_seconds"] == pytest.approx(learning)


def test_every_quantity_has_its_line(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "ROUNDS", 2)
    monkeypatch.setattr(machine, "SECONDS", 0.01)
    benchmark.report(tiny(), dataclasses.replace(tiny(), outer="trpo_subsampled", hvp_tasks=1))
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("point, 2 tasks, 2 times 2 episodes of each") and title.endswith("medians of 2")
    what = [re.fullmatch(r" *[\d,.]+ (\S+) +(.+)", line).groups() for line in lines]
    units = ["steps/s"] * 3 + ["s"] * 6 + ["GFLOP", "GFLOP/s", "GFLOP/s", "MiB"]
    assert [unit for unit, _ in what] == units
    assert "sampling" in what[4][1] and "outer step" in what[7][1] and what[-1][1] == "peak memory"
    assert max(map(len, (title, *lines))) <= 100


def test_robots_have_raw_physics_too(monkeypatch, capsys):
    seconds = {"sampling": 2.0, "advantages": 0.5, "inner steps": 0.5, "outer step": 5.0}
    rates = {"raw": 1e5, "lean": 1.6e5, "simulator": 8e4, "single": 5e3}
    rounds = [{"steps": 80_000, **seconds, "other outer step": 3.0, "flops": 4e11, "matmul": 1.6e11, **rates}]
    monkeypatch.setattr(benchmark, "rounds", lambda settings, other: rounds)
    benchmark.main("cheetah_vel")
    text = capsys.readouterr().out
    assert "100,000 mj_step/s" in text and "80 % and 50 % of these" in text
    assert "40,000 steps/s     sampling with the policy, 50 % of the simulator" in text
    assert "8.00 s           one meta-iteration" in text and "25 % sampling" in text
    assert "3.00 s           outer step by --outer=trpo_subsampled: meta-iteration 6.00 s" in text
    assert "80 GFLOP/s     outer step, 50 % of the next" in text
    assert max(map(len, text.splitlines())) <= 100
