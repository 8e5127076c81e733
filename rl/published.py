"""The reinforcement-learning curves that the paper draws, as numbers, and the command that reproduces each.

[P] is Finn, Abbeel, Levine 2017, arXiv 1703.03400v3. It draws the curves in figures 4 and 5, and prints two of MAML's
in tables 4 and 5, beside those of a context vector, which are nowhere else. The numbers are the authors' own: [D],
what cbfinn/maml_rl stores in its folder icml/, which agrees with what is printed. Each curve comes from one training
run, tested on 40 tasks. [M] are other files there.
"""

import math
from dataclasses import dataclass

from rl.settings import BASELINES, METHODS, preset
from rl.tasks import DATASOURCES, NUM_TEST_TASKS

SPREAD = "standard error over tasks"  # what the paper draws as bands

# [M] maml_examples/test_maml_*.py: the iteration of MAML's checkpoint that was tested, the one with the best return in
# training ([P] A.2). Of the baselines': rl/settings.py.
MAML_CHECKPOINTS = {"point": 100, "cheetah_vel": 475, "cheetah_dir": 100, "ant_vel": 375, "ant_dir": 575}


@dataclass(frozen=True)
class PublishedCurve:
    """Undiscounted return of an episode after 0, 1, … gradient steps: mean and standard deviation over the test tasks.

    stds: the population's, None where it is not known. iteration: of the checkpoint tested, 0 for the initial weights,
    None where it is not known. drawn: whether the paper's figure shows it.
    """

    datasource: str
    method: str
    means: tuple
    stds: tuple | None
    iteration: int | None
    source: str
    drawn: bool = True

    @property
    def sems(self):
        """Standard errors of the means: sample standard deviation / √tasks; None each where it is not known."""
        if self.stds is None:
            return (None,) * len(self.means)
        return tuple(std / math.sqrt(NUM_TEST_TASKS - 1) for std in self.stds)


# [D]: (mean, standard deviation over tasks) after 0, 1, 2, … gradient steps.
_NUMBERS = {
    "point": {
        "maml": ((-40.407, 12.925), (-11.680, 6.983), (-3.328, 1.779), (-3.230, 1.864), (-3.351, 1.918)),
        "pretrained": ((-40.806, 13.034), (-19.727, 9.644), (-11.717, 5.307), (-8.475, 1.716), (-7.487, 1.216)),
        "random": ((-82.659, 6.970), (-57.964, 5.926), (-53.838, 5.233), (-46.809, 4.135), (-42.909, 4.115)),
        "oracle": ((-2.288, 0.461),),
    },
    "cheetah_vel": {
        "maml": ((-129.530, 53.356), (-78.566, 31.789), (-66.620, 28.832), (-60.778, 27.807)),
        "pretrained": ((-158.004, 55.989), (-135.388, 48.568), (-128.466, 45.101), (-133.611, 53.059)),
        "random": ((-254.829, 115.239), (-254.332, 111.789), (-246.788, 114.108), (-230.827, 110.251)),
        "oracle": ((-54.472, 22.374),),
    },
    "cheetah_dir": {
        "maml": ((-50.688, 18.538), (293.193, 54.898), (313.482, 50.880), (315.653, 44.680)),
        "pretrained": ((-43.026, 37.471), (-24.749, 30.054), (-12.849, 27.590), (19.568, 36.202)),
        "random": ((-35.735, 4.089), (21.830, 9.356), (62.322, 16.236), (86.185, 31.383)),
        "oracle": ((442.691, 27.035),),
    },
    "ant_vel": {
        "maml": ((30.577, 96.894), (96.742, 66.914), (100.057, 69.249), (101.408, 67.887)),
        "pretrained": ((-1.831, 110.340), (6.108, 110.858), (8.475, 111.166), (9.469, 117.837)),
        "random": ((-78.636, 110.977), (-62.812, 112.021), (-48.545, 109.976), (-35.565, 96.461)),
        "oracle": ((107.886, 64.437),),
    },
    "ant_dir": {
        "maml": ((8.659, 45.869), (499.147, 103.591), (500.679, 101.774), (499.111, 104.957)),
        "pretrained": ((3.159, 49.070), (1.269, 43.665), (6.509, 44.427), (6.865, 37.726)),
        "random": ((3.108, 13.135), (9.247, 14.081), (15.960, 11.289), (26.115, 0.361)),
        "oracle": ((524.797, 40.003),),
    },
}

# [P] tables 4 and 5: returns of a policy that adapts a context vector beside its input, after 0, 1, 2, 3 steps.
_CONTEXT_VECTOR = {"point": (-42.42, -13.90, -5.17, -3.18), "cheetah_dir": (-40.49, -44.08, -38.27, -42.50)}

# What the files of [D] call them: icml_<environment>_results_<method>.pkl
_ENVIRONMENTS = dict(zip(DATASOURCES, ("point", "cheetah", "cheetahdirec", "ant", "antdirec"), strict=True))
_FILES = {"maml": "maml", "pretrained": "pretrain", "random": "random", "oracle": "oracle"}
_TABLES = {("point", "maml"): "table 4", ("cheetah_dir", "maml"): "table 5"}
# [P] figure 5: worse than the axes show.
_NOT_DRAWN = (("cheetah_vel", "random"), ("ant_vel", "random"))


def figure(datasource):
    """The number of the paper's figure: 4 or 5."""
    return 4 if datasource == "point" else 5


def figure_name(datasource):
    """The name of the file that has the same here."""
    return f"figure_{figure(datasource)}.png"


def _source(datasource, method):
    """'[P] figure 4, table 4; [D] icml_point_results_maml.pkl'."""
    name = "sens0" if (datasource, method) == ("point", "pretrained") else _FILES[method]
    places = [f"figure {figure(datasource)}"] if (datasource, method) not in _NOT_DRAWN else []
    places += [_TABLES[datasource, method]] if (datasource, method) in _TABLES else []
    file = f"[D] icml_{_ENVIRONMENTS[datasource]}_results_{name}.pkl"
    return f"[P] {', '.join(places)}; {file}" if places else file


def _curve(datasource, method):
    trained = preset(datasource, method)["metatrain_iterations"]
    return PublishedCurve(
        datasource,
        method,
        *zip(*_NUMBERS[datasource][method], strict=True),
        iteration=MAML_CHECKPOINTS[datasource] if method == "maml" else trained,
        source=_source(datasource, method),
        drawn=(datasource, method) not in _NOT_DRAWN,
    )


def _printed(datasource):
    source = f"[P] {_TABLES[datasource, 'maml']}"
    return PublishedCurve(datasource, "context_vector", _CONTEXT_VECTOR[datasource], None, None, source, drawn=False)


def _curves():
    """{(experiment, method): PublishedCurve}, in the order of experiments and methods."""
    found = {(datasource, method): _curve(datasource, method) for datasource in _NUMBERS for method in _FILES}
    found |= {(datasource, "context_vector"): _printed(datasource) for datasource in _CONTEXT_VECTOR}
    order = [(datasource, method) for datasource in DATASOURCES for method in METHODS]
    return {key: found[key] for key in order if key in found}


CURVES = _curves()


def find(datasource, method):
    """The PublishedCurve of an environment and a method, or None."""
    return CURVES.get((datasource, method))


def command(datasource, method):
    """The command that runs the training behind a published curve."""
    return " ".join(["python main.py", *flags(datasource, method)])


def flags(datasource, method):
    """The flags of `command`."""
    flag = "baseline" if method in BASELINES else "method"
    return [f"--datasource={datasource}", *([f"--{flag}={method}"] if method != "maml" else [])]
