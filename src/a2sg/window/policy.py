"""What every rule that sets windows shares: the sites, the iterations it looks at, its history and state."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from a2sg.errors import called, require, require_count, require_gradient
from a2sg.modes import as_it_was
from a2sg.ranks import add_up
from a2sg.window.joining import JoinableWindows, Reduction
from a2sg.window.later import Mail
from a2sg.window.observer import Clock, Observer
from a2sg.window.records import Records, Row
from a2sg.window.silence import hint, silence
from a2sg.window.site import Site, find_sites
from a2sg.window.store import Store

log = logging.getLogger("a2sg")

Loss = Callable[[], Tensor]
"""Computes the loss of the present batch once more."""


class WindowPolicy(JoinableWindows):
    """A rule that sets the windows of a model once in a while; stepped like a learning-rate scheduler.

    Iteration i (from 0) is observed when i >= start and (i - start) is a multiple of `every`; with `batches`
    so are the iterations after it, that many in all. What is set after the last of them acts from the next
    iteration. `a2sg.AdaptiveWindows` is the method of the paper, `a2sg.baselines` has others.
    Ranks (torch.distributed) that have different numbers of batches train in torch's
    `Join([ddp, windows])`, where the windows are told of what DDP's own `join()` does not know.

    Args:
        model: holds spiking neurons (or other sites) with one window per step.
        every: iterations from one search to the next.
        start: the first observed one.
        batches: how many iterations in a row are observed for one search, at most `every`.

    Attributes:
        sites: what is set, by the name of the layer.
        observers: what looks on during observed backward passes, by layer; empty if nothing does.
        iteration: how many iterations are done.
        reduction: what the loss of a rank is: the mean over its samples (`"mean"`, as under DDP), or its part
            of the loss of all (`"sum"`). It weighs the ranks, which may have different numbers of samples.

    Raises:
        InputError: for an option out of range, or a model without sites.
    """

    columns: ClassVar[tuple[str, ...]]
    """Keys of a row of the history; `iteration`, `layer`, `step`, `window`, `window_before` among them."""
    saved: ClassVar[frozenset[str]] = frozenset({"iteration", "kept", "seconds", "history", "tables"})
    """Keys of a state."""

    def __init__(self, model: nn.Module, *, every: int, start: int, batches: int = 1) -> None:
        super().__init__()
        self.every = require_count("every", every)
        self.start = require_count("start", start, least=0)
        self.batches = require_count("batches", batches)
        require(batches <= every, f"batches must be at most every={every}, not {batches}")
        self.sites = find_sites(model)
        self._model = model
        self.observers: dict[str, Observer] = {}
        self.iteration = 0
        self._records = Records(self.columns)
        self._kept: Counter[str] = Counter()
        self._mail = Mail()
        self._clock = Clock()
        self._attached = True
        self.reduction: Reduction = "mean"
        self._disarmed: set[str] = set()
        self._pauses = 0
        """How many contexts of `paused` are open."""

    @property
    def history(self) -> list[Row]:
        """One plain dict per search, layer and step, with the keys `columns`.

        Of the last 1,000 searches; of all, read from the file, where there is one (see `record`).
        """
        self._mail.deliver(wait=True)
        return self._records.rows()

    @property
    def kept(self) -> Counter[str]:
        """How often a window was kept because nothing could be found, by reason."""
        self._mail.deliver(wait=True)
        return self._kept

    @property
    def observing(self) -> bool:
        """Whether the current iteration is observed."""
        return self._attached and self.iteration >= self.start and self._place < self.batches

    @property
    def _place(self) -> int:
        """How many iterations it is since the last period began."""
        return (self.iteration - self.start) % self.every

    @property
    def seconds(self) -> float:
        """Time spent observing and solving so far."""
        return self._clock.seconds + sum(observer.clock.seconds for observer in self.observers.values())

    @property
    def silence(self) -> str:
        """Why no search has set anything yet, a sentence; "" if one has, or none is meant to.

        Searches that have not come, or that saw no gradient, leave windows just as one that likes them does.
        """
        kept = self.kept
        if filed := self._records.filed:  # a long file is not read for this
            searches = max(1, filed // sum(len(site.window) for site in self.sites.values()))
        else:
            rows = self.history
            searches = len({row["iteration"] for row in rows})
            kept = Counter(row["kept"] for row in rows if row.get("kept"))
        first = self.start + self.batches - 1
        return silence(searches, kept, self.wanted, first, self.iteration, self._disarmed)

    @property
    def wanted(self) -> int:
        """How many windows it is to set; 0 if it only looks on."""
        return sum(len(site.window) for site in self.sites.values())

    def step(self, loss: Loss | None = None) -> bool:
        """End an iteration: call once per optimizer step, after the last backward pass.

        On an observed iteration (with `batches`, the last of a row) sets what the rule finds, and appends to
        `history`.

        Args:
            loss: computes the loss of the present batch once more, for rules that look at it anew, such as
                `a2sg.baselines.DspikeSearch`; others do not call it.

        Returns:
            Whether anything was set.
        """
        self._tell_others()
        return self._end_iteration(loss)

    def _end_iteration(self, loss: Loss | None = None) -> bool:
        done = False
        if self.observing and not self._pauses:
            self._check_armed()
        if self.observing and self._place == self.batches - 1:
            with self._clock.running(torch.device("cpu")):
                done = self._update(loss)
                self._mail.deliver()
        self.iteration += 1
        self._arm()
        return done

    def calibrate(self, loss: Loss, *, rounds: int = 1) -> None:
        """Set windows before training begins, from one batch, as weights are initialised.

        Nothing else changes but the history, and shapes if they are searched: gradients, buffers such as
        running statistics and the random state are as they were, and no iteration is counted.

        Args:
            loss: computes the loss of a batch from the model, such as `lambda: criterion(net(x), y)`; it is
                called `rounds` times.
            rounds: searches in a row, each from the windows of the one before.

        Raises:
            InputError: between the micro-batches of an observed iteration, or for a loss without a gradient.
        """
        require_count("rounds", rounds)
        require(
            all(not observer.table.any() for observer in self.observers.values()),
            "calibrate was called within an observed iteration: call it before the first backward pass, or "
            "after step()",
        )
        self._watch(True)
        try:
            with as_it_was(self._model, [site.window for site in self.sites.values()]):
                for _ in range(rounds):
                    value = loss()
                    require_gradient(value)
                    value.backward()
                    self._update(loss)
        finally:
            if self.observers:
                self.store.clear()
            self._arm()
        self._mail.deliver()

    def record(self, path: str | Path, *, anew: bool = False) -> None:
        """Write the history to a file, from now on and with what it has so far: memory keeps none of it.

        A `state_dict` then says how many rows the file has, not what they are. Where training goes on from a
        state, load it and record into the same file: rows that were written after the state are cut off.

        Args:
            path: of the CSV file, whose header is `columns`.
            anew: whether to replace a file that is there and that no loaded state tells of.

        Raises:
            InputError: if the file is there already, but not of a loaded state; or has other columns.
            OSError: if it cannot be written.
        """
        self._mail.deliver(wait=True)
        self._records.record(Path(path), anew=anew)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep some passes out of the search: those whose forward pass runs while this context lasts.

        For passes that are not the training step, such as those that make adversarial examples or compute an
        auxiliary loss. Their gradients are as ever, and iterations count on. What counts is where the forward
        pass runs: a backward pass inside of one that ran outside is still observed. Contexts may be nested.

            with windows.paused():
                adversarial = attack(net, x, y)
            criterion(net(adversarial), y).backward()
        """
        self._pauses += 1
        self._arm()
        try:
            yield
        finally:
            self._pauses -= 1
            self._arm()

    def discard(self, broken: Tensor) -> None:
        """Have the search under way find nothing: it keeps all windows, and counts that as "not finite".

        Args:
            broken: whether to, a 0-d tensor on any device, which is not waited for.
        """
        if self.observing and self.observers:
            self.store.settle()
            self.store.flat += torch.where(broken, torch.nan, 0.0).to(self.store.flat)

    def detach(self) -> None:
        """Stop watching the model, for good; its windows stay as they are."""
        self._attached = False
        self._arm()

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from, with the windows that the model's own state_dict does not have."""
        self._mail.deliver(wait=True)
        in_use = {name: site.window.detach().cpu().clone() for name, site in self._unsaved.items()}
        return {
            **({"in_use": in_use} if in_use else {}),
            "iteration": self.iteration,
            "kept": dict(self.kept),
            "seconds": self.seconds,
            "history": self._records.state(),
            "tables": {name: seen.table.to("cpu", copy=True) for name, seen in self.observers.items()},
        }

    def add_ranks_to(self, state: dict[str, Any]) -> None:
        """Put into a state the sums of all ranks, for one of them to go on with; all must call it."""
        for sums in state["tables"].values():
            add_up(sums)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        Raises:
            InputError: if it was saved for other layers, steps or options.
        """
        missing = self.saved - state.keys()
        require(
            not missing,
            f"the saved windows lack {', '.join(sorted(missing))}: load the whole state_dict() of "
            "windows, not that of the model",
        )
        tables = state["tables"]
        mine = {name: tuple(observer.table.shape) for name, observer in self.observers.items()}
        theirs = {name: tuple(table.shape) for name, table in tables.items()}
        _require_same(mine, theirs)
        self._check(state)
        with torch.no_grad():
            for name, window in state.get("in_use", {}).items():
                self.sites[name].window.copy_(window)
        self.iteration = int(state["iteration"])
        self._mail.drop()
        self._records.load(state["history"])
        self._kept = Counter(state["kept"])
        self._clock = Clock(float(state["seconds"]))
        for name, observer in self.observers.items():
            observer.table.copy_(tables[name])
            observer.clock = Clock()
        self._arm()

    @property
    def _unsaved(self) -> dict[str, Site]:
        """The sites whose windows are not in the model's state_dict."""
        return {name: site for name, site in self.sites.items() if "window" not in site.state_dict()}

    @abstractmethod
    def _check(self, state: dict[str, Any]) -> None:
        """Raise `InputError` if a complete `state` with fitting tables does not fit."""

    @abstractmethod
    def _update(self, loss: Loss | None) -> bool:
        """Find and set, and append to the history; whether anything was set."""

    def _observe(self, observers: dict[str, Observer]) -> None:
        """Have these look on, by layer."""
        self.observers = observers
        for name, observer in observers.items():
            observer.site = self.sites[name]
        self.store = Store(list(observers.values()), next(iter(self.sites.values())))
        self._arm()

    def _check_armed(self) -> None:
        """Tell of layers whose observer is another's, or gone, on an observed iteration."""
        lost = {
            name for name, observer in self.observers.items() if self.sites[name].observer is not observer
        }
        if fresh := lost - self._disarmed:
            log.warning(
                "iteration %d: %s not observed, since something else took the place of the observers: %s",
                self.iteration,
                "1 layer was" if len(fresh) == 1 else f"{len(fresh)} layers were",
                ", ".join(sorted(fresh)),
            )
        self._disarmed |= lost

    def _arm(self) -> None:
        self._watch(self.observing and not self._pauses)

    def _watch(self, on: bool) -> None:
        for name, observer in self.observers.items():
            self.sites[name].observer = observer if on else None

    def _count_kept(self, iteration: int, reasons: Sequence[str], of: str) -> None:
        """Count why windows were kept, "" where they were not, and warn of it."""
        bad = Counter(reason for reason in reasons if reason)
        self._kept.update(bad)
        if bad:
            log.warning(
                "iteration %d: kept the windows of %d of %d %s (%s)%s",
                iteration,
                sum(bad.values()),
                len(reasons),
                of,
                ", ".join(f"{reason}: {count}" for reason, count in bad.items()),
                f"; {hint(bad)}" if all(reasons) else "",
            )


def _require_same(mine: dict[str, tuple[int, ...]], theirs: dict[str, tuple[int, ...]]) -> None:
    """Raise `InputError` unless tables, by layer, are of the same layers and shapes as the saved ones."""
    of = "the saved windows are of another model or search"
    ours, others = (
        ", ".join(repr(name) for name in one if name not in other) or "none"
        for one, other in ((mine, theirs), (theirs, mine))
    )
    require(mine.keys() == theirs.keys(), f"{of}: only they have the layers {others}, only this one {ours}")
    for name, shape in mine.items():
        require(
            shape == theirs[name],
            f"{of}: the sums of {called(name)}, [T, candidates + 1, …], have the shape {theirs[name]}, here "
            f"{shape}: take the steps and options that they were saved with",
        )
