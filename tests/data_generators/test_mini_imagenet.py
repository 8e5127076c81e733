"""miniImagenet in all its layouts, made here of a few small images a class; the last test finds the stand-in."""

import io
import os
import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image

from data_generators import mini_imagenet
from data_generators.errors import UserError

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
LABELS = {"train": ["n03", "n01"], "val": ["n02"], "test": ["n05", "n04"]}
NAMES = [f"{label}{i:08d}.jpg" for labels in LABELS.values() for label in labels for i in (2, 1)]
PARTS = {split: [name for name in NAMES if name[:3] in labels] for split, labels in LABELS.items()}


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """No test finds data or a cache that it did not put there."""
    monkeypatch.delenv("MAML_DATA", raising=False)
    monkeypatch.setenv("MAML_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def jpegs():
    rng = np.random.default_rng(0)
    files = {}
    for name in NAMES:
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (10, 14, 3), dtype=np.uint8)).save(file, "JPEG")
        files[name] = file.getvalue()
    return files


def write_tables(home, parts=PARTS, header="filename,label"):
    home.mkdir(parents=True, exist_ok=True)
    for split, names in parts.items():
        (home / f"{split}.csv").write_text("\n".join([header, *(f"{name},{name[:3]}" for name in names)]) + "\n")


def write_files(folder, jpegs):
    for name, data in jpegs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write_zip(path, jpegs, prefix="images/"):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in jpegs.items():
            archive.writestr(prefix + name, data)


def csv_and_folder(home, jpegs):
    write_tables(home)
    write_files(home / "images", jpegs)


def csv_and_zip(home, jpegs):
    write_tables(home)
    write_zip(home / "images.zip", jpegs)


def csv_and_flat_zip(home, jpegs):
    write_tables(home)
    write_zip(home / "images.zip", jpegs, prefix="")


def split_folders(home, jpegs):
    write_files(home, {f"{split}/{name[:3]}/{name}": jpegs[name] for split, names in PARTS.items() for name in names})


def csv_and_split_folders(home, jpegs):
    write_tables(home)
    split_folders(home, jpegs)


LAYOUTS = [csv_and_folder, csv_and_zip, csv_and_flat_zip, split_folders, csv_and_split_folders]


def assert_right(splits, jpegs):
    """Classes sorted by label, images by name, each resized by Lanczos."""
    for split, labels in LABELS.items():
        assert splits[split].names == tuple(sorted(labels))
        assert splits[split].offsets.tolist() == list(range(0, 2 * len(labels) + 1, 2))
        for image, name in zip(splits[split].images, sorted(PARTS[split]), strict=True):
            opened = Image.open(io.BytesIO(jpegs[name])).resize((84, 84), Image.Resampling.LANCZOS)
            np.testing.assert_array_equal(image, np.asarray(opened))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_classes(layout, jpegs, tmp_path):
    layout(tmp_path / "home", jpegs)
    assert_right(mini_imagenet.load(tmp_path / "home"), jpegs)


@pytest.mark.parametrize("place", ["miniImagenet", "miniimagenet", "mini-imagenet", "mini_imagenet"])
def test_the_parent_of_the_data_will_do(place, jpegs, tmp_path):
    csv_and_folder(tmp_path / "home" / place, jpegs)
    assert_right(mini_imagenet.load(tmp_path / "home"), jpegs)


def test_maml_data_names_the_folder(jpegs, tmp_path, monkeypatch):
    csv_and_folder(tmp_path / "home", jpegs)
    monkeypatch.setenv("MAML_DATA", str(tmp_path / "home"))
    assert_right(mini_imagenet.load(), jpegs)


def test_data_in_the_working_directory_is_found_even_beside_another_maml_data(jpegs, tmp_path, monkeypatch):
    csv_and_folder(tmp_path / "data" / "miniImagenet", jpegs)
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("MAML_DATA", str(tmp_path / "other"))
    assert_right(mini_imagenet.load(), jpegs)


def test_a_folder_of_other_data_does_not_hide_the_data_below_it(jpegs, tmp_path):
    csv_and_folder(tmp_path / "home" / "miniImagenet", jpegs)
    (tmp_path / "home" / "train").mkdir()
    (tmp_path / "home" / "images").mkdir()
    assert_right(mini_imagenet.load(tmp_path / "home"), jpegs)


def test_a_byte_order_mark_and_windows_line_ends_are_passed_over(jpegs, tmp_path):
    csv_and_folder(tmp_path, jpegs)
    for table in tmp_path.glob("*.csv"):
        table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert_right(mini_imagenet.load(tmp_path), jpegs)


@pytest.mark.parametrize("layout", [csv_and_folder, csv_and_zip, split_folders])
def test_the_second_start_reads_no_image(layout, jpegs, tmp_path, monkeypatch):
    layout(tmp_path / "home", jpegs)
    mini_imagenet.load(tmp_path / "home")
    monkeypatch.setattr("data_generators.class_folders.read_images", None)
    assert_right(mini_imagenet.load(tmp_path / "home"), jpegs)


def test_a_changed_table_is_read_again(jpegs, tmp_path):
    csv_and_zip(tmp_path, jpegs)
    mini_imagenet.load(tmp_path)
    write_tables(tmp_path, {**PARTS, "val": PARTS["test"], "test": PARTS["val"]})
    splits = mini_imagenet.load(tmp_path)
    assert (splits["val"].names, splits["test"].names) == (("n04", "n05"), ("n02",))
    opened = Image.open(io.BytesIO(jpegs["n0200000001.jpg"])).resize((84, 84), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(splits["test"].images[0], np.asarray(opened))


# What is said


def test_what_is_not_miniimagenets_number_is_said_in_one_line(jpegs, tmp_path, capsys):
    csv_and_folder(tmp_path, jpegs)
    mini_imagenet.load(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert "train 2 classes of 4 images, val 1 classes of 2 images, test 2 classes of 4 images" in line
    assert "64, 16 and 20 classes of 600 each" in line


def test_images_in_no_table_are_counted_and_the_first_named(jpegs, tmp_path, capsys):
    write_tables(tmp_path)
    write_files(tmp_path / "images", {**jpegs, "n99b.jpg": b"", "n99a.jpg": b"", "readme.txt": b""})
    assert_right(mini_imagenet.load(tmp_path), jpegs)
    assert "2 images in no csv file are not used, the first n99a.jpg" in capsys.readouterr().err


# The name


def counted(sizes):
    """Splits of so many images each, in two classes."""
    return {split: {"a": range(1), "b": range(size - 1)} for split, size in zip(("train", "val", "test"), sizes)}


@pytest.mark.parametrize(
    "sizes, name",
    [
        ((64 * 600, 16 * 600, 20 * 600), "miniimagenet"),
        ((64 * 500, 16 * 300, 20 * 300), "tiny_imagenet"),
        ((64 * 600, 16 * 600, 20 * 600 - 1), "miniimagenet_variant"),
        ((64 * 600, 20 * 600, 16 * 600), "miniimagenet_variant"),
    ],
)
def test_the_name_tells_miniimagenet_from_everything_else(sizes, name, monkeypatch):
    monkeypatch.setattr(mini_imagenet, "find", lambda _: (None, counted(sizes)))
    assert mini_imagenet.dataset_name() == name


def test_the_name_is_told_without_reading_an_image(jpegs, tmp_path):
    write_tables(tmp_path)
    write_files(tmp_path / "images", dict.fromkeys(jpegs, b""))
    assert mini_imagenet.dataset_name(tmp_path) == "miniimagenet_variant"


# The errors: one line, what came and what was expected


def message(data_path=None, function=mini_imagenet.load):
    with pytest.raises(UserError) as caught:
        function(data_path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("function", [mini_imagenet.load, mini_imagenet.dataset_name])
def test_without_data_the_error_says_what_was_looked_for_and_what_to_get(tmp_path, function):
    text = message(None, function)
    assert f"no miniImagenet in $MAML_DATA (not set) or {tmp_path / 'data'}, nor in miniImagenet/, " in text
    for what in ("train.csv, val.csv and test.csv", "github.com/twitter-research/meta-learning-lstm", "image-net.org"):
        assert what in text


def test_a_path_that_is_not_there_or_a_file_or_empty(tmp_path):
    assert f"--data_path {tmp_path / 'gone'} is not there; expected train.csv" in message(tmp_path / "gone")
    (tmp_path / "file").touch()
    assert f"--data_path {tmp_path / 'file'} is a file; expected train.csv" in message(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert f"no miniImagenet in --data_path {tmp_path / 'empty'}, nor" in message(tmp_path / "empty")


def test_images_without_splits_are_refused_with_where_to_get_the_splits(jpegs, tmp_path):
    write_files(tmp_path / "images", jpegs)
    text = message(tmp_path)
    assert f"{tmp_path} holds only images of miniImagenet" in text and "meta-learning-lstm" in text


def test_tables_without_images_are_refused(tmp_path):
    write_tables(tmp_path)
    assert f"{tmp_path} holds only train.csv, val.csv, test.csv of miniImagenet; expected" in message(tmp_path)


def test_all_three_tables_are_needed(jpegs, tmp_path):
    csv_and_folder(tmp_path, jpegs)
    (tmp_path / "val.csv").unlink()
    assert f"{tmp_path} holds only train.csv, test.csv, images of miniImagenet" in message(tmp_path)


def test_all_three_split_folders_are_needed(jpegs, tmp_path):
    split_folders(tmp_path / "home", jpegs)
    (tmp_path / "home" / "test").rename(tmp_path / "away")
    assert f"{tmp_path / 'home'} holds only train, val of miniImagenet" in message(tmp_path / "home")


def test_a_wrong_header_is_shown(jpegs, tmp_path):
    csv_and_folder(tmp_path, jpegs)
    write_tables(tmp_path, {"val": PARTS["val"]}, header="label,filename")
    table = tmp_path / "val.csv"
    assert message(tmp_path) == f"{table} begins with 'label,filename'; expected the header filename,label"


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "begins with ''; expected the header"),
        ("filename,label\n", "lists no images"),
        ("filename,label\na.jpg\n", "has the line 'a.jpg'; expected filename,label"),
        ("filename,label\na.jpg,\n", "has the line 'a.jpg,'; expected filename,label"),
        ("filename,label\na.jpg,n01,more\n", "has the line 'a.jpg,n01,more'; expected filename,label"),
    ],
)
def test_a_table_of_another_form_is_named(jpegs, tmp_path, text, complaint):
    csv_and_folder(tmp_path, jpegs)
    (tmp_path / "test.csv").write_text(text)
    assert message(tmp_path).startswith(f"{tmp_path / 'test.csv'} {complaint}")


def test_a_table_that_is_no_text_is_named(jpegs, tmp_path):
    csv_and_folder(tmp_path, jpegs)
    (tmp_path / "test.csv").write_bytes(b"filename,label\n\xff\xfe\n")
    assert message(tmp_path).startswith(f"{tmp_path / 'test.csv'} can't be read")


@pytest.mark.parametrize("layout, images", [(csv_and_folder, "images"), (csv_and_zip, "images.zip")])
def test_listed_images_that_are_missing_are_counted_and_the_first_named(layout, images, jpegs, tmp_path):
    layout(tmp_path, {name: data for name, data in jpegs.items() if name[:3] not in ("n02", "n04")})
    assert message(tmp_path).startswith(
        f"{tmp_path / images} lacks 4 of the 10 images in the csv files, the first {PARTS['val'][0]} of val.csv; "
    )


def test_a_class_in_two_tables_is_refused(jpegs, tmp_path):
    csv_and_folder(tmp_path, jpegs)
    write_tables(tmp_path, {"train": PARTS["train"][:3], "test": [PARTS["train"][3], *PARTS["test"]]})
    label = PARTS["train"][3][:3]
    text = message(tmp_path)
    assert f"{tmp_path}/train.csv/{label} and {tmp_path}/test.csv/{label} are one class by their name" in text


def test_an_image_listed_twice_is_refused(jpegs, tmp_path):
    csv_and_folder(tmp_path, jpegs)
    write_tables(tmp_path, {"test": [*PARTS["test"], PARTS["test"][0]]})
    assert f"test.csv lists {PARTS['test'][0]}, as {tmp_path / 'test.csv'} does" in message(tmp_path)


def test_a_class_in_two_split_folders_is_refused(jpegs, tmp_path):
    split_folders(tmp_path, jpegs)
    write_files(tmp_path, {"val/n03/1.jpg": jpegs[NAMES[0]]})
    assert f"{tmp_path}/train/n03 and {tmp_path}/val/n03 are one class by their name" in message(tmp_path)


def test_loose_images_in_a_split_folder_are_counted_and_the_first_named(jpegs, tmp_path):
    split_folders(tmp_path, jpegs)
    write_files(tmp_path, {"val/2.jpg": b"", "val/1.jpg": b""})
    assert f"2 images lie loose in {tmp_path / 'val'}, the first 1.jpg;" in message(tmp_path)


def test_a_class_folder_without_images_is_named(jpegs, tmp_path):
    split_folders(tmp_path, jpegs)
    (tmp_path / "test" / "n06").mkdir()
    assert f"1 class folders of {tmp_path / 'test'} hold no images, the first n06;" in message(tmp_path)


def test_a_zip_that_can_not_be_read_is_named(jpegs, tmp_path):
    csv_and_zip(tmp_path, jpegs)
    (tmp_path / "images.zip").write_bytes((tmp_path / "images.zip").read_bytes()[:-100])
    assert message(tmp_path).startswith(f"{tmp_path / 'images.zip'} can't be read as a zip file")


def test_a_truncated_jpeg_is_named(jpegs, tmp_path):
    csv_and_folder(tmp_path, {**jpegs, NAMES[3]: jpegs[NAMES[3]][:-200]})
    assert message(tmp_path).startswith(f"{tmp_path / 'images' / NAMES[3]} can't be read as an image")


def test_a_truncated_jpeg_in_a_zip_is_named_with_its_zip(jpegs, tmp_path):
    csv_and_zip(tmp_path, {**jpegs, NAMES[3]: jpegs[NAMES[3]][:-200]})
    assert message(tmp_path).startswith(f"{tmp_path / 'images.zip' / 'images' / NAMES[3]} can't be read as an image")
    assert not list((tmp_path / "cache").iterdir())


# The stand-in


def test_the_stand_in_has_its_numbers_and_its_name():
    places = [os.environ.get("MAML_DATA"), REPOSITORY.parent / "shared" / "data"]
    found = [pathlib.Path(place, "miniimagenet_tiny") for place in places if place]
    found = [folder for folder in found if folder.is_dir()]
    if not found:
        pytest.skip(f"no miniimagenet_tiny/ in $MAML_DATA ({places[0] or 'not set'}) or {places[1]}")
    _, splits = mini_imagenet.find(found[0])
    sizes = {split: {len(sources) for sources in listing.values()} for split, listing in splits.items()}
    assert {split: len(listing) for split, listing in splits.items()} == mini_imagenet.CLASSES
    assert sizes == {"train": {500}, "val": {300}, "test": {300}}
    assert mini_imagenet.dataset_name(found[0]) == "tiny_imagenet"
