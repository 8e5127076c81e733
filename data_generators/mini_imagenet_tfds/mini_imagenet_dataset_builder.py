"""The builder of `tfds.load("mini_imagenet")`, with the images that `mini_imagenet.load` gives."""

import pathlib

import tensorflow_datasets as tfds

from data_generators import mini_imagenet
from data_generators.image_files import Opener, read_image


class Builder(tfds.core.GeneratorBasedBuilder):
    """Splits train, validation and test; an example is an image, its label (WordNet id) and the name of its file.

    Labels are text: they are known only from the files, and those of one split never occur in another.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
    ImageNet's photographs may not be passed on, so that nothing can be downloaded here. In manual_dir, or in a folder
    miniImagenet/ there: {mini_imagenet.EXPECTED}.
    """

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=mini_imagenet.SHAPE),
                    "label": tfds.features.Text(),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://github.com/twitter-research/meta-learning-lstm",
        )

    def _split_generators(self, dl_manager):
        _, splits = mini_imagenet.find(dl_manager.manual_dir)
        names = {"train": "train", "val": "validation", "test": "test"}
        return {names[split]: self._generate_examples(listing) for split, listing in splits.items()}

    def _generate_examples(self, listing):
        with Opener() as open_source:
            for label, sources in listing.items():
                for source in sources:
                    path = pathlib.Path(source)
                    image = read_image(open_source(source), mini_imagenet.SHAPE, name=path)
                    yield f"{label}/{path.name}", {"image": image, "label": label, "file_name": path.name}
