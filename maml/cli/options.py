"""What can be asked for besides the settings of a run: records like these, so that their flags are made the same way.

None: not given; what then happens stands in the brackets of the help.
"""

from dataclasses import dataclass

from maml.methods.card import Record, setting


@dataclass(frozen=True)
class General(Record):
    """What to run, and where it goes."""

    datasource: str = setting(
        "sinusoid",
        "where the tasks come from: sinusoid, omniglot, miniimagenet, folder (one's own images), glyphs (characters "
        "drawn from Matplotlib's fonts); or point, cheetah_vel, cheetah_dir, ant_vel, ant_dir",
    )
    method: str | None = setting(None, "how to learn from them; --methods lists the names [maml]")
    baseline: str | None = setting(
        None,
        "the paper's comparisons by the authors' flag, the same as --method: oracle (told the task), pretrained; of "
        "reinforcement learning also random [none]",
    )
    train: bool = setting(True, "False: only test what is in the run folder")
    resume: bool = setting(True, "go on from the newest checkpoint; False starts anew and sets the old folder aside")
    log: bool = setting(True, "write TensorBoard events (metrics.csv is always written)")
    strategy: str | None = setting(
        None,
        "share the tasks: mirrored (the GPUs of this machine), multi_worker (processes and machines), none [mirrored "
        "with several GPUs; multi_worker where TF_CONFIG or Slurm names several; else none]",
    )
    logdir: str | None = setting(
        None, "where run folders go: <logdir>/<experiment>/seed_<seed> [logs; with --report and --reproduce: results]"
    )


@dataclass(frozen=True)
class Data(Record):
    """Where images are read and kept."""

    data_path: str | None = setting(
        None, "folder of the data [$MAML_DATA, then data/; Omniglot: then TensorFlow Datasets]"
    )
    cache_dir: str | None = setting(None, "where prepared data is kept [$MAML_CACHE, then ~/.cache/maml]")


@dataclass(frozen=True)
class Test(Record):
    """How to test."""

    test_iter: int | None = setting(
        None,
        "iteration of the checkpoint to test; -1 the latest [the best on validation tasks, or by return in training; "
        "else the latest]",
    )
    test_set: bool | None = setting(
        None, "test on the test split, False: validation split [True after training, False with --train=False]"
    )
    train_update_batch_size: int = setting(-1, "K in training, where --update_batch_size is another one for the test")
    train_num_classes: int = setting(
        -1,
        "N in training, where --num_classes is another one for the test: of methods that have no output a class, such "
        "as those that compare features",
    )
    train_update_lr: float = setting(-1.0, "α in training, where --update_lr is another one for the test")
    eval_tasks: int | None = setting(None, "tasks to test on [600; reinforcement learning: 40]")
    eval_queries: int | None = setting(None, "query examples a class at test [K, as in the paper]")
    transductive: bool = setting(
        True,
        "normalise the queries of a test task together, as the paper; False: each by itself, with the statistics of "
        "the support set",
    )
    ensemble: int | None = setting(
        None, "average the outputs of so many checkpoints, the best on validation tasks, as MAML++ [1]", at_least=1
    )
    checkpoint: str | None = setting(
        None, "test a TensorFlow 1 checkpoint of the authors' code, with --train=False; or --adapt it"
    )
    render: bool = setting(False, "film the policy before and after adaptation, after the test")


@dataclass(frozen=True)
class Adapt(Record):
    """Adapt a trained classifier to a few images of one's own, and classify others."""

    adapt: str | None = setting(
        None, "folder with N class folders of a few images each, and images to classify loose in it"
    )
    run: str | None = setting(None, "run folder of the classifier (or --checkpoint for one of the authors' code)")
    adapt_steps: int | None = setting(None, "inner steps [as many as the paper takes at test]", at_least=0)
    export: str | None = setting(None, "write the adapted classifier as a SavedModel to this folder")


@dataclass(frozen=True)
class Reproduce(Record):
    """Run what a table of the paper lacks: train, test, and rebuild the page after each run, the cheapest first."""

    reproduce: str | None = setting(
        None,
        "the published results to run for: sinusoid, omniglot, miniimagenet, point, cheetah, ant, all; of another "
        "--method, where one is given. list: what is there, what is missing, and how long it would take",
    )
    seeds: int | None = setting(None, "how many seeds of each there are to be in the end [1]", at_least=1)
    budget: float | None = setting(None, "hours after which it stops, and saves [none]", positive=True)


@dataclass(frozen=True)
class Instead(Record):
    """Instead of a run."""

    report: bool = setting(False, "rebuild <logdir>/README.md and its figures from the run folders")
    benchmark: bool = setting(
        False,
        "measure the speed of the meta-step on this machine, of Omniglot or --datasource, with other --num_classes and "
        "--update_batch_size where they are given; "
        "with --strategy=multi_worker, of two workers beside one",
    )
    methods: bool = setting(False, "list the methods: name, title, what it learns, published cells, paper")
    help: bool = setting(False, "the options, and the settings of the data source and method named beside it")
    helpfull: bool = setting(False, "the settings of all data sources and methods")


PATHS = ("logdir", "data_path", "cache_dir", "checkpoint", "adapt", "run", "export")  # a ~ in front is the home folder
RECORDS = (General, Data, Test, Adapt, Reproduce, Instead)
