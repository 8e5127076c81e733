"""Without MuJoCo 4 (Python 3.10 has none) there is nothing to test here but settings, figures and reports."""

import importlib.util
from pathlib import Path

NEEDS_NO_MUJOCO = ("test_settings.py", "test_protocol.py", "test_published.py", "test_plots.py", "test_page.py")

collect_ignore = []
if not importlib.util.find_spec("mujoco"):
    here = Path(__file__).parent
    tests = (path.relative_to(here) for path in here.rglob("test_*.py"))
    collect_ignore = [str(path) for path in tests if str(path) not in NEEDS_NO_MUJOCO]
