"""How a supervised run is tested."""

from dataclasses import dataclass

from data_generators.errors import UserError
from maml.runs.checkpoints import Best, Latest, is_ensemble
from maml.runs.kind import checkpoint_of

SINUSOID_SHOTS = (5, 10, 20)  # [P] 5.1, figure 3
TASKS = 600


@dataclass(frozen=True)
class Protocol:
    """How a supervised run is tested. The defaults are the MAML paper's.

    split: "test" or "val".
    shots: K, one curve each; the first is the headline.
    queries: query examples a class; None: K.
    tasks: how many.
    ways: N; None: that of the training.
    inner_lr: α; None: as in training, or tuned on validation tasks where the method says so.
    checkpoint: Best(), Latest() or an iteration; Best(count): an ensemble, whose outputs are averaged.
    transductive: a task's queries are normalised together, as in the paper; False: each by itself, with the statistics
        of the support set.

    Raises UserError for values that can't be.
    """

    split: str
    shots: tuple
    queries: int | None = None
    ways: int | None = None
    tasks: int = TASKS
    inner_lr: float | None = None
    checkpoint: Best | Latest | int = Best()
    transductive: bool = True

    def __post_init__(self):
        counts = [("update_batch_size", shots, 1) for shots in self.shots]
        counts += [("eval_tasks", self.tasks, 1), ("eval_queries", self.queries, 1), ("num_classes", self.ways, 2)]
        for name, count, least in counts:
            if count is not None and count < least:
                raise UserError(f"{name} is {count}, expected at least {least}")
        if self.inner_lr is not None and not 0 < self.inner_lr < float("inf"):
            raise UserError(f"update_lr is {self.inner_lr}, expected a positive number")

    @property
    def suffix(self) -> str:
        """Ends the tables' names; empty for the checkpoint, step size and mode that a run is tested with by default."""
        if isinstance(self.checkpoint, int):
            suffix = f"_iteration_{self.checkpoint}"
        else:
            suffix = "_latest" if isinstance(self.checkpoint, Latest) else ""
            suffix += f"_best_{self.checkpoint.count}" if is_ensemble(self.checkpoint) else ""
        suffix += "" if self.transductive else "_one_at_a_time"
        return suffix + ("" if self.inner_lr is None else f"_lr_{self.inner_lr:g}")

    def table(self, shots) -> str:
        """The file name of the adaptation table for K = shots."""
        size = f"{shots}shot" if self.ways is None else f"{self.ways}way_{shots}shot"
        return f"adaptation_{self.split}_{size}_{self.queries or shots}query{self.suffix}.csv"

    def is_headline(self, settings) -> bool:
        """Whether this is how the run's one quotable number is measured, whatever the number of tasks."""
        shots = headline_shots(settings.task)[0]
        usual = (self.split, self.ways, self.shots[0], self.suffix) == ("test", None, shots, "")
        return usual and self.queries in (None, shots)


def headline_shots(task) -> tuple[int, ...]:
    """K at test when nothing else is asked for; the first is the headline's."""
    if task.classification:
        return (task.num_shots,)
    return tuple(dict.fromkeys((*SINUSOID_SHOTS, task.num_shots)))


def protocol_of(settings, options) -> Protocol:
    """The Protocol that the command line's options ask for, {option: value or None}."""
    task, transductive = settings.task, options.get("transductive") is not False
    norm = settings.network.norm
    if not transductive and norm != "batch_norm":
        raise UserError(f"transductive=False goes with batch_norm, got {norm}: there a query never sees the others")
    if not transductive and not task.classification:
        raise UserError(f"transductive=False goes with images, got {task.datasource}")
    if options.get("checkpoint") is not None and options.get("test_iter") is not None:
        raise UserError("checkpoint and test_iter given, expected one of them")
    if options.get("checkpoint") is not None and options.get("ensemble") is not None:
        raise UserError("checkpoint and ensemble given, expected one of them")
    if options.get("ensemble") is not None and not task.classification:
        raise UserError(f"ensemble goes with images, got {task.datasource}: only there the best checkpoints are known")
    on_test_set = options.get("train") if options.get("test_set") is None else options["test_set"]
    shots, ways = options.get("test_update_batch_size"), options.get("test_num_classes")
    return Protocol(
        split="test" if on_test_set else "val",
        shots=headline_shots(task) if shots is None else (shots,),
        queries=options.get("eval_queries"),
        ways=None if ways == task.num_classes else ways,
        tasks=TASKS if options.get("eval_tasks") is None else options["eval_tasks"],
        inner_lr=options.get("test_update_lr"),
        checkpoint=checkpoint_of(settings, options),
        transductive=transductive,
    )
