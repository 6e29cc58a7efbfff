"""Everything that is to be measured on a card, for one that is there for minutes.

    python benchmarks/gpu/session.py [--minutes 9] [--out runs/gpu] [--only PARTS] [--device cpu --tiny]

The parts run one after the other, each in processes of its own and within a limit of its own; the last one
trains for the time that is left. What was measured lies in the folder as JSON, with `session.json` over all
of it and `session.md`, which shows it as tables and names what was not reached.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from a2sg.bench.report import machine, provenance
from a2sg.errors import InputError, require_choice, require_positive
from a2sg.files import write_json, write_text

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
LEAST = 20.0
"""Seconds; with less left a part is not begun."""
LAST_WORDS = 10.0
"""Seconds that a part whose time is up has for its last words."""


@dataclass(frozen=True)
class Place:
    """Where and how large.

    Attributes:
        device: `cuda`, or `cpu` to try the script itself.
        tiny: whether sizes only show that it works.
        out: folder of results.
    """

    device: str
    tiny: bool
    out: Path

    def sizes(self, real: str, tiny: str) -> list[str]:
        """Words of a command, by size."""
        return shlex.split(tiny if self.tiny else real)


Words = Callable[[Place, float], list[str]]
"""A command, from where it runs and the seconds that its part has."""


@dataclass(frozen=True)
class Part:
    """Something to measure.

    Attributes:
        name: of it, and of its folder.
        text: what it is.
        share: of the session's time that it may take at most; None takes what is left.
        commands: in their order.
    """

    name: str
    text: str
    share: float | None
    commands: Sequence[Words]


@dataclass
class Outcome:
    """What came of a part.

    Attributes:
        status: `done`, `failed`, `out of time` or `not reached`.
        seconds: that it took.
        notes: its last words, where it did not get done.
    """

    status: str
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def bench(only: str, real: str, tiny: str) -> Words:
    """A run of `a2sg bench`."""

    def words(place: Place, _: float) -> list[str]:
        sizes = place.sizes(real, f"--quick {tiny}")
        out = str(place.out / f"bench-{only.replace(',', '-')}")
        return [PYTHON, "-m", "a2sg", "bench", "--only", only, *sizes, "--device", place.device, "--out", out]

    return words


def suite(place: Place, _: float) -> list[str]:
    """The tests for a card."""
    which = place.sizes("tests -m gpu", "tests/gpu/test_gpu_windows.py -k nothing_usable -m gpu")
    workers = place.sizes("-n auto --maxprocesses 12", "-n 0")
    return [PYTHON, "-m", "pytest", "-q", "-rfE", *workers, *which, f"--junitxml={place.out / 'suite.xml'}"]


def script(name: str, real: str = "", tiny: str = "--tiny") -> Words:
    """A script of this folder's parent; it takes --device and --out."""

    def words(place: Place, _: float) -> list[str]:
        out = str(place.out / f"{name}.json")
        path = str(ROOT / "benchmarks" / f"{name}.py")
        return [PYTHON, path, *place.sizes(real, tiny), "--device", place.device, "--out", out]

    return words


ARMS = ("a2sg", "asy", "fixed")
"""What is trained, the first of them for sure; each for the same number of epochs."""
EPOCHS_A_MINUTE = 12.0
"""What the recipe is thought to reach on one card, an H100 18; `session.md` says what it did reach."""


def training(arm: str) -> Words:
    """A run of one arm, of as many epochs as its share of the time should hold."""

    def words(place: Place, limit: float) -> list[str]:
        epochs = max(1, int(0.8 * limit / len(ARMS) / 60 * EPOCHS_A_MINUTE))
        source = os.environ.get("A2SG_CIFAR10")
        real = f"cifar10-fast --data.options.source {shlex.quote(source)}" if source else "cifar10-fast"
        tiny = "digits --model.name mlp_small --epochs 1"
        sizes = place.sizes(f"{real} --epochs {epochs} --optimizer.warmup_epochs {epochs / 5:g}", tiny)
        run = ["--arms", arm, "--seeds", "0", "--out", str(place.out / f"training-{arm}"), "--overwrite"]
        return [PYTHON, "-m", "a2sg", "compare", *sizes, *run, "--device", place.device]

    return words


PLAIN = "a2sg,a2sg packed,SpikingJelly Triton"
WAYS = f"{PLAIN},a2sg CUDA graphs,a2sg packed CUDA graphs,a2sg observed,a2sg observed CUDA graphs"
"""Without those that compile a whole network: that takes longer than the part has."""
RESNET19 = "--network resnet19 --batch 100 --precision bf16"

PARTS = (
    Part("suite", "the tests for a card", 0.30, [suite]),
    Part(
        "layers",
        "one LIF layer and one search, beside other libraries",
        0.12,
        [bench("lif,search", "--rounds 7 --elements 65536,4194304,16777216", "--backends reference")],
    ),
    Part(
        "steps",
        "a training step of ResNet19, in bf16",
        0.15,
        [bench("train", f"{RESNET19} --rounds 5 --ways '{WAYS}'", "--ways a2sg")],
    ),
    Part(
        "memory",
        "peak memory of a training step over T",
        0.12,
        [bench("memory", f"{RESNET19} --memory-steps 4,8 --ways '{PLAIN}'", "--ways a2sg")],
    ),
    Part("pipeline", "where the time of a2sg train goes", 0.10, [script("pipeline")]),
    Part(
        "training",
        "cifar10-fast for the time that is left, arm by arm (A2SG_CIFAR10: where the data lie)",
        None,
        [training(arm) for arm in ARMS],
    ),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="for all of it (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder (default: %(default)s)")
    parser.add_argument("--only", help=f"parts, of {','.join(part.name for part in PARTS)} (default: all)")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu to try it (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that it works")
    chosen = parser.parse_args()
    try:
        names = _names(chosen.only)
        seconds = 60 * require_positive("--minutes", chosen.minutes)
    except InputError as error:
        parser.error(str(error))
    place = Place(chosen.device, chosen.tiny, chosen.out.resolve())
    place.out.mkdir(parents=True, exist_ok=True)
    outcomes = session([part for part in PARTS if part.name in names], place, seconds)
    report(place, outcomes)
    return int(any(outcome.status == "failed" for outcome in outcomes.values()))


def session(parts: Sequence[Part], place: Place, seconds: float) -> dict[str, Outcome]:
    """Run the parts within `seconds` in all; every part has an outcome."""
    end = time.monotonic() + seconds
    outcomes: dict[str, Outcome] = {}
    for part in parts:
        left = end - time.monotonic()
        limit = left if part.share is None else min(left, part.share * seconds)
        if limit < LEAST and not place.tiny:
            outcomes[part.name] = Outcome("not reached")
            continue
        print(f"== {part.name}: {part.text} (at most {limit:.0f} s)", flush=True)
        outcomes[part.name] = run(part, place, limit)
        print(f"   {outcomes[part.name].status}, {outcomes[part.name].seconds:.0f} s", flush=True)
        report(place, outcomes)  # should the session itself be ended
    return outcomes


def run(part: Part, place: Place, limit: float) -> Outcome:
    """Run the commands of a part; what is not done by the limit is ended."""
    started = time.monotonic()
    for command in part.commands:
        left = limit - (time.monotonic() - started)
        words = command(place, limit)
        log = place.out / f"{part.name}.log"
        with log.open("a", encoding="utf-8") as file:
            process = subprocess.Popen(words, cwd=ROOT, stdout=file, stderr=file, start_new_session=True)
            try:
                status = process.wait(max(left, 0.0))
            except subprocess.TimeoutExpired:
                _end(process)
                return Outcome("out of time", time.monotonic() - started, _tail(log))
        if status:
            return Outcome("failed", time.monotonic() - started, _tail(log))
    return Outcome("done", time.monotonic() - started)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command as Ctrl-C does, so that pytest names what has failed so far; kill what is left of it."""
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LAST_WORDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def report(place: Place, outcomes: Mapping[str, Outcome]) -> None:
    """Write `session.json` and `session.md`."""
    facts = {**machine(place.device), "peers": {}, "tiny": place.tiny}
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(place.out.glob("*.json"))}
    found.pop("session", None)
    parts = {name: asdict(outcome) for name, outcome in outcomes.items()}
    write_json(place.out / "session.json", {**facts, "parts": parts, "found": found})
    lines = ["# A session on a card", "", provenance(facts), "", "| part | came to | s |", "|---|---|---|"]
    lines += [f"| {name} | {one.status} | {one.seconds:.0f} |" for name, one in outcomes.items()]
    for path in sorted(place.out.rglob("*.md")):
        if path.name != "session.md":
            lines += ["", path.read_text("utf-8").strip().replace("\n# ", "\n## ").replace("# ", "## ", 1)]
    for name, one in outcomes.items():
        if one.notes:
            lines += ["", f"## The last lines of {name}", "", "```", *one.notes, "```"]
    write_text(place.out / "session.md", "\n".join(lines) + "\n")


def _names(only: str | None) -> list[str]:
    known = [part.name for part in PARTS]
    return (
        known if only is None else [require_choice("part", name.strip(), known) for name in only.split(",")]
    )


def _tail(log: Path) -> list[str]:
    return log.read_text("utf-8", "replace").splitlines()[-12:]


if __name__ == "__main__":
    sys.exit(main())
