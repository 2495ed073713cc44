"""What `make bench` can be asked for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.parts import PARTS

RESULTS = Path("bench-results")
REPORT = Path("deploy/benchmarks.md")

_EXAMPLES = """\
examples:
  make bench                                  everything, about half an hour; Ctrl-C ends it, and keeps what there is
  make bench ARGS='--quick'                   a rough picture of everything, some ten minutes
  make bench ARGS='located read'              two parts
  make bench ARGS='located --profile'         and where the broker's time goes, by py-spy
  make bench ARGS='search --against FILE'     compared with an earlier run (default: the newest of the same kind)
  make bench-report                           everything, and deploy/benchmarks.md written anew from it
  make bench-report ARGS='--from FILE FILE'   only that: of runs that there are, later ones before earlier ones

parts:
"""


@dataclass(frozen=True, slots=True)
class Options:
    """`parts`: names, in the order of the suite. `against`: None, the newest earlier run of the same kind. `compare`: at
    all. `profile`: None, or `python` or `native`. `sources`: results that are told and not measured."""

    parts: tuple[str, ...]
    quick: bool = False
    smoke: bool = False
    json: Path | None = None
    against: Path | None = None
    compare: bool = True
    profile: str | None = None
    report: bool = False
    sources: tuple[Path, ...] = ()

    @property
    def whole(self) -> bool:
        return self.parts == tuple(PARTS)


def options(arguments: Sequence[str] | None = None) -> Options:
    """Ends the program, with what is wrong and what there is, where it is asked for what it does not know."""
    chosen = _parser().parse_args(arguments)
    wanted = {*chosen.parts, *chosen.only}
    return Options(
        parts=tuple(name for name in PARTS if not wanted or name in wanted),
        quick=chosen.quick,
        smoke=chosen.smoke,
        json=chosen.json,
        against=chosen.against,
        compare=not chosen.no_comparison,
        profile=chosen.profile,
        report=chosen.report or bool(chosen.sources),
        sources=tuple(chosen.sources),
    )


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:16}{part.about}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=…",
        description="What the broker costs, always beside a baseline that runs in turn with it. It measures and does not "
        "judge: it fails only where something could not be measured.",
        epilog=_EXAMPLES + listed,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", type=_part, metavar="PART", help="none: all of them")
    parser.add_argument(
        "--only", action="append", type=_part, default=[], metavar="PART", help="the same, for scripts"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="fewer rounds, for a rough picture")
    size.add_argument(
        "--smoke", action="store_true", help="a little of each part, to see whether all of it works"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"default: {RESULTS}/INSTANT.json")
    parser.add_argument(
        "--against", "--compare", type=_file, metavar="FILE", help="show what changed since this run"
    )
    parser.add_argument("--no-comparison", action="store_true", help="with no earlier run")
    parser.add_argument(
        "--profile",
        nargs="?",
        const="python",
        choices=("python", "native"),
        help="py-spy on the broker's process after the rounds; native: with the frames of compiled code",
    )
    parser.add_argument("--report", action="store_true", help=f"write {REPORT} anew")
    parser.add_argument(
        "--from",
        nargs="+",
        type=_file,
        default=[],
        dest="sources",
        metavar="FILE",
        help="write it from these results, and measure nothing",
    )
    return parser


def _part(name: str) -> str:
    if name not in PARTS:
        raise argparse.ArgumentTypeError(f"no such part: {name} (there are: {', '.join(PARTS)})")
    return name


def _file(name: str) -> Path:
    path = Path(name)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no such file: {name}")
    return path
