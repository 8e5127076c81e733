"""Algorithm 3 of the paper: meta-reinforcement learning on the paper's five navigation and MuJoCo experiments."""

import os

from data_generators.errors import UserError

try:
    import mujoco  # noqa: F401
except ImportError as error:
    raise UserError(
        f"MuJoCo can't be imported ({error}), expected mujoco 4, which needs Python 3.11 or newer"
    ) from error
except (RuntimeError, AttributeError) as error:  # it loads the renderer that MUJOCO_GL names, wanted or not
    raise UserError(
        f"MuJoCo can't load the renderer MUJOCO_GL={os.environ.get('MUJOCO_GL')!r} ({error}), "
        "expected egl, osmesa or glfw, with its library, or nothing"
    ) from error
