"""Where data may lie when nobody says, the same for every source."""

import os
import pathlib

from data_generators.errors import UserError


def folders(data_path, expected):
    """The folders to look for data in, best first: data_path alone, else $MAML_DATA and data/.

    Raises UserError, which ends on `expected`, for one that was named and is not a folder.
    """
    if data_path:
        named = [(data_path, "--data_path")]
    else:
        named = [(os.environ["MAML_DATA"], "$MAML_DATA")] if os.environ.get("MAML_DATA") else []
        named += [("data", "the folder")] if os.path.isdir("data") else []
    found = [(expanded(folder), by) for folder, by in named]
    for folder, by in found:
        if not folder.is_dir():
            raise UserError(f"{by} {folder} is {'a file' if folder.exists() else 'not there'}; {expected}")
    return [folder for folder, _ in found]


def expanded(path):
    """The path with the home folder for ~. UserError where there is none: no $HOME, no entry of the user."""
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"{path} begins with ~, but there is no home folder; expected $HOME, or a path without ~"
        ) from error
