"""The base class of rules that set windows: sites, observed iterations, history and state."""

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

from a2sg.errors import InputError, require, require_count, require_gradient
from a2sg.modes import as_it_was
from a2sg.ranks import add_up
from a2sg.window.changes import Changes
from a2sg.window.joining import JoinableWindows, Reduction
from a2sg.window.later import Mail
from a2sg.window.observer import Clock, Observer
from a2sg.window.records import Records, Row
from a2sg.window.resuming import same_steps
from a2sg.window.sharing import fitted
from a2sg.window.silence import hint, silence
from a2sg.window.site import Site, find_sites
from a2sg.window.store import Store

log = logging.getLogger("a2sg")

Loss = Callable[[], Tensor]
"""Computes the loss of the present batch once more."""


class WindowPolicy(JoinableWindows):
    """A rule that sets the windows of a model now and then; call `step()` as on a learning-rate scheduler.

    Iteration i (from 0) is observed when i >= start and (i - start) is a multiple of `every`; with `batches`,
    that many iterations in a row are observed, the first of them i. With `every=None` there is one search,
    at `start`. Windows that are set after the last of them take effect in the next iteration.
    `a2sg.AdaptiveWindows` is the method of the paper; `a2sg.baselines` has others.

    Ranks (torch.distributed) with different numbers of batches train in torch's `Join([ddp, windows])`:
    DDP's own `join()` does not know about the windows.

    Args:
        model: holds spiking neurons (or other sites) with one window per step.
        every: iterations from one search to the next; None searches once.
        start: the first observed iteration.
        batches: number of consecutive iterations observed for one search, at most `every`.

    Attributes:
        sites: the sites whose windows are set, by layer name.
        observers: watch the observed backward passes, by layer; empty if the rule needs none.
        iteration: how many iterations are done.
        reduction: what the loss of a rank is: the mean over its samples (`"mean"`, as under DDP), or its part
            of the total loss (`"sum"`). It decides how ranks with different numbers of samples are weighted.

    Raises:
        InputError: for an option out of range, or a model without sites.
    """

    columns: ClassVar[tuple[str, ...]]
    """Keys of a row of the history; `iteration`, `layer`, `step`, `window`, `window_before` among them."""
    saved: ClassVar[frozenset[str]] = frozenset({"iteration", "kept", "seconds", "history", "tables"})
    """Keys of a state."""

    def __init__(self, model: nn.Module, *, every: int | None, start: int, batches: int = 1) -> None:
        super().__init__()
        self.every = None if every is None else require_count("every", every)
        self.start = require_count("start", start, least=0)
        self.batches = require_count("batches", batches)
        require(every is None or batches <= every, f"batches must be at most every={every}, not {batches}")
        self.sites = find_sites(model)
        for site in self.sites.values():
            site.observer = None  # that of an earlier rule, which this one replaces
        self._model = model
        self.observers: dict[str, Observer] = {}
        self.iteration = 0
        self._records = Records(self.columns)
        self._kept: Counter[str] = Counter()
        self._mail = Mail()
        self._clock = Clock()
        self._attached = True
        self.reduction: Reduction = "mean"
        self._changes = Changes()
        self._pauses = 0
        """How many contexts of `paused` are open."""

    @property
    def history(self) -> list[Row]:
        """One plain dict per search, layer and step, with the keys `columns`.

        Covers the last 1,000 searches; with a file (see `record`), all of them, read from there.
        """
        self._mail.deliver(wait=True)
        return self._records.rows()

    @property
    def kept(self) -> Counter[str]:
        """How often a window was kept because no better one could be determined, by reason."""
        self._mail.deliver(wait=True)
        return self._kept

    @property
    def observing(self) -> bool:
        """Whether the current iteration is observed."""
        return self._attached and self.iteration >= self.start and self._place < self.batches

    @property
    def _place(self) -> int:
        """Iterations since the present period began."""
        done = self.iteration - self.start
        return done if self.every is None else done % self.every

    @property
    def seconds(self) -> float:
        """Seconds spent observing and solving so far, without the sums of passes replayed as CUDA graphs."""
        return self._clock.seconds + sum(observer.clock.seconds for observer in self.observers.values())

    @property
    def silence(self) -> str:
        """A sentence on why no search has set anything yet; "" if one has, or none is meant to.

        The windows themselves do not show it: they stay the same where no search has run, where one saw no
        gradient, and where one found them best.
        """
        kept = self.kept
        if filed := self._records.filed:  # a long file is not read for this
            searches = max(1, filed // sum(len(site.window) for site in self.sites.values()))
        else:
            rows = self.history
            searches = len({row["iteration"] for row in rows})
            kept = Counter(row["kept"] for row in rows if row.get("kept"))
        first = self.start + self.batches - 1
        return silence(searches, kept, self.wanted, first, self.iteration, self._changes.lost)

    @property
    def wanted(self) -> int:
        """How many windows a search sets; 0 if they are only watched."""
        return sum(len(site.window) for site in self.sites.values())

    def step(self, loss: Loss | None = None) -> bool:
        """End an iteration: call once per optimizer step, after the last backward pass.

        On an observed iteration (with `batches`, the last of them), sets what the rule finds, and appends to
        `history`.

        Args:
            loss: computes the loss of the present batch again, for rules that need it, such as
                `a2sg.baselines.DspikeSearch`; others do not call it.

        Returns:
            Whether anything was set.

        Raises:
            InputError: if the last sequence of an `a2sg.SpikeSite` did not have T steps.
        """
        self._end_sequences()
        self._tell_others()
        return self._end_iteration(loss)

    def _end_sequences(self) -> None:
        """Raise `InputError` if the last sequence of a site that counts steps did not have T."""
        for misfit in [misfit for site in self.sites.values() if (misfit := site._end_sequence())]:
            raise InputError(misfit)

    def _end_iteration(self, loss: Loss | None = None) -> bool:
        done = False
        if self.observing and not self._pauses:
            self._changes.report(self.iteration, self._model, self.sites, self.observers)
        if self.observing and self._place == self.batches - 1:
            with self._clock.running(torch.device("cpu")):
                done = self._update(loss)
                self._mail.deliver()
        self.iteration += 1
        if self.observing and self._place == 0 and self.observers:
            self.store.clear()  # of passes that ended after their iteration
        self._arm()
        return done

    def calibrate(self, loss: Loss, *, rounds: int = 1) -> None:
        """Set windows from one batch before training begins, as weights are initialised.

        Besides the windows, only the history changes, and shapes if they are searched: gradients, buffers
        such as running statistics, and the random state stay as they were, and no iteration is counted.

        Args:
            loss: computes the loss of a batch from the model, such as `lambda: criterion(net(x), y)`; it is
                called `rounds` times.
            rounds: number of searches, each starting from the windows of the one before.

        Raises:
            InputError: if called between the micro-batches of an observed iteration, or for a loss without a
                gradient.
        """
        require_count("rounds", rounds)
        require(
            all(not observer.table.any() for observer in self.observers.values()),
            "calibrate was called during an observed iteration: call it before the first backward pass, or "
            "after step()",
        )
        self._watch(True)
        try:
            with as_it_was(self._model, [site.window for site in self.sites.values()]):
                for _ in range(rounds):
                    value = loss()
                    require_gradient(value)
                    value.backward()
                    self._end_sequences()
                    self._update(loss)
        finally:
            if self.observers:
                self.store.clear()
            self._arm()
        self._mail.deliver()

    def record(self, path: str | Path, *, anew: bool = False) -> None:
        """Write the history so far, and everything from now on, to a file; memory then keeps none of it.

        A `state_dict` then holds the number of rows in the file, not the rows. To resume training from a
        state, load it and record into the same file: rows written after the state was saved are cut off. A
        copy of these windows, or an unpickled one, no longer writes to the file, and is like windows that
        have loaded a state.

        Args:
            path: of the CSV file, whose header is `columns`.
            anew: whether to replace an existing file to which no loaded state refers.

        Raises:
            InputError: if the file exists and no loaded state refers to it, or if it has other columns.
            OSError: if it cannot be written.
        """
        self._mail.deliver(wait=True)
        self._records.record(Path(path), anew=anew)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep passes out of the search: those whose forward pass runs inside this context.

        For passes that are not the training step, such as those that make adversarial examples or compute an
        auxiliary loss. Their gradients do not change, and iterations are counted as usual. Only the place of
        the forward pass matters: if it ran outside, its backward pass is observed even inside the context.
        Contexts may be nested.

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
        """Make the current search keep all windows, counted as "not finite".

        Args:
            broken: whether to do so, a 0-d tensor on any device; nothing waits for it.
        """
        if self.observing and self.observers:
            self.store.settle()
            self.store.flat += torch.where(broken, torch.nan, 0.0).to(self.store.flat)

    def detach(self) -> None:
        """Stop watching the model for good; its windows stay as they are."""
        self._attached = False
        self._arm()

    def state_dict(self) -> dict[str, Any]:
        """Plain data to continue from, including windows that the model's own state_dict lacks."""
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
        """Put the sums of all ranks into a state, so that one of them can continue; all must call it."""
        for sums in state["tables"].values():
            add_up(sums)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`.

        A state of another T or G is taken too: windows are assigned in order (see `Site`), the history stays
        as it is, and a search that had begun starts again.

        Raises:
            InputError: if it was saved with other layers or options.
        """
        missing = self.saved - state.keys()
        require(
            not missing,
            f"the saved windows lack {', '.join(sorted(missing))}: load the whole state_dict() of "
            "windows, not that of the model",
        )
        tables, passing = state["tables"], state.get("passing", {})
        same = same_steps({name: observer.table for name, observer in self.observers.items()}, tables)
        self._check(state)
        with torch.no_grad():
            for name, window in state.get("in_use", {}).items():
                held = self.sites[name].window
                held.copy_(fitted(window, len(held)))
        self.iteration = int(state["iteration"])
        self._mail.drop()
        self._records.load(state["history"])
        self._kept = Counter(state["kept"])
        self._clock = Clock(float(state["seconds"]))
        for name, observer in self.observers.items():
            if same:
                observer.table.copy_(tables[name])
                observer.passing.copy_(passing.get(name, observer.passing))
            observer.clock = Clock()
        if not same:
            self.store.clear()
        self._arm()

    def __getstate__(self) -> dict[str, Any]:
        self._mail.deliver(wait=True)  # what is still on its way cannot be copied
        return {**self.__dict__, "_pauses": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy watches its own model."""
        self.__dict__.update(state)
        if self.observers:
            self.store.hold()
        self._arm()

    @property
    def _unsaved(self) -> dict[str, Site]:
        """The sites whose windows are not in the model's state_dict."""
        return {name: site for name, site in self.sites.items() if "window" not in site.state_dict()}

    @abstractmethod
    def _check(self, state: dict[str, Any]) -> None:
        """Raise `InputError` if the rest of a complete `state`, whose tables fit, does not fit."""

    @abstractmethod
    def _update(self, loss: Loss | None) -> bool:
        """Find and set windows, and append to the history; returns whether anything was set."""

    def _observe(self, observers: dict[str, Observer]) -> None:
        """Take these as the observers, by layer."""
        self.observers = observers
        for name, observer in observers.items():
            observer.site = self.sites[name]
        self.store = Store(list(observers.values()), next(iter(self.sites.values())))
        self._arm()

    def _arm(self) -> None:
        self._watch(self.observing and not self._pauses)

    def _watch(self, on: bool) -> None:
        for name, observer in self.observers.items():
            site = self.sites[name]
            if on:
                site.observer = observer
            elif site.observer is observer:
                site.observer = None

    def _count_kept(self, iteration: int, reasons: Sequence[str], of: str) -> None:
        """Count the reasons why windows were kept ("" where they were not), and warn about them."""
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
