"""Reinforcement learning as a kind of learning (`maml.runs.kind`), for the command line and runs.

What simulates needs MuJoCo and says so where it is missing. It is imported when a learner is made, so that the command
line, figures and reports of Pythons without MuJoCo 4 work.
"""

from maml.runs import memory
from maml.runs.kind import Kind, checkpoint_of
from rl import protocol, settings
from rl.policy import HIDDEN
from rl.tasks import DATASOURCES

NUMBERS_A_STEP = 5  # of observation, action and reward, at least
TITLE = "reinforcement learning"


def _record_types(datasource, method=None):
    """One record, whatever the data source and the method."""
    return {TITLE: settings.Settings}


def _resolve(datasource, options, **given):
    return settings.resolve(datasource, **given)


def _protocol(settings, options):
    return protocol.protocol_of(
        settings,
        rollouts=options.get("test_update_batch_size"),
        first_lr=options.get("test_update_lr"),
        tasks=options.get("eval_tasks"),
        checkpoint=checkpoint_of(settings, options),
    )


def _of_training(settings):
    """{what: bytes} that it takes at least (see `maml.runs.memory`)."""
    before = settings.num_updates * settings.rollouts  # all are kept until the outer step
    rollouts = before + (settings.outer_rollouts or settings.rollouts)
    steps = settings.num_tasks * rollouts * settings.horizon
    weights = memory.FLOAT * settings.context_size * HIDDEN[0]  # of the context, the only size that isn't the robot's
    return {"the weights": weights, "a batch of episodes": _episodes(steps)}


def _episodes(steps):
    return NUMBERS_A_STEP * memory.FLOAT * steps


def _learner(settings, options):
    """A PolicyLearner."""
    from rl.film import frames  # noqa: PLC0415 (MuJoCo)
    from rl.learner import PolicyLearner  # noqa: PLC0415 (MuJoCo)

    if options.get("render"):
        frames.check_renderer(settings.datasource)
    if options.get("train"):
        memory.check(_of_training(settings))
    memory.check({"the episodes of a test": _episodes(_protocol(settings, options).rollouts * settings.horizon)})
    return PolicyLearner(settings)


KIND = Kind(
    name="rl",
    title=TITLE,
    datasources=DATASOURCES,
    methods=tuple(settings.METHODS),
    test_flags=("train", "test_iter", "test_update_batch_size", "test_update_lr", "eval_tasks", "render"),
    record_types=_record_types,
    resolve=_resolve,
    from_dict=settings.Settings.from_dict,
    protocol=_protocol,
    learner=_learner,
    strategies=("none", "multi_worker"),
)
