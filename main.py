"""MAML, the paper's experiments from the command line.

    python main.py --datasource=omniglot                                   5-way 1-shot, trained, tested, compared, drawn
    python main.py --datasource=omniglot --num_classes=20 --update_batch_size=5     20-way 5-shot
    python main.py --datasource=omniglot --conv=False                      the dense classifier
    python main.py --datasource=sinusoid                                   regression; figures 2 and 3
    python main.py --datasource=sinusoid --baseline=oracle                 its two baselines
    python main.py --datasource=sinusoid --pretrain_iterations=70000 --metatrain_iterations=0
    python main.py --datasource=miniimagenet --data_path=DIR               5-way 1-shot; --update_batch_size=5 for 5-shot
    python main.py --datasource=folder --data_path=DIR                     one's own images: a folder of class folders
    python main.py --datasource=glyphs                                     no data, no network needed
    python main.py --datasource=point                                      reinforcement learning: 2-D navigation,
    python main.py --datasource=cheetah_vel                                or cheetah_dir, ant_vel, ant_dir on MuJoCo
    python main.py --datasource=cheetah_vel --baseline=oracle              its comparisons: also pretrained, random
    python main.py --datasource=omniglot --train=False --test_set          test again what is trained
    python main.py --adapt=DIR --run=results/.../seed_1                    adapt to a few labelled images, classify others
    python main.py --report                                                rebuild results/README.md
    python main.py --benchmark                                             how fast this machine is

A flag that is not given takes the paper's value for the data source, so a command names only what differs. The same
command again resumes a run that was stopped, or tests again one that is finished.
"""

import os
import pathlib
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes; its errors come as exceptions

from absl import app, flags, logging

FLAGS = flags.FLAGS

# The authors' flags: same names, same meaning. None means the paper's value.
flags.DEFINE_string(
    "datasource", "sinusoid", "sinusoid, omniglot, miniimagenet, folder (one's own images), glyphs (characters drawn from Matplotlib's fonts); or "
    "point, cheetah_vel, cheetah_dir, ant_vel, ant_dir",
)
flags.DEFINE_integer("num_classes", None, "N: classes of a task [paper: 5]")
flags.DEFINE_string("baseline", None, "oracle: told the task (sinusoid and reinforcement learning); there also pretrained and random")
flags.DEFINE_integer("pretrain_iterations", None, "steps on the un-adapted loss before the meta-training [0]")
flags.DEFINE_integer("metatrain_iterations", None, "meta-updates [sinusoid: 70000, images: 60000, MuJoCo: 500, point: 100]")
flags.DEFINE_integer("meta_batch_size", None, "M: tasks of a meta-update [sinusoid: 25, Omniglot 5-way: 32, 20-way: 16, miniImagenet: 4, 5-shot: 2, MuJoCo: 40, point: 20]")
flags.DEFINE_float("meta_lr", None, "β: step size of Adam in the outer loop [0.001]")
flags.DEFINE_integer("update_batch_size", None, "K: examples a class, or episodes, to adapt on [sinusoid: 10, images: 1, episodes: 20, ant_dir: 40]")
flags.DEFINE_float("update_lr", None, "α: step size of the inner loop [sinusoid: 0.001, Omniglot 5-way: 0.4, 20-way: 0.1, miniImagenet: 0.01, MuJoCo: 0.1, point: 0.5]")
flags.DEFINE_integer("num_updates", None, "inner steps in training [1; Omniglot 20-way and miniImagenet: 5]")
flags.DEFINE_string("norm", None, "batch_norm, layer_norm or None [images: batch_norm, sinusoid: None]")
flags.DEFINE_integer("num_filters", None, "filters of each convolution [64; miniImagenet: 32]")
flags.DEFINE_bool("conv", None, "convolutional classifier, or a dense one [True]")
flags.DEFINE_bool("max_pool", None, "max-pooling instead of strided convolutions [False; miniImagenet: True]")
flags.DEFINE_bool("stop_grad", None, "first order: drop the second derivatives [False]")
flags.DEFINE_bool("log", True, "write TensorBoard events (metrics.csv is always written)")
flags.DEFINE_string("logdir", "results", "where run folders go: <logdir>/<experiment>/seed_<seed>")
flags.DEFINE_bool("resume", True, "go on from the newest checkpoint; False starts anew and sets the old folder aside")
flags.DEFINE_bool("train", True, "False: only test what is in the run folder")
flags.DEFINE_integer(
    "test_iter", None, "iteration of the checkpoint to test; -1 the latest [the best on validation tasks, or by return in training; else the latest]"
)
flags.DEFINE_bool("test_set", None, "test on the test split, False: validation split [True after training, False with --train=False]")
flags.DEFINE_integer("train_update_batch_size", -1, "K in training, where --update_batch_size is another one for the test")
flags.DEFINE_float("train_update_lr", -1, "α in training, where --update_lr is another one for the test")

# Ours.
flags.DEFINE_integer("seed", 1, "of the initial weights and the training tasks")
flags.DEFINE_string("data_path", None, "folder of the data [$MAML_DATA, then data/; Omniglot: then TensorFlow Datasets]")
flags.DEFINE_string("cache_dir", None, "where prepared data is kept [$MAML_CACHE, then ~/.cache/maml]")
flags.DEFINE_integer("query_batch_size", None, "Q: query examples a class in training [K; miniImagenet: 15]")
flags.DEFINE_float("clip", None, "cut each entry of the meta-gradient to ± this [not cut; miniImagenet: 10]")
flags.DEFINE_integer("tasks_per_chunk", None, "tasks whose meta-gradient is computed together [sinusoid: 25, Omniglot: 2, miniImagenet: 1]")
flags.DEFINE_integer("iterations_per_call", None, "meta-updates in one call of a compiled loop [images: 1, sinusoid: 100]")
flags.DEFINE_bool("jit", None, "compile with XLA [True; miniImagenet: False, TensorFlow's own kernels]")
flags.DEFINE_integer("eval_tasks", None, "tasks to test on [600; reinforcement learning: 40]")
flags.DEFINE_integer("eval_queries", None, "query examples a class at test [K, as in the paper]")
flags.DEFINE_bool(
    "transductive", True, "normalise the queries of a test task together, as the paper; False: each by itself, with the "
    "statistics of the support set"
)
flags.DEFINE_string("checkpoint", None, "test a TensorFlow 1 checkpoint of the authors' code, with --train=False; or --adapt it")
flags.DEFINE_integer("image_size", None, "of --datasource=folder: images are resized to this many pixels square [84]")
flags.DEFINE_integer("channels", None, "of --datasource=folder: 1 grey, 3 colour [3]")
flags.DEFINE_string("split", None, "of --datasource=folder, unless it holds train, val and test: fractions of the classes [0.64,0.16,0.2]")
flags.DEFINE_integer("split_seed", None, "of --datasource=folder: of the order in which classes are divided [0]")
flags.DEFINE_string("outer", None, "outer step of reinforcement learning, trpo or adam [trpo; pretrained point: adam]")
flags.DEFINE_string("hvp", None, "TRPO's Hessian-vector product, finite_difference or exact [finite_difference]")
flags.DEFINE_integer("cg_iterations", None, "TRPO's iterations of conjugate gradients [10]")
flags.DEFINE_float("max_kl", None, "δ: TRPO's limit on the mean KL [0.01; cheetah_dir: 0.02]")
flags.DEFINE_integer("horizon", None, "H: steps of an episode [200, point: 100]")
flags.DEFINE_bool("render", False, "of reinforcement learning: film the policy before and after adaptation, after the test")
flags.DEFINE_string("adapt", None, "folder with N class folders of a few images each, and images to classify loose in it")
flags.DEFINE_string("run", None, "run folder of the classifier for --adapt (or --checkpoint for one of the authors' code)")
flags.DEFINE_integer("adapt_steps", None, "inner steps for --adapt [as many as the paper takes at test]")
flags.DEFINE_string("export", None, "with --adapt: write the adapted classifier as a SavedModel to this folder")
flags.DEFINE_bool("report", False, "rebuild <logdir>/README.md from the run folders, and do nothing else")
flags.DEFINE_bool("benchmark", False, "measure the speed of the meta-step on this machine, and do nothing else")

CONFIG_FLAGS = (
    "num_classes baseline pretrain_iterations metatrain_iterations meta_batch_size meta_lr query_batch_size num_updates norm "
    "num_filters conv max_pool stop_grad seed clip image_size channels split split_seed tasks_per_chunk iterations_per_call jit"
).split()

RL_CONFIG_FLAGS = (
    "metatrain_iterations meta_batch_size meta_lr num_updates stop_grad seed tasks_per_chunk jit outer hvp cg_iterations max_kl horizon"
).split()

# Those whose value in training has a flag of its own, train_….
SETTINGS_WITH_TWO_FLAGS = ("update_batch_size", "update_lr")

# Those that belong to one of the two kinds of learning alone.
SUPERVISED_ONLY = (
    *(name for name in CONFIG_FLAGS if name not in (*RL_CONFIG_FLAGS, "baseline")),
    *"data_path cache_dir eval_queries transductive checkpoint test_set run adapt_steps export".split(),
)
RL_ONLY = (*(name for name in RL_CONFIG_FLAGS if name not in CONFIG_FLAGS), "render")


def parse_flags(argv):
    """Sets FLAGS; one line on stderr and exit code 2 where absl would print a page of help and exit with 1."""
    try:
        unnamed = FLAGS(argv)[1:]
        problem = unnamed and f"unexpected {' '.join(unnamed)!r}, expected only flags, --name=value"
    except flags.Error as error:
        problem = str(error).replace("\n", " ")
        if wrong := re.match(r"(flag --(\w+)=.*?): ", problem):
            problem = f"{wrong[1]}: expected {FLAGS[wrong[2]].parser.syntactic_help or 'true or false'}"
    if problem:
        print(f"error: {problem} (--help lists the flags)", file=sys.stderr)
        sys.exit(2)


def main(_):
    from data_generators.errors import UserError

    logging.set_verbosity(logging.WARNING)
    try:
        if FLAGS.report:
            return report()
        if FLAGS.benchmark:
            return benchmark()
        if FLAGS.adapt is not None:
            return adapt()
        return train_and_test_policy() if is_rl() else train_and_test()
    except (UserError, OSError) as error:  # OSError: folders that can't be written, a full disk
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while training, a Run sees to it
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


def is_rl():
    """Whether the data source is one of reinforcement learning. UserError if it is none at all."""
    from data_generators.errors import UserError
    from data_generators.sources import SOURCES
    from rl.config import DATASOURCES

    if FLAGS.datasource not in (*SOURCES, *DATASOURCES):
        raise UserError(f"datasource is {FLAGS.datasource!r}, expected one of {', '.join((*SOURCES, *DATASOURCES))}")
    return FLAGS.datasource in DATASOURCES


def train_and_test():
    """Settings, data, run, test, record."""
    from data_generators import sources

    config, folder = settings()
    protocol = test_protocol(config)
    tasks = sources.load(
        config.datasource,
        config.num_classes,
        config.baseline == "oracle",
        FLAGS.data_path,
        FLAGS.cache_dir,
        config.image_size,
        config.channels,
        config.fractions,
        config.split_seed,
    )
    for shots in protocol.shots:
        tasks.check(protocol.split, shots, protocol.queries or shots)

    set_up_tensorflow(config.jit)
    from maml import experiment, testing  # TensorFlow; what is wrong with the settings or the data has been said by now

    run = experiment.Run(config, tasks, folder, log=FLAGS.log)
    if FLAGS.train and not run.train(FLAGS.resume):
        print(f"stopped and saved at iteration {run.iteration:,}; the same command goes on from there")
        return 130
    summary = testing.test(run, protocol, command_line())
    print(f"everything about this run is in {folder}")
    print(testing.headline(summary))
    return 0


def train_and_test_policy():
    """Settings, run, test, record; reinforcement learning."""
    config, folder = rl_settings()
    protocol = rl_test_protocol(config)
    from rl import frames  # MuJoCo; what is wrong with the settings has been said by now

    if FLAGS.render:
        frames.check_renderer(config.datasource)
    set_up_tensorflow(config.jit)
    from rl import experiment, render, testing

    run = experiment.Run(config, folder, log=FLAGS.log)
    if FLAGS.train:
        run.train(FLAGS.resume)
    summary = testing.test(run, protocol, command_line())
    if FLAGS.render:
        print("filmed:", *render.film(folder, run.meta, protocol))
    print(f"everything about this run is in {folder}")
    print(testing.headline(summary))
    return 0


def set_up_tensorflow(jit):
    """What must be settled before TensorFlow is imported."""
    # Made for large layers: beside XLA, which gets the small ones, it costs more than it brings.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0" if jit else "1")


def settings():
    """(Config, run folder) from the flags, the paper's values, and the run folder if there is one."""
    from data_generators import sources
    from data_generators.errors import UserError
    from maml.config import IMPORTED, READS_FILES, resolve
    from maml.records import run_folder
    from maml.settings import settle

    given = given_settings(CONFIG_FLAGS)
    refuse(RL_ONLY, "belongs to reinforcement learning")
    config = resolve(FLAGS.datasource, **given)
    if stray := [name for name in ("run", "adapt_steps", "export") if getattr(FLAGS, name) is not None]:
        raise UserError(f"{', '.join(stray)} given without adapt, expected --adapt=<folder> with it")
    if FLAGS.data_path and config.datasource not in READS_FILES:
        raise UserError(f"data_path given, but {config.datasource} reads no files; expected one of {', '.join(READS_FILES)}")
    if FLAGS.checkpoint and FLAGS.train:
        raise UserError("checkpoint given, which is for testing; expected --train=False with it")
    if not FLAGS.transductive and config.norm != "batch_norm":
        raise UserError(f"transductive=False goes with batch_norm, got {config.norm}: there a query never sees the others")
    if not FLAGS.transductive and not config.classification:
        raise UserError(f"transductive=False goes with images, got {config.datasource}")
    dataset = sources.dataset_name(config.datasource, FLAGS.data_path)
    given["dataset"] = None if dataset == config.datasource else dataset
    config = resolve(FLAGS.datasource, **given)
    if FLAGS.checkpoint:  # the weights come from elsewhere, and so the settings from the flags
        return config, run_folder(FLAGS.logdir, config.experiment + IMPORTED + checkpoint_prefix().name, config.seed)
    return settle(config, given, FLAGS.logdir, FLAGS.train, FLAGS.resume)


def rl_settings():
    """As `settings`, for reinforcement learning."""
    from data_generators.errors import UserError
    from maml.settings import settle
    from rl.config import METHODS, resolve

    refuse(SUPERVISED_ONLY, "belongs to supervised learning")
    given = given_settings(RL_CONFIG_FLAGS)
    if FLAGS.baseline not in (None, "None", *METHODS[1:]):
        raise UserError(f"baseline is {FLAGS.baseline!r}, expected one of {', '.join(METHODS[1:])}, or nothing")
    given["method"] = "maml" if FLAGS.baseline in (None, "None") else FLAGS.baseline
    return settle(resolve(FLAGS.datasource, **given), given, FLAGS.logdir, FLAGS.train, FLAGS.resume)


def given_settings(names):
    """{name: value of the flag}; None where it is not given."""
    given = {name: getattr(FLAGS, name) for name in names}
    if given.get("baseline") == "None":
        given["baseline"] = None
    for name in SETTINGS_WITH_TWO_FLAGS:
        in_training = getattr(FLAGS, f"train_{name}")
        given[name] = getattr(FLAGS, name) if in_training == -1 else in_training
    return given


def refuse(names, reason):
    """UserError if one of these flags is given."""
    from data_generators.errors import UserError

    if odd := [name for name in names if FLAGS[name].present]:
        raise UserError(f"{', '.join(odd)} given, which {reason}; expected the command without it")


def named_checkpoint(config):
    """What of a run to test: "best", "latest" or an iteration."""
    from data_generators.errors import UserError

    if FLAGS.test_iter is not None and FLAGS.test_iter < -1:
        raise UserError(f"test_iter is {FLAGS.test_iter}, expected an iteration, or -1 for the latest checkpoint")
    if FLAGS.train and (FLAGS.test_iter or 0) > config.total_iterations:
        raise UserError(f"test_iter is {FLAGS.test_iter}, expected at most {config.total_iterations}, the last iteration")
    return {None: "best", -1: "latest"}.get(FLAGS.test_iter, FLAGS.test_iter)


def rl_test_protocol(config):
    """As `test_protocol`, for reinforcement learning."""
    from rl.config import test_protocol

    return test_protocol(
        config,
        rollouts=FLAGS.update_batch_size if FLAGS.train_update_batch_size != -1 else None,
        first_lr=FLAGS.update_lr if FLAGS.train_update_lr != -1 else None,
        tasks=FLAGS.eval_tasks,
        checkpoint=named_checkpoint(config),
    )


def test_protocol(config):
    """How to test, from the flags."""
    from data_generators.errors import UserError
    from maml import protocol

    on_test_set = FLAGS.train if FLAGS.test_set is None else FLAGS.test_set
    named = FLAGS.update_batch_size if not FLAGS.train or FLAGS.train_update_batch_size != -1 else None
    shots = protocol.headline_shots(config) if named is None else (named,)
    checkpoint = named_checkpoint(config)
    if FLAGS.checkpoint is not None:
        if FLAGS.test_iter is not None:
            raise UserError("checkpoint and test_iter given, expected one of them")
        checkpoint = checkpoint_prefix()
    return protocol.Protocol(
        split="test" if on_test_set else "val",
        shots=shots,
        queries=FLAGS.eval_queries,
        tasks=600 if FLAGS.eval_tasks is None else FLAGS.eval_tasks,
        inner_lr=FLAGS.update_lr if FLAGS.train_update_lr != -1 else None,
        checkpoint=checkpoint,
        transductive=FLAGS.transductive,
    )


def checkpoint_prefix():
    """Path that the files of --checkpoint share: the name of one of them may have been given."""
    return pathlib.Path(re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", FLAGS.checkpoint))


def adapt():
    """Adapts a trained classifier to a folder of images and prints what it takes the others for."""
    from data_generators.errors import UserError

    refuse(RL_ONLY, "belongs to reinforcement learning")
    if (FLAGS.run is None) == (FLAGS.checkpoint is None):
        raise UserError("adapt needs a classifier: expected either --run=<run folder> or --checkpoint=<authors' checkpoint>")
    settled = ("datasource", *CONFIG_FLAGS, *SETTINGS_WITH_TWO_FLAGS, "test_iter")
    if FLAGS.run is not None and (odd := [name for name in settled if FLAGS[name].present]):
        raise UserError(f"{', '.join(odd)} given, but the run has its own settings; expected --run without them")
    from maml import classifier

    if FLAGS.run is not None:
        trained = classifier.load_run(FLAGS.run)
    else:
        given = {name: getattr(FLAGS, name) for name in (*CONFIG_FLAGS, *SETTINGS_WITH_TWO_FLAGS)}
        trained = classifier.load_authors(FLAGS.checkpoint, FLAGS.datasource, **given)
    print(classifier.classify_folder(trained, FLAGS.adapt, FLAGS.adapt_steps, FLAGS.transductive, FLAGS.export))


def command_line():
    return " ".join(["python main.py", *sys.argv[1:]])


def report():
    from data_generators.errors import UserError
    from maml import report
    from rl import plots
    from rl import report as rl_report

    supervised, reinforcement = report.load_runs(FLAGS.logdir), rl_report.load_runs(FLAGS.logdir)
    if not supervised and not reinforcement:
        raise UserError(f"no tested run in {FLAGS.logdir}, expected <experiment>/seed_<seed>/summary.json in it")
    for run in reinforcement:
        plots.draw(run.folder)
    print(f"wrote {report.rebuild(FLAGS.logdir, parts=[rl_report])}")


def benchmark():
    from data_generators.errors import UserError

    refuse((*CONFIG_FLAGS, *RL_CONFIG_FLAGS, *SETTINGS_WITH_TWO_FLAGS), "the benchmark settles itself")
    name = FLAGS.datasource if FLAGS["datasource"].present else "omniglot"
    if name in ("omniglot", "miniimagenet"):
        set_up_tensorflow(jit=name == "omniglot")
        from maml import benchmark
    else:
        from rl.config import DATASOURCES

        if name not in DATASOURCES:
            known = ", ".join(("omniglot", "miniimagenet", *DATASOURCES))
            raise UserError(f"benchmark measures {known}, got --datasource={name}")
        set_up_tensorflow(jit=True)
        from rl import benchmark
    benchmark.main(name)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
