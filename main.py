"""The paper's experiments from the command line; `python main.py --help` says how.

    parse     maml/cli/flags.py      flags, made from the records of settings
    settle    maml/runs/resolve.py   the paper's value for what is not given, held against the run folder
    run       maml/runs/run.py       training, checkpoints
    test      maml/runs/testing.py   adaptation curves, the headline
    draw      maml/reports           figures, and the page of --report

What each command does, one after the other, is in maml/cli/commands.py.
"""

import sys

from maml.cli.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
