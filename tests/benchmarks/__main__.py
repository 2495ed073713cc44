"""`make bench`: every benchmark, its tables, its figures as JSON, what changed since the last run, and the report.

    python -m tests.benchmarks [PART]… [--quick] [--json FILE] [--against FILE] [--profile] [--report]

It measures and does not judge: it fails only where something could not be measured. Without Java and Maven's jars there is
no Kafka: `sync` is then left out by name unless it is asked for, and `publish` and `agent` work on Valkey.
"""

from __future__ import annotations

import datetime as dt
import signal
import sys
import time
import traceback
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.status import Status

from tests.benchmarks import profiling
from tests.benchmarks.comparing import FULL, QUICK, SMOKE, Effort
from tests.benchmarks.markdown import rendered
from tests.benchmarks.options import REPORT, RESULTS, Options, options
from tests.benchmarks.parts import PARTS
from tests.benchmarks.report import Report, load, machine, newest, save, show, show_changes, together
from tests.benchmarks.zygote import forking
from tests.support.kafka_server import KafkaUnavailable


@dataclass(slots=True)
class Run:
    """`measured`: parts by their fields; `seconds`: that each took; `failed`: parts that could not be measured."""

    measured: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    interrupted: bool = False


def main() -> None:
    chosen = options()
    console = Console()
    if chosen.sources:
        _write(together([load(path) for path in chosen.sources]), console)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that what is started here ends too
    now = dt.datetime.now(dt.UTC)
    path = chosen.json or RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    effort = _effort(chosen, path, console)
    about = machine()  # its load is that before the first part
    run = _measured(chosen, effort, console)
    if run.measured:
        made_at = now.isoformat(timespec="seconds")
        report = Report(made_at, chosen.quick, about, chosen.smoke, run.seconds, **run.measured)
        _tell(chosen, report, path, effort, console)
    if run.failed:
        console.print(f"not measured: {', '.join(run.failed)}", style="red")
    if run.failed or run.interrupted:
        raise SystemExit(130 if run.interrupted else 1)


def _effort(chosen: Options, path: Path, console: Console) -> Effort:
    effort = SMOKE if chosen.smoke else QUICK if chosen.quick else FULL
    if chosen.profile is None:
        return effort
    program = profiling.found()
    if program is None:
        raise SystemExit(
            "--profile needs py-spy, which is not installed: .venv/bin/python -m pip install -e '.[profile]'"
        )
    left_out = [name for name in chosen.parts if not PARTS[name].profiled]
    if left_out:
        console.print(f"not profiled: {', '.join(left_out)}", style="dim")
    native = chosen.profile == "native"
    return replace(effort, profiles=profiling.Profiles(program, path, native=native))


def _measured(chosen: Options, effort: Effort, console: Console) -> Run:
    """What fails keeps nothing from those after it; Ctrl-C ends it with what there is."""
    run = Run()
    begun = time.monotonic()
    for number, name in enumerate(chosen.parts, 1):
        place = f"[{number}/{len(chosen.parts)}] {name}"
        started = time.monotonic()
        with console.status(f"{place} …") as status, forking() if effort.smoke else nullcontext():

            def told(case: str, status: Status = status, place: str = place) -> None:
                status.update(f"{place}: {case} · {_minutes(time.monotonic() - begun)}")

            try:
                found = PARTS[name].measured(effort, told)
            except KeyboardInterrupt:
                run.interrupted = True
                break
            except KafkaUnavailable as error:
                if not chosen.whole:
                    run.failed.append(name)
                console.print(f"{place}: left out, {error}", highlight=False, markup=False)
                continue
            except Exception:  # noqa: BLE001  # whatever it is, half an hour of others is not thrown away for it
                run.failed.append(name)
                console.print(f"{place}: failed", style="red", markup=False)
                traceback.print_exc()
                continue
        key = name.replace("-", "_")
        run.measured[key], run.seconds[key] = found, time.monotonic() - started
        console.print(f"{place}  {_minutes(run.seconds[key])}", style="dim", highlight=False, markup=False)
    return run


def _tell(chosen: Options, report: Report, path: Path, effort: Effort, console: Console) -> None:
    earlier = None
    if chosen.compare:
        earlier = chosen.against or newest(RESULTS, like=report)
    save(report, path)
    show(report, console)
    if earlier is not None:
        show_changes(report, load(earlier), console)
    against = "" if earlier is None else f", against {earlier}"
    console.print(f"{path}{against} · {_minutes(sum(report.seconds.values()))} in all", style="dim")
    if effort.profiles is not None:
        for one in effort.profiles.written:
            console.print(f"{one}", style="dim")
        for told in effort.profiles.failed:
            console.print(f"py-spy: {told}", style="red", markup=False)
    if chosen.report:
        _write(report, console)


def _write(report: Report, console: Console) -> None:
    existing = REPORT.read_text(encoding="utf-8") if REPORT.is_file() else None
    REPORT.write_text(rendered(report, existing), encoding="utf-8")
    console.print(f"{REPORT}", style="dim")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


if __name__ == "__main__":
    main()
