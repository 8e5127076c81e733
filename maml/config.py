"""The settings of a run, and the paper's values for each experiment.

Field names are the authors' flags. Sources: [P] the paper (arXiv 1703.03400v3), [C] cbfinn/maml at a7f45f1.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from data_generators.errors import UserError
from data_generators.sources import SOURCES
from maml.settings import Settings

READS_FILES = ("omniglot", "miniimagenet", "folder")
BASELINES = (None, "oracle")
NORMS = ("batch_norm", "layer_norm", "None")

# Stands in the name of an experiment whose weights were trained elsewhere, before the name of their checkpoint.
IMPORTED = "_imported_"
# Settings that only images have, and those that only the user's own images have.
IMAGES_ONLY = ("num_classes", "num_filters", "conv", "max_pool")
FOLDER_ONLY = ("image_size", "channels", "split", "split_seed")


@dataclass(frozen=True)
class Config(Settings):
    """Everything that decides what a training run computes. The paper's symbol stands first where it has one."""

    FREE_TO_CHANGE: ClassVar = ("metatrain_iterations", "tasks_per_chunk", "iterations_per_call", "jit")

    datasource: str  # where the tasks come from
    baseline: str | None = None  # "oracle": the sinusoid's inputs carry amplitude and phase
    num_classes: int = 5  # N, ways of a classification task
    pretrain_iterations: int = 0  # steps on the un-adapted loss, before the meta-training
    metatrain_iterations: int = 60000  # meta-updates
    meta_batch_size: int = 32  # M, tasks of a meta-update
    meta_lr: float = 0.001  # β, Adam's step size ([P] A.1; [C])
    update_batch_size: int = 1  # K, support examples a class in training
    query_batch_size: int = 1  # Q, query examples a class in training; K in [C] but for miniImagenet
    update_lr: float = 0.4  # α, inner step size in training
    num_updates: int = 1  # inner steps in training
    norm: str = "batch_norm"  # batch_norm, layer_norm or None (a word here, as on the command line)
    num_filters: int = 64  # filters of each convolution
    conv: bool = True  # convolutional or dense classifier
    max_pool: bool = False  # max-pooling instead of strided convolutions
    stop_grad: bool = False  # first order: drop the second derivatives
    clip: float | None = None  # each entry of the meta-gradient is cut to ±clip
    dataset: str | None = None  # what the images are and results are called, where not as the data source
    image_size: int | None = None  # side of the images of a folder, in pixels
    channels: int | None = None  # of the images of a folder: 1 grey, 3 colour
    split: str | None = None  # how a folder's classes are divided: "train,val,test" fractions
    split_seed: int | None = None  # of the order in which they are
    seed: int = 1  # of the initial weights and the training tasks
    tasks_per_chunk: int = 2  # tasks whose meta-gradient is computed together
    iterations_per_call: int = 1  # meta-updates in one call of a compiled loop
    jit: bool = True  # compile with XLA

    def __post_init__(self):
        expect = self.check_types()
        expect(self.datasource in SOURCES, "datasource", "one of " + ", ".join(SOURCES))
        expect(self.baseline in BASELINES, "baseline", "oracle for the sinusoid, or nothing; pretrained and random are of reinforcement learning")
        expect(self.norm in NORMS, "norm", "one of " + ", ".join(NORMS))
        expect(self.num_classes >= 2, "num_classes", "at least 2")
        for name in ("meta_batch_size", "update_batch_size", "query_batch_size", "num_updates", "num_filters",
                     "tasks_per_chunk", "iterations_per_call"):  # fmt: skip
            expect(getattr(self, name) >= 1, name, "at least 1")
        for name in ("pretrain_iterations", "metatrain_iterations"):
            expect(getattr(self, name) >= 0, name, "at least 0")
        expect(0 <= self.seed < 2**31, "seed", "0 to 2147483647")
        for name in ("meta_lr", "update_lr"):
            expect(0 < getattr(self, name) < float("inf"), name, "a positive number")
        expect(self.clip is None or self.clip > 0, "clip", "a positive number, or nothing")
        expect(self.image_size is None or self.image_size >= 1, "image_size", "at least 1")
        expect(self.channels in (None, 1, 3), "channels", "1 (grey) or 3 (colour)")
        expect(self.split is None or self.fractions, "split", "three fractions that sum to 1, as 0.64,0.16,0.2")
        if self.baseline == "oracle" and self.classification:
            raise UserError(f"baseline oracle goes with datasource sinusoid only, got {self.datasource}")
        if self.max_pool and not self.conv:
            raise UserError("max_pool goes with conv, got max_pool=True and conv=False")
        if self.max_pool and self.image_size is not None and self.image_size < 16:
            raise UserError(f"image_size is {self.image_size}, expected at least 16 for four max-pools, or --max_pool=False")

    @property
    def classification(self):
        return self.datasource != "sinusoid"

    @property
    def photographs(self):
        """Whether the network is the paper's for miniImagenet, which keeps the last map whole ([C] maml.py)."""
        return self.datasource in ("miniimagenet", "folder")

    @property
    def fractions(self):
        """`split` as (train, val, test); None where it is not three positive numbers that sum to 1."""
        try:
            parts = tuple(float(part) for part in self.split.split(","))
        except (AttributeError, ValueError):
            return None
        return parts if len(parts) == 3 and min(parts) > 0 and abs(sum(parts) - 1) < 1e-6 else None

    @property
    def total_iterations(self):
        return self.pretrain_iterations + self.metatrain_iterations

    @property
    def experiment(self):
        """Name of the run folder: data, task, and what makes it another method than the paper's MAML."""
        name = self.dataset or self.datasource
        name += f"_{self.num_classes}way" if self.classification else ""
        name += f"_{self.update_batch_size}shot"
        if self.baseline == "oracle":
            name += "_oracle"
        elif self.pretrain_iterations and not self.metatrain_iterations:
            name += "_pretrained"
        paper = preset(self.datasource, self.num_classes, self.update_batch_size)
        name += "" if self.conv or not self.classification else "_dense"
        name += "_first_order" if self.stop_grad else ""
        if self.norm != paper["norm"]:
            name += {"batch_norm": "_batch_norm", "layer_norm": "_layer_norm", "None": "_no_norm"}[self.norm]
        if self.conv and self.max_pool != paper.get("max_pool", False):
            name += "_max_pool" if self.max_pool else "_strided"
        return name

    @property
    def step_read(self):
        """The inner step whose result is the headline ([P] A.1: 3 for 5-way Omniglot, 5 for 20-way, 10 for miniImagenet)."""
        return preset(self.datasource, self.num_classes, self.update_batch_size)["step_read"]

    @property
    def is_papers(self):
        """Whether a published number may stand beside the result: the paper's settings, however many iterations."""
        paper = {"meta_lr": Config.meta_lr, "num_filters": Config.num_filters, "clip": None, "max_pool": False}
        paper |= preset(self.datasource, self.num_classes, self.update_batch_size)
        paper |= {"dataset": None}
        if self.photographs and self.update_batch_size == 5 and self.meta_batch_size == 4:
            paper["meta_batch_size"] = 4  # [C] main.py, usage; [P] A.1 says 2
        iterations = (*self.FREE_TO_CHANGE, "step_read")
        return all(getattr(self, name) == value for name, value in paper.items() if name not in iterations)


def preset(datasource, num_classes, update_batch_size):
    """The paper's settings for a data source, with "step_read" beside them. Unknown sources raise UserError."""
    if datasource == "sinusoid":
        return dict(
            metatrain_iterations=70000,  # [C] main.py, usage
            meta_batch_size=25,  # [C] main.py, default
            update_batch_size=update_batch_size or 10,  # [P] 5.1
            query_batch_size=update_batch_size or 10,  # [C]: as many as K
            # [P] 5.1 says 0.01; but 0.001, the default in [C], reproduces its table 2.
            update_lr=0.001,
            num_updates=1,  # [P] 5.1
            norm="None",  # [C] main.py, usage
            tasks_per_chunk=25,  # ours: the net is so small that one chunk is fastest,
            iterations_per_call=100,  # and that calling it costs more than computing it
            step_read=1,  # [P] table 2, first column
        )
    if datasource in ("omniglot", "glyphs"):  # glyphs are made to be like Omniglot
        many = (num_classes or 5) >= 20
        return dict(
            metatrain_iterations=60000,  # [P] A.1
            meta_batch_size=16 if many else 32,  # [P] A.1
            update_batch_size=update_batch_size or 1,
            query_batch_size=update_batch_size or 1,  # [C]: as many as K
            update_lr=0.1 if many else 0.4,  # [P] A.1
            num_updates=5 if many else 1,  # [P] A.1
            norm="batch_norm",  # [P] A.1
            num_filters=64,  # [P] A.1
            step_read=5 if many else 3,  # [P] A.1: gradient steps at test
        )
    if datasource in ("miniimagenet", "folder"):  # one's own photographs are treated like miniImagenet's
        own = dict(image_size=84, channels=3, split="0.64,0.16,0.2", split_seed=0)  # ours: as miniImagenet has them
        return dict(
            metatrain_iterations=60000,  # [P] A.1
            meta_batch_size=2 if (update_batch_size or 1) >= 5 else 4,  # [P] A.1; [C] main.py has 4 for both
            update_batch_size=update_batch_size or 1,
            query_batch_size=15,  # [P] A.1; [C] main.py
            update_lr=0.01,  # [P] A.1
            num_updates=5,  # [P] A.1
            norm="batch_norm",  # [P] A.1
            num_filters=32,  # [P] A.1
            max_pool=True,  # [C] main.py, usage
            clip=10.0,  # [C] maml.py: miniImagenet alone
            jit=False,  # ours: at this size TensorFlow's own kernels are faster than what XLA makes
            tasks_per_chunk=1,
            step_read=10,  # [P] A.1: gradient steps at test
            **(own if datasource == "folder" else {}),
        )
    raise UserError(f"datasource is {datasource!r}, expected one of {', '.join(SOURCES)}")


def resolve(datasource, **given):
    """A Config: what is given, and the paper's value for whatever is None. Unknown names raise TypeError.

    Raises UserError for a value that can't be, and for a setting that means nothing for the data source or network.
    """
    given = {name: value for name, value in given.items() if value is not None}
    settings = preset(datasource, given.get("num_classes"), given.get("update_batch_size"))
    if datasource == "sinusoid" and (odd := [name for name in IMAGES_ONLY if name in given]):
        raise UserError(f"{', '.join(odd)} given, but sinusoid tasks have no classes or images; expected a data source of images")
    if datasource != "folder" and (odd := [name for name in FOLDER_ONLY if name in given]):
        raise UserError(f"{', '.join(odd)} given, but {datasource} settles that itself; expected --datasource=folder")
    if given.get("conv") is False and "num_filters" in given:
        raise UserError("num_filters goes with conv, got num_filters and conv=False")
    settings.pop("step_read")
    if given.get("conv") is False:
        settings.pop("max_pool", None)
    config = Config(datasource=datasource, **{**settings, **given})
    if config.baseline == "oracle":  # [C] main.py: the oracle is trained without adaptation, for as long
        config = dataclasses.replace(
            config, pretrain_iterations=config.total_iterations, metatrain_iterations=0
        )
    return config
