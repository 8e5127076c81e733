"""Without MuJoCo 4 (Python 3.10 has none) there is nothing to test here but settings, figures and reports."""

import importlib.util
from pathlib import Path

NEEDS_NO_MUJOCO = ("test_presets.py", "test_published.py", "test_plots.py", "test_report.py")

collect_ignore = []
if not importlib.util.find_spec("mujoco"):
    collect_ignore = [path.name for path in Path(__file__).parent.glob("test_*.py") if path.name not in NEEDS_NO_MUJOCO]
