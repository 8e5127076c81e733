"""The settings of a reinforcement-learning run, and the paper's values for each experiment and method.

Field names are the command line's where it has one for images. Sources: [P] the paper (arXiv 1703.03400v3), [M]
cbfinn/maml_rl, files of maml_examples/ unless others are named, [D] the published results and the names of the
checkpoints that gave them.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from data_generators.errors import UserError
from maml.settings import Settings

DATASOURCES = ("point", "cheetah_vel", "cheetah_dir", "ant_vel", "ant_dir")
METHODS = ("maml", "pretrained", "random", "oracle")
NUM_TEST_TASKS = 40  # [M] maml_examples/test_maml_*.py
HORIZONS = {"point": 100, "cheetah_vel": 200, "cheetah_dir": 200, "ant_vel": 200, "ant_dir": 200}  # [P] A.2
CG_ITERATIONS = 10  # [M] sandbox/rocky/tf/optimizers/conjugate_gradient_optimizer.py
CHOICES = {
    "datasource": DATASOURCES,
    "method": METHODS,
    "task_draw": ("iteration", "once", "episode"),
    "activation": ("relu", "tanh"),
    "outer": ("trpo", "adam"),
    "hvp": ("finite_difference", "exact"),
}


@dataclass(frozen=True)
class Config(Settings):
    """Everything that decides what a run computes. The paper's symbol stands first where it has one.

    The baselines are settings of the same machinery. Without inner steps the outer step is plain policy optimisation;
    one "task" whose environments differ in goal is training on the steps of all of them together.
    """

    FREE_TO_CHANGE: ClassVar = ("metatrain_iterations", "tasks_per_chunk", "jit")

    datasource: str  # which environment
    method: str = "maml"
    metatrain_iterations: int = 500  # meta-updates
    meta_batch_size: int = 40  # M, policies adapted in a meta-update, one a task
    update_batch_size: int = 20  # K, episodes of horizon H: each policy takes K·H steps, before adapting and after
    envs_per_task: int = 1  # E, environments stepped together for each policy, see `sampler.Sampler`
    task_draw: str = "iteration"  # when an environment gets a new task: each iteration, never again, each episode
    num_updates: int = 1  # inner steps in training; 0: none
    update_lr: float = 0.1  # α, inner step size in training
    stop_grad: bool = False  # first order: drop the second derivatives
    outer: str = "trpo"  # the outer step; adam is [M]'s for the pretraining of 2-D navigation
    max_kl: float = 0.01  # δ, TRPO's limit on the mean KL
    hvp: str = "finite_difference"  # TRPO's Hessian-vector product, as [M], or exact
    cg_iterations: int | None = None  # TRPO's conjugate gradients; given None it becomes CG_ITERATIONS
    meta_lr: float = 0.001  # Adam's step size
    oracle: bool = False  # observations end with the task
    activation: str = "relu"  # of the hidden layers
    horizon: int | None = None  # H, steps of an episode; given None it becomes that of HORIZONS
    seed: int = 1  # of the initial weights, the tasks and the episodes
    tasks_per_chunk: int = 1  # tasks whose derivatives are computed together
    jit: bool = True  # compile with XLA

    def __post_init__(self):
        expect = self.check_types()
        for name, choices in CHOICES.items():
            expect(getattr(self, name) in choices, name, "one of " + ", ".join(choices))
        for name in ("cg_iterations", "horizon"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, self._paper[name])
        for name in ("meta_batch_size", "update_batch_size", "tasks_per_chunk", "horizon", "cg_iterations"):
            expect(getattr(self, name) >= 1, name, "at least 1")
        for name in ("metatrain_iterations", "num_updates"):
            expect(getattr(self, name) >= 0, name, "at least 0")
        expect(self.metatrain_iterations == 0 or self.method != "random", "metatrain_iterations", "0 of a random policy")
        expect(1 <= self.envs_per_task <= self.update_batch_size, "envs_per_task", f"1 to {self.update_batch_size}")
        expect(0 <= self.seed < 2**31, "seed", "0 to 2147483647")
        for name in ("update_lr", "max_kl", "meta_lr"):
            expect(0 < getattr(self, name) < float("inf"), name, "a positive number")
        self._check_idle(expect)

    def _check_idle(self, expect):
        """Settings that this training has no use for must be the paper's: others would look like another experiment."""
        usual = self._paper
        for here, what, names in (
            (self.method == "random", "a random policy", _OF_TRAINING),
            (self.num_updates == 0, "training without inner steps", ("update_lr", "stop_grad")),
            (self.outer == "adam", "outer=adam", ("max_kl", "hvp", "cg_iterations")),
            (self.outer == "trpo", "outer=trpo", ("meta_lr",)),
        ):
            for name in names if here else ():
                expected = f"{usual[name]} with {what}, where it changes nothing"
                if name in ("update_lr", "update_batch_size"):
                    expected += f"; to test with another: --train_{name}={usual[name]} beside it"
                expect(getattr(self, name) == usual[name], name, expected)

    @property
    def _paper(self):
        """{name: the paper's value} of all settings, for this environment and method."""
        values = {field.name: field.default for field in dataclasses.fields(self)}
        values |= dict(datasource=self.datasource, cg_iterations=CG_ITERATIONS, horizon=HORIZONS[self.datasource])
        return values | dict(preset(self.datasource, self.method), method=self.method)

    @property
    def total_iterations(self):
        return self.metatrain_iterations

    @property
    def experiment(self):
        """Name of the run folder: environment, method, and what makes it another than the paper's."""
        name = self.datasource if self.method == "maml" else f"{self.datasource}_{self.method}"
        name += "_first_order" if self.stop_grad else ""
        name += f"_cg{self.cg_iterations}" if self.cg_iterations != CG_ITERATIONS else ""
        return name if self.outer == self._paper["outer"] else f"{name}_{self.outer}"

    @property
    def is_papers(self):
        """Whether a published curve may stand beside the result: the paper's settings, however many iterations.

        Either Hessian-vector product: they estimate the same.
        """
        free, paper = (*self.FREE_TO_CHANGE, "seed", "hvp"), self._paper
        return all(value == paper[name] for name, value in self.to_dict().items() if name not in free)


@dataclass(frozen=True)
class TestProtocol:
    """How a policy is tested: plain gradient steps on each of several tasks, fresh episodes before each of them.

    Sources of the published curves': [M] test_maml_point.py, test_maml_cheetah.py, test_maml_cheetah_direc.py,
    test_maml_ant.py, test_maml_ant_direc.py.
    """

    __test__ = False  # no test, whatever pytest thinks of its name

    steps: int  # gradient steps, 0 for the oracle
    first_lr: float  # step size of the first
    later_lr: float  # of those after it
    update_batch_size: int  # K, episodes of horizon H: K·H steps a task before each gradient step
    tasks: int  # the first so many of the published curves' tasks
    checkpoint: object = "best"  # by return after adaptation in training, "latest", or an iteration
    suffix: str = ""  # of the tables' names, empty for the published protocol

    def __post_init__(self):
        if not 2 <= self.tasks <= NUM_TEST_TASKS:
            raise UserError(f"eval_tasks is {self.tasks}, expected 2 to {NUM_TEST_TASKS}, as the published curves have")
        if self.update_batch_size < 1:
            raise UserError(f"update_batch_size is {self.update_batch_size}, expected at least 1")
        if not 0 < self.first_lr < float("inf"):
            raise UserError(f"update_lr is {self.first_lr}, expected a positive number")

    @property
    def learning_rates(self):
        return [self.first_lr, *[self.later_lr] * (self.steps - 1)][: self.steps]


# Step sizes of the first gradient step at test. [M] the scripts of TestProtocol
FIRST_LR = {
    "point": {"maml": 0.5, "pretrained": 0.5, "random": 0.5},
    "cheetah_vel": {"maml": 0.1, "pretrained": 0.02, "random": 0.1},
    "cheetah_dir": {"maml": 0.1, "pretrained": 0.2, "random": 1.0},
    "ant_vel": {"maml": 0.1, "pretrained": 0.2, "random": 1.0},
    "ant_dir": {"maml": 0.1, "pretrained": 0.2, "random": 1.0},
}


def test_protocol(config, rollouts=None, first_lr=None, tasks=None, checkpoint="best"):
    """The TestProtocol of a run: the published curve's; of MAML with another α or K than the paper's, with those.

    What is given replaces it, and shows in the suffix.
    """
    name, method = config.datasource, config.method
    usual = {
        "rollouts": 40 if name in ("point", "ant_dir") else 20,
        "tasks": NUM_TEST_TASKS,
        "lr": FIRST_LR[name].get(method, 0.1),
    }
    if method == "maml":
        paper = preset(name, method)
        usual |= {"rollouts": config.update_batch_size} if config.update_batch_size != paper["update_batch_size"] else {}
        usual |= {"lr": config.update_lr} if config.update_lr != paper["update_lr"] else {}
    asked = {"rollouts": rollouts, "tasks": tasks, "lr": first_lr}
    chosen = {what: value if asked[what] is None else asked[what] for what, value in usual.items()}
    suffix = {"best": "", "latest": "_latest"}.get(checkpoint, f"_iteration_{checkpoint}")
    suffix += "".join(f"_{what}_{chosen[what]:g}" for what in usual if chosen[what] != usual[what])
    return TestProtocol(
        steps=0 if method == "oracle" else 4 if name == "point" else 3,
        first_lr=chosen["lr"],
        # [M] 0.01 in the last script for ant direction, and MAML's published curve is flat from there on; 0.5 in the
        # other scripts, and in that one when the curves of its baselines were made.
        later_lr=chosen["lr"] * (0.01 if (name, method) == ("ant_dir", "maml") else 0.5),
        update_batch_size=chosen["rollouts"],
        tasks=chosen["tasks"],
        checkpoint=checkpoint,
        suffix=suffix,
    )


test_protocol.__test__ = False

# [M] the iteration tested, where one is named [D], else the last of the script that gave it: those curves of the
# direction tasks are of February 2017, when the cheetah's script had 500, the ant's 1000.
PRETRAINED_ITERATIONS = {"cheetah_vel": 475, "cheetah_dir": 500, "ant_vel": 575, "ant_dir": 1000}
ORACLE_ITERATIONS = {"point": 100, "cheetah_vel": 975, "cheetah_dir": 500, "ant_vel": 550, "ant_dir": 1975}


def preset(datasource, method):
    """The paper's settings for an environment and a method, but the defaults of Config. UserError for unknown ones."""
    for what, value, known in (("datasource", datasource, DATASOURCES), ("method", method, METHODS)):
        if value not in known:
            raise UserError(f"{what} is {value!r}, expected one of {', '.join(known)}")
    if method == "random":  # a policy as it is initialised, adapted
        # [M] test_maml_point.py builds it with the default activation, the other scripts with ReLU.
        return dict(metatrain_iterations=0, activation="tanh" if datasource == "point" else "relu")
    if method == "oracle":
        return dict(
            _POOLED,
            metatrain_iterations=ORACLE_ITERATIONS[datasource],
            # [M] trpo_point.py: 1000 steps an iteration; sampler: as many environments as episodes
            **(dict(update_batch_size=10, envs_per_task=10) if datasource == "point" else {}),
            task_draw="episode",  # [M] the *_oracle.py environments draw at every reset
            oracle=True,
        )
    if method == "pretrained" and datasource != "point":
        return dict(_POOLED, metatrain_iterations=PRETRAINED_ITERATIONS[datasource], task_draw="once")
    settings = dict(
        # [M] maml_trpo_point.py; [D] the checkpoint of ant direction; [P] A.2 has 500 for all
        metatrain_iterations={"point": 100, "ant_dir": 575}.get(datasource, 500),
        meta_batch_size=20 if datasource == "point" else 40,  # [P] A.2, [D]
        update_batch_size=40 if datasource == "ant_dir" else 20,  # [P] A.2
        # [P] A.2 has 0.1 for all; [M] maml_trpo_point.py 0.5, and [D]
        update_lr=0.5 if datasource == "point" else 0.1,
        max_kl=0.02 if datasource == "cheetah_dir" else 0.01,  # [D]
        # [M] one. More are faster, and change nothing where no episode ends early; where some do, they favour those.
        envs_per_task=4 if datasource.startswith("cheetah") else 1,
    )
    if method == "pretrained":  # [M] maml_npo.py, use_maml=False: one Adam step an iteration on the loss of θ
        settings |= dict(num_updates=0, outer="adam", meta_lr=0.001)
    return settings


# What a policy that is not trained has no use for.
_OF_TRAINING = tuple(
    "meta_batch_size update_batch_size envs_per_task task_draw num_updates update_lr stop_grad outer max_kl hvp cg_iterations meta_lr".split()
)

# [M] cluster_trpo_cheetah.py, cluster_trpo_ant.py: TRPO on 20,000 steps an iteration, one baseline for all of them; 100
# environments at the time of the paper (sandbox/rocky/tf/algos/batch_polopt.py), each with a task of its own.
_POOLED = dict(meta_batch_size=1, update_batch_size=100, envs_per_task=100, num_updates=0, max_kl=0.01)


def resolve(datasource, method="maml", **given):
    """A Config: what is given, and the paper's value for whatever is None. Unknown names raise TypeError."""
    given = {name: value for name, value in given.items() if value is not None}
    settings = preset(datasource, method)
    rollouts = given.get("update_batch_size", 0)
    if rollouts >= 1 and "envs_per_task" not in given and "envs_per_task" in settings:
        settings["envs_per_task"] = max(e for e in range(1, settings["envs_per_task"] + 1) if rollouts % e == 0)
    return Config(datasource=datasource, method=method, **{**settings, **given})
