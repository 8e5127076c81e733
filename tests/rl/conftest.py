"""Without MuJoCo 4 (Python 3.10 has none) there is nothing to test here."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec("mujoco") else ["test_*.py"]
