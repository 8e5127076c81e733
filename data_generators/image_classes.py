"""Classes of images held as arrays, and the N-way K-shot tasks drawn from them.

Letters: M tasks, N ways, K support and Q query images a class, B images a batch, T images in all, H × W pixels,
C channels.
"""

import dataclasses
import itertools

import numpy as np

from data_generators import distortions, pixels, streams
from data_generators.episode import Batch, Episode
from data_generators.errors import UserError


@dataclasses.dataclass(frozen=True)
class ImageClasses:
    """Images of one split, class by class.

    images: uint8, or float from 0 to 1, [T, H, W, C] (an array or a memory map)
    offsets: int64 [classes + 1], class c holds images[offsets[c]:offsets[c + 1]]
    names: the name of each class
    file_sizes: bytes of the files of each class together; None where they came from elsewhere
    """

    images: np.ndarray
    offsets: np.ndarray
    names: tuple[str, ...]
    file_sizes: tuple[int, ...] | None = None

    def select(self, names):
        """The classes called `names`, in that order: views where they are neighbours here, else copies.

        Raises KeyError for a name that is not there.
        """
        number = {name: c for c, name in enumerate(self.names)}
        sizes = None if self.file_sizes is None else tuple(self.file_sizes[number[name]] for name in names)
        first, end = number[names[0]], number[names[0]] + len(names)
        if self.names[first:end] == tuple(names):
            offsets = self.offsets[first : end + 1]
            return ImageClasses(self.images[offsets[0] : offsets[-1]], offsets - offsets[0], tuple(names), sizes)
        chosen = [self.images[self.offsets[number[n]] : self.offsets[number[n] + 1]] for n in names]
        return dataclasses.replace(stack_classes(chosen, names), file_sizes=sizes)


def stack_classes(images, names):
    """ImageClasses from a list of [images of the class, H, W, C], one array a class."""
    sizes = [len(of_class) for of_class in images]
    return ImageClasses(np.concatenate(images), np.cumsum([0, *sizes], dtype=np.int64), tuple(names))


class ImageTasks:
    """Draws N-way K-shot tasks, and batches of all classes of a split.

    splits: {"train": ImageClasses, "val": ..., "test": ...}
    num_classes: N, where `sample` is not told another one
    rotate: turn each class of each task by 0, 90, 180 or 270 degrees, all its images alike ([P] 5.2; the authors'
        data_generator.py does it at test too)

    Raises UserError if the splits differ in image shape, if images that are not square are to be rotated, and for
    pixels that are neither uint8 (0 to 255) nor float (0 to 1).
    """

    def __init__(self, splits, num_classes, rotate):
        shapes = {split: classes.images.shape[1:] for split, classes in splits.items()}
        if len(set(shapes.values())) > 1:
            raise UserError(f"the splits hold images of different shapes: {shapes}; expected one shape")
        self.input_shape = next(iter(shapes.values()))
        if rotate and self.input_shape[0] != self.input_shape[1]:
            raise UserError(f"rotation needs square images; got height x width x channels {self.input_shape}")
        for split, classes in splits.items():
            pixels.check(classes.images, f"the images of the {split} split")
        self.splits = splits
        self.num_classes = num_classes
        self.rotate = rotate
        self._sizes = {split: np.diff(classes.offsets) for split, classes in splits.items()}

    def contents(self):
        """{split: {class: how many images, or of files [how many, bytes of the files, mean of the pixels]}}."""
        found = {}
        for split, sizes in self._sizes.items():
            classes, counts = self.splits[split], sizes.tolist()
            known = counts
            if classes.file_sizes is not None:
                of_class = (classes.images[a:b] for a, b in itertools.pairwise(classes.offsets))
                means = (round(float(images.mean()), 2) for images in of_class)
                known = map(list, zip(counts, classes.file_sizes, means))
            found[split] = dict(zip(classes.names, known))
        return found

    def num_classes_of(self, split):
        """How many classes `split` has. Raises UserError if there is no such split."""
        return len(self._sizes_of(split))

    def smallest_class(self, split):
        """How many images the smallest class of `split` has: K + Q is at most that. Raises as `num_classes_of`."""
        return int(self._sizes_of(split).min())

    def num_batch_classes(self, split):
        """How many classes the labels of `batch` tell apart. Raises as `num_classes_of`."""
        return self._turns * self.num_classes_of(split)

    def check(self, split, num_shots, num_queries, num_ways=None):
        """Raises UserError unless `split` has N classes, each with K + Q images.

        split: "train", "val" or "test"
        num_shots, num_queries: K and Q
        num_ways: N, None for `num_classes`
        """
        sizes, needed = self._sizes_of(split), num_shots + num_queries
        num_ways = self.num_classes if num_ways is None else num_ways
        if len(sizes) < num_ways:
            total = sum(map(self.num_classes_of, self.splits))
            raise UserError(
                f"the {split} split has {len(sizes)} classes; {num_ways}-way tasks need at least {num_ways}, and all "
                f"splits share {total} here; expected more classes, or a smaller num_classes"
            )
        if sizes.min() < needed:
            smallest = int(sizes.argmin())
            raise UserError(
                f"class {self.splits[split].names[smallest]!r} of the {split} split has {sizes[smallest]} images; "
                f"{num_shots} support + {num_queries} query images need at least {needed} in every class"
            )

    def sample(  # noqa: PLR0913  (tasks are a function of these and of nothing else)
        self,
        split,
        seed,
        step,
        num_tasks,
        num_shots,
        num_queries,
        num_ways=None,
        shuffled=False,
        distorted=None,
        part=None,
    ):
        """An Episode of NumPy arrays, shapes as in `Episode`, pixels from 0 to 1.

        A task has N distinct classes and, of each, K + Q distinct images. The result is a pure function of the
        arguments: the same ones always give the same tasks, and any other (split, seed, step) a stream of its own.
        Classes and rotations depend on neither K nor Q. Raises what `check` raises.

        split: "train", "val" or "test"
        seed, step: which of the split's episodes
        num_tasks, num_shots, num_queries: M, K and Q; Q may be 0
        num_ways: N, None for `num_classes`
        shuffled: the support examples of each task in a random order of its own; the images drawn stay the same
        distorted: how, by its name in `distortions`; each image by a random affine map of its own; the images drawn
            stay the same
        part: a slice of the tasks, which alone are returned, as they would be among all M; None: all
        """
        self.check(split, num_shots, num_queries, num_ways)
        num_ways = self.num_classes if num_ways is None else num_ways
        classes, rng = self.splits[split], streams.generator(split, seed, step)
        chosen = _distinct(rng, np.full(num_tasks, len(classes.names)), num_ways)  # [M, N]
        turns = rng.integers(4, size=chosen.shape) if self.rotate else np.zeros_like(chosen)
        picks = _distinct(rng, self._sizes[split][chosen.ravel()], num_shots + num_queries)  # [M·N, K + Q]
        picks = picks.reshape(num_tasks, num_ways, -1) + classes.offsets[chosen][..., None]
        mine = np.arange(num_tasks)[part or slice(None)]  # from here on M is how many these are
        images = pixels.scaled(_turned(classes.images[picks[mine]], turns[mine]))  # [M, N, K + Q, H, W, C]
        if distorted:
            maps = distortions.components(
                distorted, picks.shape, streams.generator(split, seed, step, streams.DISTORTIONS)
            )
            images = distortions.distorted(images, maps[mine])

        def flat(x):  # [M, N, K, H, W, C] -> [M, N·K, H, W, C]
            return x.reshape(len(mine), num_ways * x.shape[2], *self.input_shape)

        def labels(count):
            return np.tile(np.repeat(np.eye(num_ways, dtype=np.float32), count, axis=0), (len(mine), 1, 1))

        support = flat(images[:, :, :num_shots]), labels(num_shots)
        if shuffled:
            order = rng.random((num_tasks, num_ways * num_shots)).argsort(axis=1)  # [all, N·K]: a permutation a task
            support = [x[np.arange(len(mine))[:, None], order[mine]] for x in support]
        return Episode(*support, flat(images[:, :, num_shots:]), labels(num_queries))

    def batch(self, split, seed, step, size):
        """A Batch of `size` examples as NumPy arrays, shapes as in `Batch`, pixels from 0 to 1.

        Class c of the split has label c. With `rotate` each quarter turn of a class is a class of its own, 4·c + turn,
        as Vinyals et al. 2016 and Snell et al. 2017 make new classes, and each image is there once in every turn. All
        examples are equally likely, and different ones in a batch unless it is larger than the split. Pure in its
        arguments; shares no random numbers with `sample`. Raises UserError for an unknown split or a size below 1.

        split: "train", "val" or "test"
        seed, step: which of the split's batches
        size: B
        """
        num_classes, classes = self.num_batch_classes(split), self.splits[split]
        if size < 1:
            raise UserError(f"the size of a batch is {size}, expected at least 1")
        rng = streams.generator(split, seed, step, streams.BATCHES)
        examples = self._turns * int(classes.offsets[-1])
        picks, turns = np.divmod(rng.choice(examples, size, replace=size > examples), self._turns)  # [B] each
        labels = self._turns * (np.searchsorted(classes.offsets, picks, side="right") - 1) + turns
        y = np.zeros((1, size, num_classes), np.float32)
        y[0, np.arange(size), labels] = 1
        return Batch(pixels.scaled(_turned(classes.images[picks], turns))[None], y)

    @property
    def _turns(self):
        return 4 if self.rotate else 1

    def _sizes_of(self, split):
        """int64 [classes]: how many images each has."""
        if split not in self._sizes:
            raise UserError(f"no split is called {split!r}; expected one of {', '.join(self._sizes)}")
        return self._sizes[split]


def _turned(images, turns):
    """`images` [..., H, W, C], changed in place: images[i] turned by turns[i] quarters, i over the axes of `turns`."""
    for turn in (1, 2, 3):
        which = turns == turn
        images[which] = np.rot90(images[which], turn, axes=(-3, -2))
    return images


def _distinct(rng, sizes, count):
    """int64 [R, count]: row r holds `count` distinct integers below sizes[r], every ordered choice equally likely.

    Column i starts as a rank among the integers that columns 0 to i - 1 have left over. Working back from the last
    column, every rank at or above an earlier column's value moves up by one to make room for it (a Lehmer code).
    """
    picks = np.floor(rng.random((len(sizes), count)) * (np.asarray(sizes)[:, None] - np.arange(count))).astype(np.int64)
    for i in reversed(range(count - 1)):
        picks[:, i + 1 :] += picks[:, i + 1 :] >= picks[:, i : i + 1]
    return picks
