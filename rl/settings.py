"""The settings of a reinforcement-learning run, and the paper's values for each experiment and method.

Sources: [P] the paper, arXiv 1703.03400v3; [M] cbfinn/maml_rl, files of maml_examples/ unless others are named; [D] the
published results and the names of the checkpoints that gave them; [R] Raghu, Raghu, Bengio, Vinyals, ICLR 2020,
arXiv 1909.09157; [Q] jonasrothfuss/ProMP, the code of Rothfuss et al., ICLR 2019, arXiv 1810.06784.
"""

import dataclasses
from dataclasses import dataclass

from data_generators.errors import UserError
from maml.methods import card
from maml.methods.card import Record, keys, setting
from rl.tasks import DATASOURCES, HORIZONS, TITLES

METHODS = {  # {name: title}
    "maml": "MAML",
    "pretrained": "pretrained",
    "random": "random",
    "oracle": "oracle",
    "anil": "ANIL",
    "context_vector": "context vector",
}
BASELINES = ("pretrained", "random", "oracle")  # what the authors' flag may name
OUTER = {  # {name: words}
    "trpo": "TRPO",
    "trpo_subsampled": "TRPO, products of a quarter of the tasks",
    "adam": "Adam",
    "promp": "ProMP's objective",
}
BY_ADAM = ("adam", "promp")  # which of them are steps of Adam
# Of two runs that differ in these alone, one is not by other settings than the other, but another one.
IDENTITY = ("datasource", "method", "seed")


@dataclass(frozen=True)
class Settings(Record):
    """Everything that decides what a run computes. UserError for what can't be.

    The baselines are settings of the same machinery. Without inner steps the outer step is plain policy optimisation;
    one "task" whose environments differ in goal is training on the steps of all of them together.
    """

    datasource: str = setting("point", "what moves, and what it is to do", flag=False, choices=DATASOURCES)
    method: str = setting(
        "maml", "maml, one of the paper's comparisons, ANIL, or the context vector", flag=False, choices=METHODS
    )
    metatrain_iterations: int = setting(500, "meta-updates", at_least=0, free=True)
    num_tasks: int = setting(40, "M: policies adapted in a meta-update, one a task", flag="meta_batch_size", at_least=1)
    rollouts: int = setting(
        20, "K: episodes of each policy, before adapting and after", flag="update_batch_size", at_least=1
    )
    outer_rollouts: int | None = setting(
        None, "episodes of each adapted policy in training, for the outer step alone; nothing: K", at_least=1,
        flag="outer_batch_size", added=True,
    )  # fmt: skip
    envs_per_task: int = setting(1, "E: environments stepped together for each policy", flag=False, at_least=1)
    task_draw: str = setting(
        "iteration", "an environment gets a new task each iteration, once, or each episode", flag=False,
        choices=("iteration", "once", "episode"),
    )  # fmt: skip
    num_updates: int = setting(1, "inner steps in training; 0: none", at_least=0)
    inner_lr: float = setting(0.1, "α: step size of the inner loop", flag="update_lr", positive=True)
    first_order: bool = setting(
        False, "first order: drop the second derivatives", flag="stop_grad", tag={True: "first_order"}
    )
    outer: str = setting(
        "trpo", "the outer step; one that isn't the paper's brings settings of its own", choices=tuple(OUTER), tag="{}",
        words=OUTER,
    )  # fmt: skip
    max_kl: float = setting(0.01, "δ: TRPO's limit on the mean KL", positive=True)
    hvp: str = setting(
        "finite_difference", "TRPO's Hessian-vector product: the authors', or exact",
        choices=("finite_difference", "exact"), tag="hvp_{}", words="{} Hessian-vector products",
    )  # fmt: skip
    cg_iterations: int = setting(
        10, "TRPO's conjugate gradients", at_least=1, added=True, tag="cg{}", words="{} CG iterations"
    )  # [M] sandbox/rocky/tf/optimizers/conjugate_gradient_optimizer.py
    hvp_tasks: int | None = setting(
        None, "tasks that TRPO's Hessian-vector products are of, drawn anew each iteration; nothing: all of them",
        at_least=1, added=True, words="Hessian-vector products of {} tasks",
    )  # fmt: skip
    inner_loss: str = setting(
        "log_likelihood", "of what the inner step is a gradient; the ratio's has the low-variance curvature of ProMP",
        choices=("log_likelihood", "likelihood_ratio"), added=True, tag="inner_{}",
    )  # fmt: skip
    ratio_clip: float | None = setting(
        None, "ε: the outer loss cuts the likelihood ratio to 1 ± ε where that is less gain; nothing: it doesn't",
        positive=True, added=True,
    )  # fmt: skip
    inner_kl_penalty: float = setting(
        0.0, "η: weight in the outer loss of the KL between the policies before the inner step", at_least=0, added=True
    )
    outer_steps: int = setting(1, "Adam steps on the episodes of an iteration", at_least=1, added=True)
    meta_lr: float = setting(0.001, "β: step size of Adam as the outer step", positive=True)
    oracle: bool = setting(False, "observations end with the task", flag=False)
    adapted: str = setting(
        "all", "what an inner step moves: all weights, the head, the context", flag=False,
        choices=("all", "head", "context"), added=True,
    )  # fmt: skip
    context_size: int = setting(0, "numbers of the context vector beside each observation", at_least=0, added=True)
    activation: str = setting("relu", "of the hidden layers", flag=False, choices=("relu", "tanh"))
    horizon: int = setting(200, "H: steps of an episode", at_least=1, added=True)
    seed: int = setting(1, "of the initial weights, the tasks and the episodes", at_least=0)
    tasks_per_chunk: int = setting(1, "tasks whose derivatives are computed together", at_least=1, free=True)
    jit: bool = setting(True, "compile with XLA", free=True)

    def __post_init__(self):
        super().__post_init__()
        untrained = self.method == "random"
        self.expect(not untrained or self.metatrain_iterations == 0, "metatrain_iterations", "0 of a random policy")
        self.expect(self.envs_per_task <= self.rollouts, "envs_per_task", f"1 to {self.rollouts}")
        self.expect((self.hvp_tasks or 1) <= self.num_tasks, "hvp_tasks", f"1 to {self.num_tasks}, the tasks there are")
        self.expect(self.seed < 2**31, "seed", "0 to 2147483647")
        self.expect(self.inner_kl_penalty < float("inf"), "inner_kl_penalty", "a finite number")
        has_context = self.adapted == "context"
        expected = "at least 1, of a context vector" if has_context else "0 of a policy without a context vector"
        self.expect((self.context_size > 0) == has_context, "context_size", expected)
        self._check_unused()

    def _check_unused(self):
        """UserError for another value than the paper's where it changes nothing: it would look like another run."""
        paper, flags = self._paper(), keys(type(self))
        for what, names in self._unused():
            for name in names:
                expected = f"{paper[name]} with {what}, where it changes nothing"
                if name in ("inner_lr", "rollouts"):
                    expected += f"; to test with another: --train_{flags[name]}={paper[name]} beside it"
                self.expect(getattr(self, name) == paper[name], name, expected)

    def _unused(self):
        """Yields (a property of this training, the settings that it has no use for)."""
        if self.method == "random":
            yield "a random policy", _OF_TRAINING
        if self.num_updates == 0:
            of_inner_steps = ("inner_lr", "first_order", "inner_loss", "inner_kl_penalty", "outer_rollouts")
            yield "training without inner steps", of_inner_steps
        of_trpo, of_adam = ("max_kl", "hvp", "cg_iterations", "hvp_tasks"), ("meta_lr", "outer_steps")
        yield f"outer={self.outer}", of_trpo if self.outer in BY_ADAM else of_adam

    @property
    def total_iterations(self):
        return self.metatrain_iterations

    @property
    def paper_iterations(self):
        """Those of the training behind the published curve, among whose checkpoints MAML's was chosen."""
        return self._paper()["metatrain_iterations"]

    # As text: config.json, the folder, the title

    def to_dict(self):
        """{flag: value} of all settings."""
        return {key: getattr(self, name) for name, key in keys(type(self)).items()}

    @classmethod
    def from_dict(cls, record, origin):
        """The settings written by `to_dict`. UserError, naming `origin`, for names or values that are wrong."""
        fields = {keys(cls)[field.name]: field for field in dataclasses.fields(cls)}
        # What was added later may be missing, or there as None: it then was the preset's.
        given = {key: value for key, value in record.items() if value is not None}
        needed = {key for key, field in fields.items() if not (field.metadata["free"] or field.metadata["added"])}
        try:
            if odd := sorted((set(record) - set(fields)) | (needed - set(given))):
                raise UserError(f"these settings are unknown or missing: {', '.join(odd)}")
            others = (given[key] for key in ("update_batch_size", "meta_batch_size", "outer"))
            paper = _paper(given["datasource"], given["method"], *others)
            return cls(**{field.name: given.get(key, paper[field.name]) for key, field in fields.items()})
        except UserError as error:
            raise UserError(f"{origin}: {error}") from error

    def _paper(self):
        """{field: value} of the preset for this experiment and method."""
        return _paper(self.datasource, self.method, self.rollouts, self.num_tasks, self.outer)

    def differences(self):
        """{field: value} of what is neither free nor the seed and not the value of the preset."""
        return card.differences([self], self._paper(), IDENTITY)

    def _tags(self, what):
        return card.tags([self], self.differences(), what)

    @property
    def name(self):
        """Of the run folder, for people: experiment, method, and what differs from the preset."""
        method = [] if self.method == "maml" else [self.method]
        return "_".join([self.datasource, *method, *self._tags("tag")])

    @property
    def title(self):
        """'Half-cheetah, goal velocity: MAML, first order'."""
        tags = [tag.replace("_", " ") for tag in self._tags("words")]
        return f"{TITLES[self.datasource]}: {', '.join([METHODS[self.method], *tags])}"

    @property
    def full_title(self):
        """The title, which has the method."""
        return self.title

    # Beside others

    @property
    def is_papers(self):
        """Whether a published curve may stand beside the result: the preset, however many iterations."""
        return is_papers(self.differences())

    def compared(self):
        """{flag: (value, the paper's)} of what keeps a published curve from standing beside the result."""
        different, paper, flags = self.differences(), self._paper(), keys(type(self))
        return {} if is_papers(different) else {flags[name]: (v, paper[name]) for name, v in different.items()}

    def check_same(self, recorded, folder, expected):
        """Raises UserError if these would compute something else than those recorded in `folder`."""
        card.check_same(self.to_dict(), recorded.to_dict(), card.free_keys([self]), folder, expected)


def is_papers(differences):
    """Whether settings with these differences from the preset are the paper's.

    Either Hessian-vector product is: they estimate the same.
    """
    return not differences.keys() - {"hvp"}


# What a policy that is not trained has no use for.
_OF_TRAINING = (
    "num_tasks", "rollouts", "outer_rollouts", "envs_per_task", "task_draw", "num_updates", "inner_lr",
    "first_order", "outer", "max_kl", "hvp", "cg_iterations", "hvp_tasks", "inner_loss", "ratio_clip",
    "inner_kl_penalty", "outer_steps", "meta_lr",
)  # fmt: skip


def resolve(datasource, method=None, baseline=None, **given):
    """The Settings: what is given, by flag, and the preset's value for whatever is None.

    baseline: the method's name, as the sinusoid's comparisons have it; one of the two is enough.
    Unknown names raise TypeError. UserError for an unknown experiment or method, and for a value that can't be.
    """
    if baseline is not None and method not in (None, "maml", baseline):
        raise UserError(f"method is {method!r} and baseline {baseline!r}, expected one of them")
    if baseline is not None and baseline not in BASELINES:
        raise UserError(f"baseline is {baseline!r}, expected one of {', '.join(BASELINES)}, or nothing")
    method = baseline or method or "maml"
    known = {key: name for name, key in keys(Settings).items()}
    if unknown := sorted(set(given) - set(known)):
        raise TypeError(f"unknown settings: {', '.join(unknown)}")
    named = {known[key]: value for key, value in given.items() if value is not None}
    others = (named.get(name) for name in ("rollouts", "num_tasks", "outer"))
    return Settings(**{**_paper(datasource, method, *others), **named})


# [M] the iteration tested, where one is named [D], else the last of the script that gave it: those curves of the
# direction tasks are of February 2017, when the cheetah's script had 500, the ant's 1000.
PRETRAINED_ITERATIONS = {"cheetah_vel": 475, "cheetah_dir": 500, "ant_vel": 575, "ant_dir": 1000}
ORACLE_ITERATIONS = {"point": 100, "cheetah_vel": 975, "cheetah_dir": 500, "ant_vel": 550, "ant_dir": 1975}

# [M] cluster_trpo_cheetah.py, cluster_trpo_ant.py: TRPO on 20,000 steps an iteration, one baseline for all of them; 100
# environments at the time of the paper (sandbox/rocky/tf/algos/batch_polopt.py), each with a task of its own.
_POOLED = dict(num_tasks=1, rollouts=100, envs_per_task=100, num_updates=0, max_kl=0.01)


def preset(datasource, method):
    """{field: the paper's value} for an experiment and a method. UserError for unknown ones."""
    for what, value, known in (("datasource", datasource, DATASOURCES), ("method", method, METHODS)):
        if value not in known:
            raise UserError(f"{what} is {value!r}, expected one of {', '.join(known)}")
    values = _PRESETS[method](datasource)
    return dict(datasource=datasource, method=method, horizon=HORIZONS[datasource], **values)


def _maml(datasource):
    return dict(
        # [M] maml_trpo_point.py; [D] the checkpoint of ant direction; [P] A.2 has 500 for all
        metatrain_iterations={"point": 100, "ant_dir": 575}.get(datasource, 500),
        num_tasks=20 if datasource == "point" else 40,  # [P] A.2, [D]
        rollouts=40 if datasource == "ant_dir" else 20,  # [P] A.2
        # [P] A.2 has 0.1 for all; [M] maml_trpo_point.py 0.5, and [D]
        inner_lr=0.5 if datasource == "point" else 0.1,
        max_kl=0.02 if datasource == "cheetah_dir" else 0.01,  # [D]
        # [M] one. More are faster, and change nothing where no episode ends early; where some do, they favour those.
        envs_per_task=4 if datasource.startswith("cheetah") else 1,
    )


def _pretrained(datasource):
    if datasource == "point":  # [M] maml_npo.py, use_maml=False: one Adam step an iteration on the loss of θ
        return _maml(datasource) | dict(num_updates=0, outer="adam", meta_lr=0.001)
    return dict(_POOLED, metatrain_iterations=PRETRAINED_ITERATIONS[datasource], task_draw="once")


def _random(datasource):
    """A policy as it is initialised, adapted."""
    # [M] test_maml_point.py builds it with the default activation, the other scripts with ReLU.
    return dict(metatrain_iterations=0, activation="tanh" if datasource == "point" else "relu")


def _oracle(datasource):
    # [M] trpo_point.py: 1000 steps an iteration; sampler: as many environments as episodes
    size = dict(rollouts=10, envs_per_task=10) if datasource == "point" else {}
    return dict(
        _POOLED,
        **size,
        metatrain_iterations=ORACLE_ITERATIONS[datasource],
        task_draw="episode",  # [M] the *_oracle.py environments draw at every reset
        oracle=True,
    )


def _anil(datasource):
    """MAML's settings; [R]'s own are in an appendix that was not at hand."""
    return _maml(datasource) | dict(adapted="head")


def _context_vector(datasource):
    """MAML's settings ([P] C.2: the same protocol), but for the size of the context and α, which [P] doesn't give."""
    return _maml(datasource) | dict(
        adapted="context",
        context_size=8,  # ours
        # Ours: on 2-D navigation, after ten iterations of one seed, a little better than 0.3 and 3. Else not tried.
        inner_lr=1.0,
    )


_PRESETS = {
    "maml": _maml,
    "pretrained": _pretrained,
    "random": _random,
    "oracle": _oracle,
    "anil": _anil,
    "context_vector": _context_vector,
}


# What goes with an outer step that isn't the paper's, {outer: M -> {field: value}}; all else is as in the paper.
OUTER_PRESETS = {
    # Ours: three times the conjugate gradients on a quarter of the tasks cost no more than the paper's ten on all.
    "trpo_subsampled": lambda num_tasks: dict(hvp_tasks=max(1, num_tasks // 4), cg_iterations=30),
    # [Q] run_scripts/pro-mp_run_mujoco.py
    "promp": lambda num_tasks: dict(
        inner_loss="likelihood_ratio", ratio_clip=0.3, inner_kl_penalty=5e-4, outer_steps=5, meta_lr=0.001
    ),
}


def _paper(datasource, method, rollouts=None, num_tasks=None, outer=None):
    """{field: value} of all settings in the preset; where K, M or the outer step is another one, what goes with it.

    With another K: environments as many as divide it. With another outer step: the values of OUTER_PRESETS.
    """
    values = {field.name: field.default for field in dataclasses.fields(Settings)} | preset(datasource, method)
    if isinstance(outer, str) and outer in OUTER_PRESETS:
        values |= OUTER_PRESETS[outer](num_tasks if isinstance(num_tasks, int) else values["num_tasks"])
    if isinstance(rollouts, int) and rollouts >= 1:
        values["envs_per_task"] = largest_divisor(rollouts, values["envs_per_task"])
    return values


def largest_divisor(number, most):
    """The largest divisor of a number that is at most `most`: of environments, as many as divide the episodes."""
    return max(divisor for divisor in range(1, most + 1) if number % divisor == 0)
