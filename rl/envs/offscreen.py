"""Pictures of robots, drawn off-screen by a process of its own.

Not in the caller's: Mesa's software renderer and TensorFlow each bring an LLVM, and in one process the second one to be
used crashes it. MuJoCo also reads MUJOCO_GL once, at its import.
"""

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import mujoco
import numpy as np

from data_generators.errors import UserError

ROOT = Path(__file__).parents[2]
STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
CAMERA = "track"
MODEL, SAID = "model.mjb", "stderr.txt"  # in the process's folder
READY = b"!"


class Renderer:
    """Draws a model's states; to be closed.

    MUJOCO_GL says by what; on Linux, by EGL unless it is set. UserError, in one line, where nothing can be drawn.
    """

    def __init__(self, model, height, width):
        self._model, self._shape = model, (height, width, 3)
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        mujoco.mj_saveModel(model, os.path.join(self._folder.name, MODEL), None)
        self._child = self._begin(height, width)
        self._expect(len(READY))

    def _begin(self, height, width):
        variables = {"MUJOCO_GL": "egl"} if sys.platform == "linux" else {}
        variables |= os.environ
        variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._name = variables.get("MUJOCO_GL", "")
        command = [sys.executable, "-m", "rl.envs.offscreen", str(height), str(width)]
        pipe, folder = subprocess.PIPE, self._folder.name
        with open(os.path.join(folder, SAID), "wb") as said:
            return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, env=variables, cwd=folder)

    def draw(self, data):
        """uint8 [height, width, 3]: the state in `data`, seen by the camera that follows the robot."""
        state = np.empty(mujoco.mj_stateSize(self._model, STATE))
        mujoco.mj_getState(self._model, data, state, STATE)
        try:
            self._child.stdin.write(state.tobytes())
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # what is read next says why
        return np.frombuffer(self._expect(np.prod(self._shape)), np.uint8).reshape(self._shape).copy()

    def _expect(self, size):
        answer = self._child.stdout.read(size)
        if len(answer) == size:
            return answer
        code = self._child.wait()
        said = Path(self._folder.name, SAID).read_text(encoding="utf-8", errors="replace").strip()
        self.close()
        raise UserError(
            (said.splitlines() or [""])[-1].partition("UserError: ")[2]
            or f"the renderer of MUJOCO_GL={self._name!r} crashed, exit status {code}, "
            "expected MUJOCO_GL=egl or osmesa and its library"
        )

    def close(self):
        """Ends the process."""
        self._child.stdout.close()
        try:
            self._child.stdin.close()  # at which it ends
        except BrokenPipeError:
            pass
        self._child.wait()
        self._folder.cleanup()


def _renderer(model, height, width):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # GLFW's, which say less than the error that follows them
            return mujoco.Renderer(model, height, width)
    except Exception as error:  # each back end has its own: ImportError, RuntimeError, FatalError, GLError, ...
        reason = str(error).replace("\n", " ") or type(error).__name__
        raise UserError(
            f"no off-screen renderer with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r} ({reason}), "
            "expected MUJOCO_GL=egl or osmesa and its library"
        ) from error


def _serve(height, width):
    """A state from stdin, its picture to stdout, until there are no more."""
    pictures = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed must not get among them
    model = mujoco.MjModel.from_binary_path(MODEL)
    data, state_size = mujoco.MjData(model), mujoco.mj_stateSize(model, STATE)
    renderer = _renderer(model, height, width)
    pictures.write(READY)
    pictures.flush()
    while state := sys.stdin.buffer.read(8 * state_size):
        mujoco.mj_setState(model, data, np.frombuffer(state), STATE)
        mujoco.mj_forward(model, data)
        renderer.update_scene(data, camera=CAMERA)
        pictures.write(renderer.render().tobytes())
        pictures.flush()


if __name__ == "__main__":
    _serve(*map(int, sys.argv[1:]))
