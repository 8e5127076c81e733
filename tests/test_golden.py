"""What must stay as it is while the code around it changes: θ after a short training, the numbers of the results.

The goldens lie in golden/: weights.json, summaries.json and page.json, of the code and the results of commit 97c578b.
Bits of θ are a processor's own; `python tests/test_golden.py --record` makes goldens of the code and results at hand,
`--record RUN` that of one of RUNS.
"""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
RESULTS = ROOT / "results"

# Flags beside those of `train`, the folder of data they need, meta-iterations, and a tolerance for θ. In units of the
# root mean square of a weight's n entries, its norm may be off by that much and its mean by that much / √n. Other
# instructions (XLA up to AVX or SSE, oneDNN up to SSE or none) or one core gave up to 1e-7 for the sinusoid and 2.0 for
# images: Adam divides by the size of a gradient, so that rounding comes to decide the way of entries whose gradient is
# small. For point they gave 8e-4 after one iteration and more than 2 after five, so one is enough.
RUNS = {
    "sinusoid": ("--datasource=sinusoid", None, 20, 1e-5),
    "omniglot": ("--datasource=omniglot", "omniglot", 20, 4),
    "omniglot, dense": ("--datasource=omniglot --conv=False", "omniglot", 20, 4),
    "omniglot, first order": ("--datasource=omniglot --stop_grad", "omniglot", 20, 4),
    "miniimagenet": ("--datasource=miniimagenet --data_path={data}/miniimagenet_tiny", "miniimagenet_tiny", 20, 4),
    "point": ("--datasource=point", None, 1, 0.01),
}
SLOW = ("miniimagenet", "point")


def read(name):
    """What a golden file holds."""
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


# θ after a few meta-iterations


def data_folder(needed):
    """The folder of data that holds `needed`: $MAML_DATA, or shared/data beside the repository; None for none."""
    places = [pathlib.Path(place) for place in (os.environ.get("MAML_DATA"), ROOT.parent / "shared" / "data") if place]
    return next((place.resolve() for place in places if (place / needed).is_dir()), None)


# As `main.py`, but for the validation and the test at the end of a training, which take longer than it.
ADVANCE = """
import sys
from maml.cli import before_tensorflow, commands, flags
plan = commands.plan(flags.parse(sys.argv[1:]))
run = commands.make_run(plan.kind, plan.settings, plan.folder, plan.options, log=False)
run.learner.check(plan.folder)
run.learner.begin(plan.folder)
while run.iteration < plan.settings.total_iterations:
    assert not run.learner.advance().failure
run.checkpoints.save(run.iteration)
"""


def train(run, logdir):
    """{name: array} of θ after the meta-iterations of one of RUNS, in a process of its own."""
    flags, needed, iterations, _ = RUNS[run]
    data = data_folder(needed) if needed else None
    # conftest.py's choice for oneDNN is not for every data source.
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    if data is not None:
        environment["MAML_DATA"] = str(data)
    given = [*flags.format(data=data).split(), f"--metatrain_iterations={iterations}", f"--logdir={logdir}"]
    command = [sys.executable, "-c", ADVANCE, *given]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return newest_weights(logdir)


def newest_weights(logdir):
    """{name: array} of θ in the newest checkpoint below a folder, sorted by name."""
    newest = max(pathlib.Path(logdir).rglob("*.index"), key=lambda path: path.stat().st_mtime_ns)
    reader = tf.train.load_checkpoint(str(newest.with_suffix("")))
    keys = {}
    for key in reader.get_variable_to_shape_map():
        if match := re.search(r"/weights/([^/]+)/\.ATTRIBUTES/VARIABLE_VALUE$", key):
            keys[match[1]] = key
    return {name: reader.get_tensor(keys[name]) for name in sorted(keys)}


def sha256(weights):
    """Hexadecimal digest of names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, value in weights.items():
        digest.update(f"{name} {value.dtype} {value.shape} ".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def statistics(weights):
    """{name: {"size", "mean", "norm"}}, computed in float64."""
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    return {name: {"size": x.size, "mean": x.mean(), "norm": np.sqrt((x**2).sum())} for name, x in wide.items()}


def machine():
    """What the bits depend on: processor, its vector instructions, number of cores and TensorFlow's version.

    A virtual machine may hide some of the instructions, by which OpenBLAS and TensorFlow choose their kernels.
    """
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    lines = [re.search(rf"^{field}\s*:\s*(.+)$", text, re.M) for field in ("model name", "cpu family", "model")]
    name, family, model = [line[1].strip() if line else "unknown" for line in lines]
    flags = re.search(r"^flags\s*:(.+)$", text, re.M)
    return {
        "instructions": " ".join(sorted(re.findall(r"\b(?:avx|fma|amx)\w*", flags[1]))) if flags else "unknown",
        "processor": f"{name}, family {family}, model {model}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "tensorflow": tf.__version__,
    }


@pytest.mark.parametrize("run", [pytest.param(run, marks=[pytest.mark.slow] * (run in SLOW)) for run in RUNS])
def test_the_weights_after_a_few_iterations_are_the_golden_ones(run, tmp_path):
    """Every bit where processor, cores and TensorFlow are the golden's; else norms and means, and then skipped."""
    _, needed, _, tolerance = RUNS[run]
    if needed and data_folder(needed) is None:
        pytest.skip(f"no {needed}/ in $MAML_DATA ({os.environ.get('MAML_DATA') or 'not set'}) or ../shared/data")
    golden = read("weights.json")[run]
    weights = train(run, tmp_path)
    check_statistics(statistics(weights), golden["weights"], tolerance)
    if machine() != golden["machine"]:
        pytest.skip(f"norms and means agree; bits not compared: golden of {golden['machine']}, this is {machine()}")
    assert sha256(weights) == golden["sha256"]


def check_statistics(found, golden, tolerance):
    """Names and sizes are the same, norms and means within the tolerance; what is zero is zero."""
    assert found.keys() == golden.keys()
    for name, expected in golden.items():
        size, norm = expected["size"], expected["norm"]
        assert found[name]["size"] == size, name
        assert found[name]["norm"] == pytest.approx(norm, rel=0, abs=tolerance * norm / size**0.5), name
        assert found[name]["mean"] == pytest.approx(expected["mean"], rel=0, abs=tolerance * norm / size), name


# The numbers of every run folder


def numbers(record):
    """List of the numbers anywhere in nested json."""
    if isinstance(record, (dict, list)):
        values = record.values() if isinstance(record, dict) else record
        return [number for value in values for number in numbers(value)]
    return [record] if isinstance(record, (int, float)) and not isinstance(record, bool) else []


def test_the_summaries_keep_every_number():
    """Of each golden folder, which is still there: every distinct number, wherever it stands in its summary."""
    lost = {}
    for folder, golden in read("summaries.json").items():
        path = RESULTS / folder / "summary.json"
        found = numbers(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []
        lost[folder] = sorted(set(golden) - set(found))
    assert {folder: values for folder, values in lost.items() if values} == {}


# The numbers of the page


def plain(line):
    """Markdown without its bold."""
    return line.replace("**", "")


def number_cells(page):
    """{heading: [text of each table cell that is a number with a decimal point, ± or %]}."""
    cells, heading = {}, ""
    for line in plain(page).splitlines():
        if line.startswith("#"):
            heading = line.lstrip("#").strip()
        if line.startswith("|"):
            texts = [cell.strip() for cell in line.strip("|").split("|")]
            cells.setdefault(heading, []).extend(text for text in texts if is_number(text))
    return {heading: texts for heading, texts in cells.items() if texts}


def is_number(text):
    """Whether it is one like 98.7 ± 0.4 %, 0.694 ± 0.055, −78.57 ± 5.09 or 2.41; not 600 or 1,000, nor a sentence."""
    return bool(re.fullmatch(r"[−-]?[\d,]+(\.\d+)?( ± [\d,]+(\.\d+)?)?( %)?", text) and re.search(r"[.±%]", text))


def test_the_page_keeps_every_number():
    """Those of each golden section, wherever they stand now, in bold or not."""
    page = plain((RESULTS / "README.md").read_text(encoding="utf-8"))
    lost = {heading: [text for text in texts if not holds(page, text)] for heading, texts in read("page.json").items()}
    assert {heading: texts for heading, texts in lost.items() if texts} == {}


def holds(page, number):
    """Whether the text of a number stands in a page, not as a part of a longer one."""
    return re.search(rf"(?<![\d.,−-]){re.escape(number)}(?!\.?\d)", page) is not None


# Recording


def record(names):
    """Writes the goldens of the code and the results that are here; where runs are named, of those runs alone."""
    runs = read("weights.json") if names else {}
    for run in names or RUNS:
        with tempfile.TemporaryDirectory() as logdir:
            weights = train(run, logdir)
        runs[run] = {"machine": machine(), "sha256": sha256(weights), "weights": statistics(weights)}
    write("weights.json", runs)
    if names:
        return
    summaries = {path: json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*/seed_*/summary.json")}
    write(
        "summaries.json",
        {str(path.parent.relative_to(RESULTS)): sorted(numbers(summaries[path])) for path in summaries},
    )
    write("page.json", number_cells((RESULTS / "README.md").read_text(encoding="utf-8")))


def write(name, content):
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / name).write_text(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=name != "page.json") + "\n")


if __name__ == "__main__" and sys.argv[1:2] == ["--record"]:
    record(sys.argv[2:])
