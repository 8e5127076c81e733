"""From the name of a data source to its tasks, its name in results, and its way of reading an image."""

import numpy as np
import pytest
from PIL import Image

from data_generators import sources
from data_generators.errors import UserError
from data_generators.image_classes import ImageClasses, ImageTasks
from data_generators.streams import SPLITS


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.delenv("MAML_DATA", raising=False)
    monkeypatch.setenv("MAML_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def home(tmp_path):
    """Three splits of two classes of two images; each image's upper half is black and the lower white."""
    for split in ("train", "val", "test"):
        for c in "ab":
            folder = tmp_path / "home" / split / f"{split}_{c}"
            folder.mkdir(parents=True)
            for i in (1, 2):
                Image.fromarray(np.array([[0], [255]], np.uint8).repeat(6, 0).repeat(12, 1)).save(folder / f"{i}.png")
    return tmp_path / "home"


@pytest.mark.parametrize("datasource", ["miniimagenet", "folder"])
def test_tasks_of_photographs_are_drawn_upright(datasource, home):
    tasks = sources.load(datasource, num_classes=2, data_path=home)
    images = tasks.sample("train", 0, 0, 20, 1, 1).support_x
    assert images.shape == (20, 2, 84, 84, 3)
    assert (images[:, :, 0] < 0.1).all() and (images[:, :, -1] > 0.9).all()


def test_size_and_channels_of_a_folder_can_be_chosen(home):
    assert sources.load("folder", 2, data_path=home, image_size=20, channels=1).input_shape == (20, 20, 1)


def test_split_and_seed_reach_the_folder(tmp_path):
    for c in "abcdefghij":
        (tmp_path / "own" / c).mkdir(parents=True)
        Image.new("L", (2, 2)).save(tmp_path / "own" / c / "1.png")

    def train(seed):
        tasks = sources.load("folder", 2, data_path=tmp_path / "own", split=(0.3, 0.3, 0.4), split_seed=seed)
        return tasks.splits["train"].names

    assert len(train(0)) == 3 and train(0) != train(1)


@pytest.fixture
def two_images(monkeypatch):
    """Omniglot and glyphs of two images a class and split, instead of the real ones."""
    images = np.zeros((4, 28, 28, 1), np.uint8)
    splits = {split: ImageClasses(images, np.array([0, 2, 4]), ("a", "b")) for split in SPLITS}
    monkeypatch.setattr(sources.omniglot, "load", lambda data_path, cache_dir: splits)
    monkeypatch.setattr(sources.glyphs, "load", lambda cache_dir: splits)


@pytest.mark.parametrize("name", sources.SOURCES)
def test_tasks_are_what_the_table_says_of_their_source(name, home, two_images):
    source, tasks = sources.SOURCES[name], sources.load(name, 2, data_path=home)
    tasks.check("test", num_shots=1, num_queries=1)
    assert tasks.input_shape == (source.input_shape or (84, 84, 3))
    assert isinstance(tasks, ImageTasks) == source.has_images
    assert getattr(tasks, "rotate", False) == source.drawings
    assert not (source.drawings and source.photographs)


def test_the_oracle_of_the_sinusoid_sees_three_inputs():
    assert sources.load("sinusoid", oracle=True).input_shape == (3,)


def test_settings_after_the_number_of_classes_go_by_name():
    with pytest.raises(TypeError, match="positional"):
        sources.load("sinusoid", 5, True)


def test_sources_that_read_files():
    reading = [name for name, source in sources.SOURCES.items() if source.reads_files]
    assert reading == ["omniglot", "miniimagenet", "folder"]


@pytest.mark.parametrize("function", [sources.load, sources.dataset_name])
def test_a_folder_has_to_be_named(function):
    with pytest.raises(UserError, match="^the folder source needs --data_path; expected a folder of class folders"):
        function("folder", data_path=None)


@pytest.mark.parametrize(
    "function", [sources.load, sources.dataset_name, lambda name: sources.image_reader(name, (1, 1, 1))]
)
def test_an_unknown_source_is_shown_with_those_there_are(function):
    names = "sinusoid, omniglot, miniimagenet, folder or glyphs"
    with pytest.raises(UserError, match=f"^datasource is 'mnist', expected {names}$"):
        function("mnist")


def test_results_go_by_the_name_of_what_the_images_really_are(home):
    assert all(sources.dataset_name(name) == name for name in ("sinusoid", "omniglot", "glyphs"))
    assert sources.dataset_name("miniimagenet", home) == "miniimagenet_variant"
    assert sources.dataset_name("folder", home) == "folder_home"


@pytest.mark.parametrize(
    "dataset, title",
    [
        ("sinusoid", "Sinusoid"),
        ("omniglot", "Omniglot"),
        ("glyphs", "Glyphs"),
        ("miniimagenet", "miniImagenet"),
        ("tiny_imagenet", "Tiny-ImageNet stand-in"),
        ("miniimagenet_variant", "images in place of miniImagenet"),
        ("folder_my_photos", "my photos"),
    ],
)
def test_a_data_set_has_a_title_for_readers(dataset, title):
    assert sources.title(dataset) == title


def test_what_was_never_named_has_no_title():
    with pytest.raises(UserError, match="^data set is 'mnist', expected sinusoid, .*tiny_imagenet.* or folder_<name>$"):
        sources.title("mnist")


def test_images_in_place_of_miniimagenet_stand_in_for_it_and_nothing_else_stands_in():
    stand_ins = {name: sources.stands_in_for(name) for name in ("tiny_imagenet", "miniimagenet_variant")}
    assert set(stand_ins.values()) == {"miniimagenet"}
    assert not any(map(sources.stands_in_for, (*sources.SOURCES, "folder_a")))


def corners(datasource, path):
    image = sources.image_reader(datasource, (2, 2, 1))(path)
    assert image.dtype == np.uint8 and image.shape == (2, 2, 1)
    return image.ravel().tolist()


def test_an_image_is_read_as_the_source_prepares_its_own(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: to be turned by 180 degrees
    Image.fromarray(np.array([[0, 10], [20, 30]], np.uint8)).save(tmp_path / "a.png", exif=exif)
    assert corners("omniglot", tmp_path / "a.png") == corners("glyphs", tmp_path / "a.png") == [225, 235, 245, 255]
    assert corners("miniimagenet", tmp_path / "a.png") == [30, 20, 10, 0]
    assert corners("folder", tmp_path / "a.png") == [30, 20, 10, 0]


def test_the_sinusoid_has_no_images():
    expected = "expected omniglot, miniimagenet, folder or glyphs"
    with pytest.raises(UserError, match=f"^the sinusoid has no images; {expected}$"):
        sources.image_reader("sinusoid", None)
