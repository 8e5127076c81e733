"""MuJoCo models of the robots: gymnasium's own XML files, patched when they are loaded.

One step of an environment is one step of the model (frame_skip 1), after which the quantities that MuJoCo derives are
computed for the new state, as [M] rllab/envs/mujoco/mujoco_env.py does with mj_forward.
"""

import importlib.resources
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

TORSO = 1  # body 0 is the world
# Fields that MuJoCo computes only if a sensor needs them, and such a sensor: subtree_linvel is mj_subtreeVel's,
# cfrc_ext mj_rnePostConstraint's.
ON_DEMAND = {
    "subtree_linvel": mujoco.mjtSensor.mjSENS_SUBTREELINVEL,
    "cfrc_ext": mujoco.mjtSensor.mjSENS_FRAMELINACC,
}
NOISE_QPOS = 0.01  # standard deviations of an episode's start around (start, 0): [M] mujoco_env.py, reset_mujoco;
NOISE_QVEL = 0.1  # in all coordinates, the root's x and the ant's quaternion too (which it doesn't normalise)


@dataclass(frozen=True)
class Robot:
    """A model and how its episodes start."""

    xml: str  # a file of gymnasium's assets
    start: tuple  # qpos that episodes start around
    state: type  # named tuple of the MjData fields that the formulas read
    # How far to compute for the new state. Velocities cost nothing, as the next step continues from there;
    # accelerations are computed with the controls of the last step and cost a forward pass.
    stage: mujoco.mjtStage
    patch: Callable = lambda spec: None  # changes the specification before it is compiled

    def load(self, lean=True):
        """A new MjModel: the XML, patched, and a sensor for each quantity that MuJoCo derives only on demand.

        lean: what MuJoCo would search for at each step though it can't be otherwise is settled beforehand: geoms touch
        the floor alone, and constraints form one island at most. Changes no bit, and saves a seventh of the time.
        """
        spec = mujoco.MjSpec.from_file(str(importlib.resources.files("gymnasium") / "envs/mujoco/assets" / self.xml))
        self.patch(spec)
        if lean:
            spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_ISLAND
            _pair_with_floor(spec)
        for field, sensor in ON_DEMAND.items():
            if field in self.state._fields:
                spec.add_sensor(name=field, type=sensor, objtype=mujoco.mjtObj.mjOBJ_BODY, objname="torso")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "compiler attribute 'settotalmass' is deprecated")
            return spec.compile()

    def draw_starts(self, model, generators):
        """(qpos [n, nq], qvel [n, nv]) that n episodes start from, each pure in its generator."""
        noise = np.array([generator.standard_normal(model.nq + model.nv) for generator in generators])
        return self.start + NOISE_QPOS * noise[:, : model.nq], NOISE_QVEL * noise[:, model.nq :]


def _pair_with_floor(spec):
    """Makes each geom's contact with the floor, the first of them, an explicit pair, and lets none collide otherwise.

    The XML's collision masks say the same. The pairs' parameters are what MuJoCo makes of those of two geoms that agree
    in them, as all do here: the margins' sum, two sliding and two rolling frictions.
    """
    floor, *geoms = spec.geoms
    for geom in geoms:
        slide, spin, roll = geom.friction
        spec.add_pair(
            geomname1=floor.name,
            geomname2=geom.name,
            condim=geom.condim,
            friction=(slide, slide, spin, roll, roll),
            solref=geom.solref,
            solimp=geom.solimp,
            margin=floor.margin + geom.margin,
        )
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0
