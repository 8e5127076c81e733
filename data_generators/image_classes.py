"""Classes of images held as arrays, and the N-way K-shot tasks drawn from them.

Letters: M tasks, N ways, K support and Q query images a class, T images in all, H × W pixels, C channels.
"""

import dataclasses

import numpy as np

from data_generators import streams
from data_generators.episode import Episode
from data_generators.errors import UserError


@dataclasses.dataclass(frozen=True)
class ImageClasses:
    """Images of one split, class by class.

    images: uint8 [T, H, W, C] (an array or a memory map); offsets: int64 [classes + 1], class c holds
    images[offsets[c]:offsets[c + 1]]; names: the name of each class.
    """

    images: np.ndarray
    offsets: np.ndarray
    names: tuple[str, ...]

    def select(self, names):
        """The classes called `names`, in that order: views where they are neighbours here, else copies.

        Raises KeyError for a name that is not there.
        """
        number = {name: c for c, name in enumerate(self.names)}
        first, end = number[names[0]], number[names[0]] + len(names)
        if self.names[first:end] == tuple(names):
            offsets = self.offsets[first:end + 1]
            return ImageClasses(self.images[offsets[0]:offsets[-1]], offsets - offsets[0], tuple(names))
        chosen = [self.images[self.offsets[number[n]]:self.offsets[number[n] + 1]] for n in names]
        return stack_classes(chosen, names)


def stack_classes(images, names):
    """ImageClasses from a list of uint8 [images of the class, H, W, C], one array a class."""
    sizes = [len(of_class) for of_class in images]
    return ImageClasses(np.concatenate(images), np.cumsum([0, *sizes], dtype=np.int64), tuple(names))


class ImageTasks:
    """Draws N-way K-shot tasks: N distinct classes a task, K + Q distinct images a class.

    splits: {"train": ImageClasses, "val": ..., "test": ...}; num_classes: N; rotate: turn each class of each task by 0,
    90, 180 or 270 degrees, all its images alike ([P] 5.2; the authors' data_generator.py does it at test too). Raises
    UserError if the splits differ in image shape, or if images that are not square are to be rotated.
    """

    def __init__(self, splits, num_classes, rotate):
        shapes = {split: classes.images.shape[1:] for split, classes in splits.items()}
        if len(set(shapes.values())) > 1:
            raise UserError(f"the splits hold images of different shapes: {shapes}; expected one shape")
        self.input_shape = next(iter(shapes.values()))
        if rotate and self.input_shape[0] != self.input_shape[1]:
            raise UserError(f"rotation needs square images; got height x width x channels {self.input_shape}")
        self.splits = splits
        self.num_classes = num_classes
        self.rotate = rotate
        self._sizes = {split: np.diff(classes.offsets) for split, classes in splits.items()}

    def contents(self):
        """{split: {class: how many images}}."""
        return {split: dict(zip(self.splits[split].names, sizes.tolist())) for split, sizes in self._sizes.items()}

    def check(self, split, num_shots, num_queries):
        """Raises UserError unless `split` has N classes, each with K + Q images."""
        if split not in self.splits:
            raise UserError(f"no split is called {split!r}; expected one of {', '.join(self.splits)}")
        sizes, needed = self._sizes[split], num_shots + num_queries
        if len(sizes) < self.num_classes:
            raise UserError(
                f"the {split} split has {len(sizes)} classes; "
                f"{self.num_classes}-way tasks need at least {self.num_classes}"
            )
        if sizes.min() < needed:
            smallest = int(sizes.argmin())
            raise UserError(
                f"class {self.splits[split].names[smallest]!r} of the {split} split has {sizes[smallest]} images; "
                f"{num_shots} support + {num_queries} query images need at least {needed} in every class"
            )

    def sample(self, split, seed, step, num_tasks, num_shots, num_queries):
        """An Episode of M = `num_tasks` tasks as NumPy arrays, shapes as in `Episode`, pixels divided by 255.

        A pure function of its arguments: the same ones always give the same tasks, and any other (seed, split, step)
        a stream of its own. Classes and rotations depend on neither K nor Q. Raises what `check` raises.
        """
        self.check(split, num_shots, num_queries)
        classes, num_ways = self.splits[split], self.num_classes
        rng = streams.generator(split, seed, step)
        chosen = _distinct(rng, np.full(num_tasks, len(classes.names)), num_ways)  # [M, N]
        if self.rotate:
            turns = rng.integers(4, size=chosen.shape)
        picks = _distinct(rng, self._sizes[split][chosen.ravel()], num_shots + num_queries)  # [M·N, K + Q]
        picks = picks.reshape(num_tasks, num_ways, -1) + classes.offsets[chosen][..., None]

        images = classes.images[picks]  # [M, N, K + Q, H, W, C]
        if self.rotate:
            for turn in (1, 2, 3):
                turned = turns == turn
                images[turned] = np.rot90(images[turned], turn, axes=(2, 3))

        def flatten(x):
            x = x.astype(np.float32, order="C")
            x /= np.float32(255)  # times 1 / 255 would round otherwise
            return x.reshape(num_tasks, -1, *self.input_shape)

        def labels(count):
            return np.tile(np.repeat(np.eye(num_ways, dtype=np.float32), count, axis=0), (num_tasks, 1, 1))

        return Episode(
            flatten(images[:, :, :num_shots]), labels(num_shots), flatten(images[:, :, num_shots:]), labels(num_queries)
        )


def _distinct(rng, sizes, count):
    """int64 [R, count]: row r holds `count` distinct integers below sizes[r], every ordered choice equally likely.

    Column i starts as a rank among the integers that columns 0 to i - 1 have left over. Working back from the last
    column, every rank at or above an earlier column's value moves up by one to make room for it (a Lehmer code).
    """
    picks = np.floor(rng.random((len(sizes), count)) * (np.asarray(sizes)[:, None] - np.arange(count))).astype(np.int64)
    for i in reversed(range(count - 1)):
        picks[:, i + 1:] += picks[:, i + 1:] >= picks[:, i:i + 1]
    return picks
