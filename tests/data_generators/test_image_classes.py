"""Episodes drawn from classes of images whose pixels say which class and which image they are."""

import numpy as np
import pytest

from data_generators import streams
from data_generators.errors import UserError
from data_generators.image_classes import ImageClasses, ImageTasks, _distinct, stack_classes
from data_generators.streams import SPLITS

SIZES = [6 + c % 5 for c in range(20)]  # 20 classes of 6 to 10 images


def coded(sizes):
    """Image i of class c is [[c, i], [100, 200]]: its identity, and its rotation, can be read off."""
    classes = [np.array([[[c, i], [100, 200]] for i in range(size)], np.uint8) for c, size in enumerate(sizes)]
    return stack_classes([images[..., None] for images in classes], [f"class {c}" for c in range(len(sizes))])


def tasks(num_classes=5, rotate=False, sizes=SIZES):
    return ImageTasks({split: coded(sizes) for split in SPLITS}, num_classes, rotate)


def codes(images):
    """The stored bytes, uint8 [M, N·K, H, W], of float pixels [M, N·K, H, W, 1]."""
    return np.rint(images[..., 0] * 255).astype(np.uint8)


def test_stacked_classes_are_cut_out_by_their_offsets():
    classes = coded([3, 1, 2])
    assert classes.offsets.tolist() == [0, 3, 4, 6]
    assert classes.images[classes.offsets[2] : classes.offsets[3], 0, 0, 0].tolist() == [2, 2]


def test_select_takes_the_named_classes_in_the_given_order():
    chosen = coded([3, 1, 2]).select(["class 2", "class 0"])
    assert chosen.names == ("class 2", "class 0")
    assert chosen.images[:, 0, 0, 0].tolist() == [2, 2, 0, 0, 0]
    assert chosen.offsets.tolist() == [0, 2, 5]


def test_select_copies_nothing_where_the_chosen_classes_are_neighbours():
    classes = coded([3, 1, 2, 4])
    chosen = classes.select(["class 1", "class 2"])
    assert chosen.images.base is classes.images
    assert chosen.names == ("class 1", "class 2")
    assert chosen.images[:, 0, 0, 0].tolist() == [1, 2, 2]
    assert chosen.offsets.tolist() == [0, 1, 3]


def test_shapes_and_types_are_those_of_an_episode():
    episode = tasks(num_classes=4).sample("train", 0, 0, 3, num_shots=2, num_queries=1)
    assert [x.shape for x in episode] == [(3, 8, 2, 2, 1), (3, 8, 4), (3, 4, 2, 2, 1), (3, 4, 4)]
    assert {x.dtype for x in episode} == {np.dtype(np.float32)}


def test_input_shape_is_height_width_channels():
    assert tasks().input_shape == (2, 2, 1)


def test_contents_count_the_images_of_each_class():
    splits = {"train": coded([3, 1]), "test": coded([2])}
    assert ImageTasks(splits, 2, False).contents() == {"train": {"class 0": 3, "class 1": 1}, "test": {"class 0": 2}}


def test_contents_have_the_bytes_and_the_mean_of_files():
    images = np.array([0, 0, 100, 7], np.uint8)[:, None, None, None]
    known = ImageClasses(images, np.array([0, 3, 4]), ("a", "b"), file_sizes=(700, 80))
    assert ImageTasks({"train": known}, 2, False).contents() == {"train": {"a": [3, 700, 33.33], "b": [1, 80, 7.0]}}
    assert known.select(["b", "a"]).file_sizes == (80, 700)
    assert known.select(["b"]).file_sizes == (80,)


def test_pixels_are_the_bytes_divided_by_255():
    every_byte = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(2, axis=0)
    source = ImageTasks({"train": stack_classes([every_byte], ["a"])}, 1, rotate=False)
    support = source.sample("train", 0, 0, 1, 1, 1).support_x
    np.testing.assert_array_equal(support.ravel(), np.arange(256, dtype=np.float32) / np.float32(255))


def of(images):
    return ImageTasks({"train": stack_classes([images, images], ["a", "b"])}, 2, rotate=False)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_0_to_1_are_left_as_they_are(dtype):
    images = np.linspace(0, 1, 2 * 4).reshape(2, 2, 2, 1).astype(dtype)
    episode = of(images).sample("train", 0, 0, 1, 2, 0)
    assert episode.support_x.dtype == np.float32
    assert sorted(episode.support_x.ravel()) == sorted([*images.astype(np.float32).ravel()] * 2)
    assert of(images).batch("train", 0, 0, 4).x.max() == 1


REFUSED = {
    "floats to 255": (np.full((2, 2, 2, 1), 255.0), "have values from 255 to 255"),
    "negative floats": (np.full((2, 2, 2, 1), -0.5), "have values from -0.5 to -0.5"),
    "not a number": (np.full((2, 2, 2, 1), np.nan), "have values from nan to nan"),
    "16 bits": (np.full((2, 2, 2, 1), 65535, np.uint16), "are uint16"),
    "integers": (np.full((2, 2, 2, 1), 255), "are int64"),
    "bits": (np.full((2, 2, 2, 1), True), "are bool"),
    "bytes of 0 and 1": (np.eye(2, dtype=np.uint8).reshape(1, 2, 2, 1), "are uint8 of 0 and 1 alone, which is black;"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_pixels_of_another_range_are_refused(what):
    images, message = REFUSED[what]
    with pytest.raises(
        UserError, match=f"^the images of the train split {message}.* expected uint8 .0 to 255. or float"
    ):
        of(images)


def test_pixels_are_from_0_to_1_also_where_they_are_distorted():
    """Bytes become floats on the way, which must not be divided twice, nor not at all."""
    images = np.full((2, 2, 4, 4, 1), 204, np.uint8)
    for of_class in (images, images / np.float32(255)):
        source = ImageTasks({"train": stack_classes(list(of_class), ["a", "b"])}, 2, rotate=False)
        x = source.sample("train", 0, 0, 4, 1, 1, distorted="affine").support_x
        np.testing.assert_allclose(x.max(), 0.8, rtol=1e-6)


def test_dark_images_are_no_error():
    of(np.zeros((2, 2, 2, 1), np.uint8))
    of(np.full((2, 2, 2, 1), 2, np.uint8))


def test_labels_are_one_hot_and_lie_class_by_class():
    episode = tasks().sample("train", 0, 0, 50, num_shots=2, num_queries=3)
    for y, count in ((episode.support_y, 2), (episode.query_y, 3)):
        np.testing.assert_array_equal(y, np.tile(np.repeat(np.eye(5), count, axis=0), (50, 1, 1)))


def test_a_label_is_one_class_and_a_class_has_one_label():
    first = codes(tasks().sample("train", 0, 0, 50, 2, 3).support_x)[..., 0, 0].reshape(50, 5, 2)
    assert (first[..., 0] == first[..., 1]).all()
    assert all(len(set(row)) == 5 for row in first[..., 0])


def test_query_images_are_of_the_class_that_the_support_images_are_of():
    episode = tasks().sample("train", 0, 0, 50, num_shots=1, num_queries=3)
    support, query = (codes(x)[..., 0, 0].reshape(50, 5, -1) for x in (episode.support_x, episode.query_x))
    np.testing.assert_array_equal(query, support.repeat(3, axis=2))


def test_support_and_query_images_are_all_different():
    episode = tasks().sample("train", 0, 0, 200, num_shots=2, num_queries=4)  # K + Q is the smallest class, all of it
    numbers = [codes(x)[..., 0, 1].reshape(200, 5, -1) for x in (episode.support_x, episode.query_x)]
    drawn = np.sort(np.concatenate(numbers, axis=2), axis=2)
    assert (np.diff(drawn.astype(int), axis=2) > 0).all()


def deviations(counts, draws, chance):
    """By how many standard deviations of a binomial each count misses its expectation."""
    return np.abs(np.asarray(counts) - draws * chance) / np.sqrt(draws * chance * (1 - chance))


def test_every_class_is_equally_likely_in_every_place():
    support = codes(tasks().sample("train", 1, 0, 8000, 1, 1).support_x)[..., 0, 0]
    for way in range(5):
        assert deviations(np.bincount(support[:, way], minlength=20), 8000, 1 / 20).max() < 4


def test_every_image_of_a_class_is_equally_likely_as_support_and_as_query():
    episode = tasks().sample("train", 2, 0, 8000, 1, 1)
    for x in (episode.support_x, episode.query_x):
        c, i = codes(x)[..., 0, 0].ravel(), codes(x)[..., 0, 1].ravel()
        for of_class, size in enumerate(SIZES):
            counts = np.bincount(i[c == of_class], minlength=size)
            assert len(counts) == size
            assert deviations(counts, counts.sum(), 1 / size).max() < 4.5


def test_every_ordered_choice_is_equally_likely():
    picks = _distinct(np.random.default_rng(0), [4] * 48_000, 3)
    counts = np.unique(picks, axis=0, return_counts=True)[1]
    assert len(counts) == 4 * 3 * 2
    assert deviations(counts, 48_000, 1 / 24).max() < 4


def test_a_choice_of_everything_is_a_permutation():
    picks = _distinct(np.random.default_rng(0), [7] * 500, 7)
    np.testing.assert_array_equal(np.sort(picks, axis=1), np.tile(np.arange(7), (500, 1)))


def turns_of(images):
    """[M, N·K]: which number of np.rot90's turns each image was given, −1 for none of the four."""
    number = np.full(images.shape[:2], -1)
    pixels = codes(images)
    for m, row in enumerate(pixels):
        for n, image in enumerate(row):
            for k in range(4):
                back = np.rot90(image, -k)
                if back[1].tolist() == [100, 200]:
                    number[m, n] = k
    return number


def test_all_images_of_a_class_in_a_task_are_turned_alike():
    episode = tasks(rotate=True).sample("train", 3, 0, 100, num_shots=2, num_queries=3)
    support, query = turns_of(episode.support_x).reshape(100, 5, 2), turns_of(episode.query_x).reshape(100, 5, 3)
    both = np.concatenate([support, query], axis=2)
    assert (both >= 0).all() and (both == both[..., :1]).all()


def test_the_four_rotations_are_equally_likely_in_every_split():
    for split in SPLITS:
        turns = turns_of(tasks(rotate=True).sample(split, 4, 0, 800, 1, 1).support_x)
        assert deviations(np.bincount(turns.ravel(), minlength=4), 4000, 1 / 4).max() < 4


def test_a_turned_image_is_np_rot90_of_a_stored_one():
    turned = tasks(rotate=True).sample("train", 5, 0, 50, 1, 1).support_x
    stored = {image[..., 0].tobytes() for image in coded(SIZES).images}
    for image, turns in zip(codes(turned).reshape(-1, 2, 2), turns_of(turned).ravel()):
        assert np.rot90(image, -turns).tobytes() in stored


def test_without_rotation_every_image_is_upright():
    assert (turns_of(tasks(rotate=False).sample("train", 0, 0, 50, 1, 1).support_x) == 0).all()


def test_sampling_leaves_the_stored_images_alone():
    source = tasks(rotate=True)
    before = source.splits["train"].images.copy()
    source.sample("train", 0, 0, 50, 1, 1)
    np.testing.assert_array_equal(source.splits["train"].images, before)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b))


def test_the_same_arguments_give_the_same_episode_whatever_was_drawn_before():
    source = tasks(rotate=True)
    first = source.sample("train", 7, 8, 4, 1, 1)
    source.sample("train", 7, 9, 4, 1, 1)
    np.random.seed(0)
    assert same(first, source.sample("train", 7, 8, 4, 1, 1))
    assert same(first, tasks(rotate=True).sample("train", 7, 8, 4, 1, 1))


def identities(images):
    """[M, N·K] of (class, image, quarter turns) of coded images, float [M, N·K, 2, 2, 1]."""
    upright = [[np.rot90(x, -k)[0].tolist() for x, k in zip(*row)] for row in zip(codes(images), turns_of(images))]
    return [[(*x, k) for x, k in zip(*row)] for row in zip(upright, turns_of(images).tolist())]


def test_the_tasks_that_were_always_drawn():
    """Runs of before are compared with runs of today. From commit 97c578b."""
    episode = tasks(num_classes=3, rotate=True).sample("val", 7, 8, 2, num_shots=2, num_queries=1)
    assert identities(episode.support_x) == [
        [(13, 7, 1), (13, 6, 1), (5, 1, 1), (5, 2, 1), (1, 4, 3), (1, 2, 3)],
        [(10, 1, 3), (10, 4, 3), (7, 6, 0), (7, 5, 0), (13, 3, 0), (13, 1, 0)],
    ]
    assert identities(episode.query_x) == [
        [(13, 5, 1), (5, 3, 1), (1, 0, 3)],
        [(10, 2, 3), (7, 0, 0), (13, 6, 0)],
    ]


@pytest.mark.parametrize("num_ways", [1, 3, 20])
def test_the_number_of_ways_can_be_chosen_for_each_draw(num_ways):
    asked = tasks(5, rotate=True).sample("train", 7, 8, 4, 2, 1, num_ways=num_ways)
    assert same(asked, tasks(num_ways, rotate=True).sample("train", 7, 8, 4, 2, 1))
    assert asked.support_y.shape == (4, 2 * num_ways, num_ways)


@pytest.mark.parametrize("rotate", [False, True])
def test_an_empty_query_set(rotate):
    episode = tasks(num_classes=4, rotate=rotate).sample("train", 0, 0, 3, num_shots=2, num_queries=0)
    assert [x.shape for x in episode] == [(3, 8, 2, 2, 1), (3, 8, 4), (3, 0, 2, 2, 1), (3, 0, 4)]
    assert {x.dtype for x in episode} == {np.dtype(np.float32)}


def shuffled_and_not(num_tasks=50, num_shots=2):
    source = tasks(rotate=True)
    return (source.sample("train", 7, 8, num_tasks, num_shots, 2, shuffled=shuffled) for shuffled in (True, False))


def test_a_shuffled_support_set_holds_the_same_examples_with_their_labels():
    shuffled, plain = shuffled_and_not()
    both = [
        [sorted(zip(x, y.argmax(-1).tolist())) for x, y in zip(identities(episode.support_x), episode.support_y)]
        for episode in (shuffled, plain)
    ]
    assert both[0] == both[1]
    np.testing.assert_array_equal(shuffled.support_y.sum(-1), 1)


def test_shuffling_leaves_the_query_set_alone():
    shuffled, plain = shuffled_and_not()
    np.testing.assert_array_equal(shuffled.query_x, plain.query_x)
    np.testing.assert_array_equal(shuffled.query_y, plain.query_y)


def test_each_task_is_shuffled_in_an_order_of_its_own_and_every_order_is_equally_likely():
    source = tasks(num_classes=3)
    labels = source.sample("train", 0, 0, 6000, 1, 0, shuffled=True).support_y.argmax(-1)
    counts = np.unique(labels, axis=0, return_counts=True)[1]
    assert len(counts) == 3 * 2
    assert deviations(counts, 6000, 1 / 6).max() < 4


def test_shuffling_is_pure_in_its_arguments():
    (first, _), (second, _) = shuffled_and_not(), shuffled_and_not()
    assert same(first, second)


@pytest.mark.parametrize("other", [("val", 7, 8), ("test", 7, 8), ("train", 8, 8), ("train", 7, 9), ("train", 8, 7)])
def test_another_split_seed_or_step_gives_another_episode(other):
    source = tasks(rotate=True)
    assert not same(source.sample("train", 7, 8, 4, 1, 1), source.sample(*other, 4, 1, 1))


def test_classes_do_not_depend_on_how_many_images_are_asked_for():
    source = tasks()
    one, many = source.sample("test", 0, 0, 10, 1, 1).support_x, source.sample("test", 0, 0, 10, 2, 4).support_x
    np.testing.assert_array_equal(codes(one)[..., 0, 0], codes(many)[:, ::2, 0, 0])


def test_a_memory_map_gives_the_same_episodes(tmp_path):
    classes = coded(SIZES)
    np.save(tmp_path / "images.npy", classes.images)
    mapped = ImageClasses(np.load(tmp_path / "images.npy", mmap_mode="r"), classes.offsets, classes.names)
    got, want = (ImageTasks({"train": c}, 5, True).sample("train", 0, 0, 20, 1, 1) for c in (mapped, classes))
    assert same(got, want)


@pytest.mark.parametrize("ask", ["check", "sample"])
def test_a_class_with_too_few_images_is_named(ask):
    source = tasks(sizes=[9, 8, 3, 9, 9])
    with pytest.raises(UserError, match=r"class 'class 2' of the val split has 3 images; 1 support \+ 3 query .* 4 "):
        source.check("val", 1, 3) if ask == "check" else source.sample("val", 0, 0, 1, 1, 3)


def test_a_class_with_just_enough_images_passes():
    tasks(sizes=[9, 8, 4, 9, 9]).check("val", 1, 3)


def test_a_split_with_too_few_classes_is_named():
    with pytest.raises(UserError, match="the test split has 4 classes; 5-way tasks need at least 5"):
        tasks(sizes=[9] * 4).check("test", 1, 1)


def test_the_number_of_ways_that_was_asked_for_is_checked():
    source = tasks(num_classes=5, sizes=[9] * 6)
    source.check("test", 1, 1, num_ways=6)
    for ask in (source.check, lambda *sizes, num_ways: source.sample("test", 0, 0, 1, 1, 1, num_ways=num_ways)):
        with pytest.raises(UserError, match="the test split has 6 classes; 7-way tasks need at least 7"):
            ask("test", 1, 1, num_ways=7)


def test_classes_and_images_of_a_split_are_counted():
    splits = {"train": coded([3, 1, 2]), "test": coded([5])}
    counted = ImageTasks(splits, 2, False)
    assert (counted.num_classes_of("train"), counted.smallest_class("train")) == (3, 1)
    assert (counted.num_classes_of("test"), counted.smallest_class("test")) == (1, 5)


def test_a_batch_has_a_class_for_each_class_or_for_each_quarter_turn_of_one():
    assert tasks(rotate=False).num_batch_classes("val") == 20
    assert tasks(rotate=True).num_batch_classes("val") == 80


def batch_of(source, split="train", seed=0, step=0, size=8):
    """The batch, and its label and (class, image, turn) of each example."""
    batch = source.batch(split, seed, step, size)
    return batch, batch.y[0].argmax(-1).tolist(), identities(batch.x)[0]


@pytest.mark.parametrize("rotate, classes", [(False, 20), (True, 80)])
def test_shapes_and_types_of_a_batch(rotate, classes):
    batch = tasks(rotate=rotate).batch("train", 0, 0, 7)
    assert (batch.x.shape, batch.y.shape) == ((1, 7, 2, 2, 1), (1, 7, classes))
    assert {a.dtype for a in batch} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.sort(batch.y[0]), np.eye(classes)[[-1] * 7])


def test_a_label_of_a_batch_is_the_class_of_the_image():
    _, labels, drawn = batch_of(tasks(rotate=False), size=150)
    assert labels == [c for c, _, _ in drawn]
    assert {turn for _, _, turn in drawn} == {0}


def test_with_rotation_a_label_is_four_times_the_class_plus_the_turn():
    _, labels, drawn = batch_of(tasks(rotate=True), size=600)
    assert labels == [4 * c + turn for c, _, turn in drawn]


@pytest.mark.parametrize("rotate, turns", [(False, 1), (True, 4)])
def test_a_batch_of_everything_holds_every_image_once_in_every_turn(rotate, turns):
    _, _, drawn = batch_of(tasks(rotate=rotate), size=turns * sum(SIZES))
    everything = [(c, i, k) for c, size in enumerate(SIZES) for i in range(size) for k in range(turns)]
    assert sorted(drawn) == everything != drawn


def test_a_batch_larger_than_the_split_repeats_examples():
    _, _, drawn = batch_of(tasks(rotate=False, sizes=[2, 3]), size=400)
    assert deviations(np.unique(drawn, axis=0, return_counts=True)[1], 400, 1 / 5).max() < 4


def test_every_example_is_equally_likely_in_every_place():
    source = tasks(rotate=True, sizes=[2, 3])
    batches = [batch_of(source, step=step, size=2)[2] for step in range(2000)]
    for place in range(2):
        counts = np.unique([drawn[place] for drawn in batches], axis=0, return_counts=True)[1]
        assert len(counts) == 20
        assert deviations(counts, 2000, 1 / 20).max() < 4


def test_batches_are_pure_in_split_seed_step_and_size():
    source = tasks(rotate=True)
    first = source.batch("train", 7, 8, 6)
    source.sample("train", 7, 8, 4, 1, 1)
    assert same(first, tasks(rotate=True).batch("train", 7, 8, 6))
    for other in (("val", 7, 8), ("test", 7, 8), ("train", 8, 8), ("train", 7, 9), ("train", 8, 7)):
        assert not same(first, source.batch(*other, 6)), other


def test_batches_and_tasks_share_no_random_numbers():
    drawn = [streams.generator("train", 7, 8, of).random(1000) for of in (streams.TASKS, streams.BATCHES)]
    assert not set(drawn[0]) & set(drawn[1])
    assert abs(np.corrcoef(*drawn)[0, 1]) < 4 / np.sqrt(1000)


def test_a_batch_leaves_the_stored_images_alone_and_can_come_from_a_memory_map(tmp_path):
    classes = coded(SIZES)
    np.save(tmp_path / "images.npy", classes.images)
    mapped = ImageClasses(np.load(tmp_path / "images.npy", mmap_mode="r"), classes.offsets, classes.names)
    got, want = (ImageTasks({"train": c}, 5, True).batch("train", 0, 0, 500) for c in (mapped, classes))
    assert same(got, want)
    np.testing.assert_array_equal(classes.images, coded(SIZES).images)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(UserError, match="the size of a batch is 0, expected at least 1"):
        tasks().batch("train", 0, 0, 0)


@pytest.mark.parametrize(
    "ask",
    [
        ImageTasks.num_classes_of,
        ImageTasks.smallest_class,
        ImageTasks.num_batch_classes,
        lambda source, split: source.batch(split, 0, 0, 1),
    ],
)
def test_an_unknown_split_is_named_whatever_is_asked_of_it(ask):
    with pytest.raises(UserError, match="'valid'; expected one of train, val, test"):
        ask(tasks(), "valid")


def test_an_unknown_split_is_named_with_those_there_are():
    with pytest.raises(UserError, match="'valid'; expected one of train, val, test"):
        tasks().check("valid", 1, 1)


def test_splits_of_different_image_shapes_are_refused():
    other = stack_classes([np.zeros((3, 4, 4, 1), np.uint8)], ["a"])
    with pytest.raises(UserError, match=r"different shapes.*\(4, 4, 1\)"):
        ImageTasks({"train": coded([3]), "val": other}, 1, False)


def test_rotating_images_that_are_not_square_is_refused():
    oblong = stack_classes([np.zeros((3, 4, 6, 3), np.uint8)], ["a"])
    with pytest.raises(UserError, match=r"square images; got .*\(4, 6, 3\)"):
        ImageTasks({"train": oblong}, 1, True)
