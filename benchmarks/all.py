"""All benchmarks with one command: runs the scripts and writes what they print into the pages of docs/benchmarks.

    python benchmarks/all.py --quick
    python benchmarks/all.py race proof --data folder --jobs 2
    python benchmarks/all.py race --redraw

With --quick a small part of each, some minutes in all, is written to out/benchmarks instead. A page keeps its
introduction; what follows the line "measured" is replaced. Pages whose curves are kept are made from them again with
--redraw, without measuring.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).parent
PAGES = SCRIPTS.parent / "docs" / "benchmarks"
QUICK = SCRIPTS.parent / "out" / "benchmarks"
#: The line between what is written by hand and what is measured.
MARK = "<!-- measured: what follows is written by benchmarks/all.py -->"


@dataclass(frozen=True)
class Part:
    """A section of a page: its title, and the command that prints it, in full and in short.

    In commands {out} is the folder of the page and {pictures} that of the other pictures. `redraw` prints the section
    from what an earlier run has kept.
    """

    title: str
    full: str
    quick: str
    data: bool = True
    jobs: bool = False
    redraw: str = ""


#: Cases of proof.py that are compared with other bounds.
REFERRED = (
    "teacher 50x10 .3,random 50x10 .3,teacher 100x10 .3,diabetes .3,yacht .1,breast_cancer .3,*20x5*,random 20x10*,"
    "random 30x8*"
)
FITS = "synthetic,teacher,diabetes,breast_cancer,ionosphere,concrete"
SMALL_RACE = "--problems diabetes,banknote --fractions .1 --seconds 1 --proof 2"

CATALOGUE: dict[str, tuple[Part, ...]] = {
    "fit": (
        Part(
            "Within 30 s",
            f"fit.py --problems {FITS} --peers lbfgs,enumerated --time-limit 30",
            "fit.py --problems synthetic,teacher --peers lbfgs,enumerated --time-limit 5",
        ),
        Part(
            "Digits, within 75 s",
            "fit.py --problems digits --peers lbfgs --time-limit 75",
            "fit.py --problems digits --peers lbfgs --time-limit 10",
        ),
    ),
    "race": (
        Part(
            "The race",
            "race.py --seconds 8 --proof 20 --raw {out}/race.json --pictures {out}",
            f"race.py {SMALL_RACE} --raw {{out}}/race.json --pictures {{out}}",
            jobs=True,
            redraw="race.py --from {out}/race.json --pictures {out}",
        ),
    ),
    "proof": (
        Part(
            "Proofs",
            "proof.py --limits 10,60 --picture {out}/proof-gap.png",
            "proof.py --case 'teacher 50x10*' --limits 1,5 --picture {out}/proof-gap.png",
        ),
        Part(
            "Against other bounds",
            f"proof.py --references --limits 1,10 --case '{REFERRED}'",
            "proof.py --references --limits 1 --case 'teacher 20x5*'",
        ),
    ),
    "gauge": (
        Part("Certified gaps at a tenth of beta_max", "gauge.py", "gauge.py"),
        Part(
            "The gauge of several outputs",
            "outputs.py --seconds 4",
            "outputs.py --seconds 1 --only iris",
            data=False,
        ),
    ),
    "arrangements": (
        Part("All cells", "arrangements.py", "arrangements.py --budget 1 --draws 100000", data=False),
    ),
    "flow": (
        Part(
            "Gradient flow",
            "flow.py --pictures {pictures}",
            "flow.py orthogonal alignment --quick --pictures {pictures}",
            data=False,
        ),
    ),
    "judge": (Part("What the live judge costs", "judge.py --epochs-for 8", "judge.py --epochs-for 1", data=False),),
    "splines": (
        Part("Linear splines", "splines.py", "splines.py --largest 1000 --limit 5", data=False),
    ),
}  # fmt: skip


def command(part: Part, options: argparse.Namespace) -> list[str]:
    """The script and its arguments."""
    text = part.redraw if options.redraw else part.quick if options.quick else part.full
    folders = {"out": options.out.as_posix(), "pictures": (options.out.parent / "pictures").as_posix()}
    words = [word.format(**folders) for word in shlex.split(text)]
    if part.data and not options.redraw:
        words += ["--data", str(options.data)]
    if part.jobs and not options.redraw:
        words += ["--jobs", str(options.jobs)]
    return words


def section(part: Part, options: argparse.Namespace) -> str:
    """The title, the command in full or in short without this machine's folders, and what it prints."""
    settings = re.sub(r" --\w+ {\w+}\S*", "", part.quick if options.quick else part.full)
    return f"## {part.title}\n\n`python benchmarks/{settings}`\n\n{printed(command(part, options))}"


def printed(words: list[str]) -> str:
    """What a script prints, which is shown while it runs.

    Raises
    ------
    subprocess.CalledProcessError
    """
    call = [sys.executable, str(SCRIPTS / words[0]), *words[1:]]
    lines = []
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, call)
    return "".join(lines)


def write(name: str, measured: str, out: Path) -> None:
    """The page with its introduction, and what was measured below the mark."""
    source = PAGES / f"{name}.md"
    introduction = source.read_text().split(MARK)[0] if source.exists() else f"# {name}\n\n"
    out.mkdir(parents=True, exist_ok=True)
    origin = f"Measured and written by `python benchmarks/all.py {name}`.\n\n"
    (out / f"{name}.md").write_text(f"{introduction}{MARK}\n\n{origin}{measured.rstrip()}\n")


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("pages", nargs="*", choices=[*CATALOGUE, []], default=list(CATALOGUE), help="all by default")
    add("--quick", action="store_true", help="a small part of each, into out/benchmarks")
    add("--redraw", action="store_true", help="make pages from curves that were kept, without measuring")
    add("--data", type=Path, default=Path("data"), help="folder with the CSV files")
    add("--jobs", type=int, default=1, help="problems of the race at a time")
    add("--out", type=Path, help="folder of the pages")
    options = parser.parse_args()
    options.out = options.out or (QUICK if options.quick else PAGES)
    failed = []
    for name in options.pages:
        parts = [part for part in CATALOGUE[name] if part.redraw or not options.redraw]
        if not parts:
            continue
        began = time.monotonic()
        try:
            sections = [section(part, options) for part in parts]
        except subprocess.CalledProcessError as error:
            print(f"{name}: {error}; its page stays as it is", file=sys.stderr)
            failed.append(name)
            continue
        write(name, "\n".join(sections), options.out)
        print(f"{name}: {time.monotonic() - began:.0f} s, {options.out / name}.md", file=sys.stderr, flush=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
