"""What TensorBoard reads of a run."""

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.plugins.hparams import plugin_data_pb2

from maml.runs.events import Events


def read(folder):
    """{tag: (iteration, Summary.Value)} of the one file of events."""
    (file,) = folder.iterdir()
    events = tf.compat.v1.train.summary_iterator(str(file))
    return {value.tag: (event.step, value) for event in events for value in event.summary.value}


def test_settings_curves_and_pictures(tmp_path):
    Image.fromarray(np.zeros([4, 6, 3], np.uint8)).save(tmp_path / "adaptation_curve.png")
    events = Events(tmp_path / "tensorboard", {"update_lr": 0.4, "conv": True, "split": None})
    assert not (tmp_path / "tensorboard").exists()
    events.scalars(300, {"loss": 0.5})
    events.pictures(600, [tmp_path / "adaptation_curve.png"])
    found = read(tmp_path / "tensorboard")
    assert found["loss"][0] == 300 and tf.make_ndarray(found["loss"][1].tensor) == 0.5
    iteration, picture = found["adaptation_curve"]
    assert iteration == 600 and [int(size) for size in picture.tensor.string_val[:2]] == [6, 4]
    _, start = found["_hparams_/session_start_info"]
    content = plugin_data_pb2.HParamsPluginData.FromString(start.metadata.plugin_data.content)
    values = content.session_start_info.hparams
    assert values["update_lr"].number_value == 0.4 and values["conv"].bool_value
    assert values["split"].string_value == "None"
