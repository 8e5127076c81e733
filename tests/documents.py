"""README and docs as tests read them: pages, blocks of code, and the commands in them."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).parents[1]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
PROGRAMS = ("python", "maml", "pip", "srun")
# Programs that print their words instead of running, each ended by a 0 byte, and a command by one more.
SHIMS = "".join(f"{name}() {{ printf '%s\\0' {name} \"$@\" ''; }}\n" for name in PROGRAMS)


def blocks(page):
    """[(language or "", text)] of a page's code blocks."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page], re.S | re.M)


def shorter(most):
    """Names for a Python example: its loops end after so many rounds."""
    return {"range": lambda count: range(min(count, most))}


def is_shell(language, text):
    return not language and text.startswith((*(f"{name} " for name in PROGRAMS), "for ", "export "))


def commands(page):
    """[words of a command] of a page, as a shell takes them: those of its blocks, then those in its sentences."""
    shell = [text for block in blocks(page) if is_shell(*block) for text in block[1:]]
    prose = re.sub(r"^```.*?^```$", "", PAGES[page], flags=re.S | re.M)
    shell += re.findall(rf"`((?:{'|'.join(PROGRAMS)}) [^`]+)`", prose)
    printed = subprocess.run(["bash", "-ec", SHIMS + "\n".join(shell)], capture_output=True, text=True, check=True)
    assert not printed.stderr
    return [command.split("\0") for command in printed.stdout.removesuffix("\0\0").split("\0\0") if command]
