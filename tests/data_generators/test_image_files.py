"""Images of every kind, made here, and what they come out as."""

import io
import os
import struct
import threading
import time
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from data_generators import image_files
from data_generators.errors import UserError
from data_generators.image_files import Opener, ZipMember, is_image_name, read_image, read_images

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (8, 12, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (8, 12), dtype=np.uint8)


def encoded(image, form="PNG", **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    file.seek(0)
    return file


def read(image, channels=3, form="PNG", **options):
    """`image` written and read back at its own size."""
    return read_image(encoded(image, form), (image.height, image.width, channels), **options)


# What an image comes out as


def test_an_image_of_the_right_size_is_left_as_it_is():
    np.testing.assert_array_equal(read(Image.fromarray(COLOUR)), COLOUR)
    np.testing.assert_array_equal(read(Image.fromarray(GREY), 1), GREY[..., None])


def test_another_size_is_resized_by_lanczos_without_its_aspect_ratio():
    got = read_image(encoded(Image.fromarray(COLOUR)), (5, 4, 3))
    np.testing.assert_array_equal(got, np.asarray(Image.fromarray(COLOUR).resize((4, 5), Image.Resampling.LANCZOS)))


def test_a_path_will_do(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
        np.testing.assert_array_equal(read_image(path, (8, 12, 3)), COLOUR)


def test_one_bit_images_go_by_nearest_neighbour():
    bits = RNG.random((105, 105)) < 0.5
    rows = np.floor((np.arange(28) + 0.5) * 105 / 28).astype(int)  # the source pixel below the middle of each pixel
    np.testing.assert_array_equal(
        read_image(encoded(Image.fromarray(bits)), (28, 28, 1))[..., 0], np.where(bits[np.ix_(rows, rows)], 255, 0)
    )


def test_inverted_is_255_minus_x():
    np.testing.assert_array_equal(read(Image.fromarray(COLOUR), invert=True), 255 - COLOUR)


def test_grey_among_colour_gets_three_equal_channels():
    np.testing.assert_array_equal(read(Image.fromarray(GREY)), np.repeat(GREY[..., None], 3, axis=2))


def test_colour_among_grey_is_weighted_as_itu_r_601():
    weighted = COLOUR @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read(Image.fromarray(COLOUR), 1)[..., 0] - weighted).max() <= 1


def test_palette_images_get_the_colours_of_their_palette_before_they_are_resized():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert read(image).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    two_colours = Image.new("RGB", (2, 1), (255, 0, 0))
    two_colours.putpixel((1, 0), (0, 0, 255))
    want = np.asarray(two_colours.resize((5, 1), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(read_image(encoded(image), (1, 5, 3)), want)


def test_transparency_is_laid_over_white():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 51))  # a fifth black
    assert read(image).tolist() == [[[0] * 3, [204] * 3]]


def test_a_transparent_colour_of_a_palette_is_white():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 0, 0, 255])
    assert read_image(encoded(image, "GIF", transparency=1), (1, 2, 3)).tolist() == [[[10, 20, 30], [255] * 3]]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_to_8_bits(form):
    wide = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    assert read(Image.fromarray(wide), 1, form)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_deeper_grey_that_uses_its_range_is_scaled_to_8_bits():
    """32-bit integers that hold 16 bits."""
    wide = Image.fromarray(np.array([[0, 257, 128 * 257, 65535]], np.int32))
    assert read(wide, 1, "TIFF")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_16_bit_black_is_black():
    assert not read(Image.fromarray(np.zeros((2, 2), np.uint16)), 1).any()


@pytest.mark.parametrize(
    "dtype, form, largest", [("uint16", "PNG", 4095), ("int32", "TIFF", 255), ("uint16", "PNG", 1)]
)
def test_grey_whose_range_cannot_be_told_is_refused(tmp_path, dtype, form, largest):
    """12 bits in a file of 16, 8 bits in one of 32: as they stand they would be nearly black."""
    Image.fromarray(np.array([[0, largest]], dtype)).save(tmp_path / "a.img", form)
    text = refused(tmp_path / "a.img")
    assert (
        f"(grey values up to {largest} where white is 65535: whether that is dark, or of fewer bits, can't be" in text
    )


def test_16_bits_that_are_brighter_than_12_are_read():
    assert read(Image.fromarray(np.array([[0, 4112]], np.uint16)), 1)[0, :, 0].tolist() == [0, 16]


@pytest.mark.parametrize("form", ["AVIF", "JPEG2000"])
def test_newer_formats_are_read(form):
    image = Image.new("RGB", (16, 16), (200, 100, 50))
    assert np.abs(read(image, form=form).astype(int) - [200, 100, 50]).max() < 8
    assert is_image_name("a.avif") and is_image_name("a.jp2")


def test_a_format_that_would_start_another_program_is_not_opened(tmp_path):
    """Encapsulated PostScript would be Ghostscript's."""
    Image.new("L", (4, 4)).save(tmp_path / "a.png", "EPS")
    assert "cannot identify image file" in refused(tmp_path / "a.png")


def claims(width, height):
    """A PNG that says it has so many pixels, and has few."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + size + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b""))


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (1_000, 900)])
def test_an_image_that_claims_to_be_larger_than_it_is(size):
    with pytest.raises(UserError, match="x.png can't be read as an image"):
        read_image(claims(*size), (8, 8, 1), name="x.png")


def test_a_cmyk_jpeg_comes_out_in_colour():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    assert np.abs(read(image, form="JPEG").astype(int) - [255, 0, 0]).max() < 8


def turned(path_or_file, orientation):
    image = Image.fromarray(np.array([[0, 85], [170, 255]], np.uint8).repeat(8, 0).repeat(8, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path_or_file, "PNG", exif=exif)


def test_upright_turns_as_the_exif_orientation_says():
    file = io.BytesIO()
    turned(file, 6)  # the camera lay on its side: to be turned by 90 degrees clockwise
    corners = read_image(file, (16, 16, 1), upright=True)[[0, 0, 15, 15], [0, 15, 0, 15], 0]
    assert corners.tolist() == [170, 0, 255, 85]


def test_without_upright_the_orientation_is_passed_over():
    file = io.BytesIO()
    turned(file, 6)
    assert read_image(file, (16, 16, 1))[[0, 0, 15, 15], [0, 15, 0, 15], 0].tolist() == [0, 85, 170, 255]


# What can't be read


def refused(source, **options):
    with pytest.raises(UserError) as caught:
        read_image(source, (4, 4, 3), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_truncated_file_is_named(tmp_path, form):
    data = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), form).getvalue()
    (tmp_path / "a.img").write_bytes(data[: len(data) // 2])
    assert refused(tmp_path / "a.img").startswith(f"{tmp_path / 'a.img'} can't be read as an image")


def test_an_empty_file_a_text_and_no_file_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    for name in ("empty.png", "text.png", "absent.png"):
        assert refused(tmp_path / name).startswith(f"{tmp_path / name} can't be read as an image")


def test_a_file_object_is_named_as_asked():
    assert refused(io.BytesIO(b"no image"), name="a.zip/b.png").startswith("a.zip/b.png can't be read as an image")


def test_floating_point_pixels_are_refused(tmp_path):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "a.tif")
    assert "floating-point pixels" in refused(tmp_path / "a.tif")


def test_hidden_files_and_other_formats_are_no_images():
    assert all(map(is_image_name, ("a.jpg", "b/c.PNG", "x.tiff")))
    assert not any(map(is_image_name, ("._a.jpg", "b/.a.png", "Thumbs.db", "a.txt", "jpg", "a.jpg.txt")))


# Many at a time


@pytest.fixture
def many(tmp_path):
    """150 images of 4×4, half of them in a zip: (sources, the array they give)."""
    images = RNG.integers(0, 256, (150, 4, 4, 3), dtype=np.uint8)
    sources = []
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for i, image in enumerate(images):
            if i % 2:
                Image.fromarray(image).save(tmp_path / f"{i}.png")
                sources.append(tmp_path / f"{i}.png")
            else:
                archive.writestr(f"{i}.png", encoded(Image.fromarray(image)).getvalue())
                sources.append(ZipMember(tmp_path / "a.zip", f"{i}.png"))
    return sources, images


@pytest.mark.parametrize("cpus", [1, 4])
def test_every_image_goes_to_its_place(many, monkeypatch, cpus):
    monkeypatch.setattr(image_files, "_cpus", lambda: cpus)
    monkeypatch.setattr(image_files, "CHUNK", 7)
    sources, want = many
    out = np.zeros_like(want)
    read_images(sources, out)
    np.testing.assert_array_equal(out, want)


def test_options_reach_every_image(many):
    sources, want = many
    out = np.zeros_like(want)
    read_images(sources, out, invert=True)
    np.testing.assert_array_equal(out, 255 - want)


def test_every_thread_has_a_handle_of_its_own_and_all_are_closed(many):
    member = many[0][0]
    opened = {}
    with Opener() as open_source:

        def use():
            assert open_source(member).getvalue() == open_source(member).getvalue()

        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        opened = list(open_source._opened)
    assert len(opened) == 3 and all(archive.fp is None for archive in opened)


@pytest.mark.parametrize("cpus", [1, 4])
def test_the_first_unreadable_image_is_named(many, monkeypatch, cpus):
    monkeypatch.setattr(image_files, "_cpus", lambda: cpus)
    monkeypatch.setattr(image_files, "CHUNK", 5)
    sources, want = many
    for i in (31, 33, 71):
        sources[i].write_bytes(b"no image")
    with pytest.raises(UserError, match=f"^{sources[31]} can't be read"):
        read_images(sources, np.zeros_like(want))


@pytest.mark.parametrize("error", [UserError, KeyboardInterrupt])
@pytest.mark.parametrize("chunk", [75, 5])  # the second thread is in the middle of its chunk, or has more to come
def test_an_error_or_an_interrupt_stops_all_threads(many, monkeypatch, error, chunk):
    monkeypatch.setattr(image_files, "_cpus", lambda: 2)
    monkeypatch.setattr(image_files, "CHUNK", chunk)
    sources, want = many
    reads = []

    def failing(*args):
        if args[-1] == os.fspath(sources[0]):
            raise error
        reads.append(args[-1])
        time.sleep(0.05)  # long enough for the main thread to take notice
        return read_image(*args)

    monkeypatch.setattr(image_files, "read_image", failing)
    before = threading.active_count()
    with pytest.raises(error):
        read_images(sources, np.zeros_like(want))
    assert threading.active_count() == before and len(reads) < 70


def test_a_damaged_zip_member_is_named_with_its_zip(many, tmp_path):
    sources, want = many
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[60] ^= 255  # inside the first member, so the zip's own checksum no longer fits
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(UserError, match=f"^{os.path.join(tmp_path, 'a.zip', '0.png')} can't be read"):
        read_images(sources, np.zeros_like(want))
