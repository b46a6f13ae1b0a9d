"""A study on disk: one folder per run, and what its files say about how far it came."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.study.published import Published
from cutmix_dense.study.settings import Study, StudyError, config_hash

UNTRAINED = "untrained"
"""Name of the run that only measures: the baseline's model with seed 0 before training."""


@dataclass(frozen=True)
class Run:
    """One run: a variant with a seed, in a folder of its own.

    Attributes:
        variant: its name, ``UNTRAINED`` for the model before training.
        seed: of the training.
        folder: everything of this run.
        config: its training config, composed.
        hash: of that config.
        measuring: how its checkpoint is evaluated, plain values.
        published: its result in a published report; None if it isn't there.
    """

    variant: str
    seed: int
    folder: Path
    config: Any
    hash: str
    measuring: dict[str, Any]
    published: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """``variant/seed-n``; ``untrained``."""
        return UNTRAINED if self.variant == UNTRAINED else f"{self.variant}/seed-{self.seed}"

    @property
    def work(self) -> Path:
        """Work folder of MMEngine's runner: logs and checkpoints."""
        return self.folder / "work"

    def read(self, name: str) -> dict[str, Any] | None:
        """A record of this run (``result``, ``trained``, ``failure``, ``spent``); None if it isn't there."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a record, whole or not at all."""
        write_atomic(self.folder / f"{name}.json", dump_json(content))

    def remove(self, name: str) -> None:
        """Remove a record, if there is one."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)

    def result(self) -> dict[str, Any] | None:
        """What the finished run measured; None if it isn't finished, or was made with other settings."""
        return next((found for found in (self.read("result"), self.published) if found and self.fits(found)), None)

    def fits(self, result: dict[str, Any]) -> bool:
        """Whether a result was made with this run's settings."""
        return bool(result["config_hash"] == self.hash and result["measuring"] == self.measuring)

    def made_with(self) -> str | None:
        """Hash of the config that this folder was begun with; None where nothing was begun."""
        begun = self.read("begun")
        return None if begun is None else begun["config_hash"]

    def state(self) -> str:
        """``finished``, ``running``, ``other settings``, ``failed``, ``interrupted`` or ``missing``."""
        if self.result() is not None:
            return "finished"
        if self.is_locked():
            return "running"
        if self.made_with() not in (None, self.hash):
            return "other settings"
        if self.read("failure") is not None:
            return "failed"
        return "missing" if self.made_with() is None else "interrupted"

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the run's lock; yields its file descriptor, which a child inherits so that it holds the lock as well.

        So a training whose study was killed can't be joined by a second one in the same folder.

        Raises:
            StudyError: another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StudyError(f"{self.name} is still running in another process") from None
            yield file.fileno()

    def is_locked(self) -> bool:
        """Whether a process works on this run."""
        try:
            file = (self.folder / "lock").open("r")
        except FileNotFoundError:
            return False
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def clear(self) -> None:
        """Throw this run away."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class StudyFolder:
    """The runs of a study in one output folder.

    Attributes:
        study: what to run.
        out: the folder.
        options: changes to every run's config from the command line.
        published: a report whose runs count as finished; see ``refuse_foreign``.
    """

    study: Study
    out: Path
    options: dict[str, Any]
    published: Published = field(default_factory=Published)

    def runs(self, only: tuple[str, ...] = ()) -> list[Run]:
        """Every run, all variants of the first seed first; the untrained model before them.

        Args:
            only: names of variants; default all.

        Raises:
            StudyError: an unknown variant.
        """
        unknown = [name for name in only if name not in self.study.variants]
        if unknown:
            raise StudyError(f"--only must name variants ({', '.join(self.study.variants)}), got {', '.join(unknown)}")
        names = [name for name in self.study.variants if not only or name in only]
        return [self.untrained(), *(self.run(name, seed) for seed in self.study.seeds for name in names)]

    def run(self, variant: str, seed: int) -> Run:
        """One run by its variant's name and seed."""
        config = self.study.compose(variant, seed, self.options)
        measuring = self.study.measuring.to_dict()
        if seed != self.study.seeds[0]:
            measuring["pictures"] = 0
        folder = self.out / variant / f"seed-{seed}"
        published = self.published.results.get((variant, seed))
        return Run(variant, seed, folder, config, config_hash(config), measuring, published)

    def untrained(self) -> Run:
        """The run that measures the baseline's model before training."""
        config = self.study.compose(self.study.baseline, 0, self.options)
        published = self.published.results.get((UNTRAINED, 0))
        measuring: dict[str, Any] = {"occlusions": [], "pictures": 0}
        return Run(UNTRAINED, 0, self.out / UNTRAINED, config, config_hash(config), measuring, published)

    def refuse_foreign(self) -> None:
        """Raise StudyError, with names, for published runs that this study doesn't have, or has with other settings."""
        runs = {(run.variant, run.seed): run for run in self.runs()}
        foreign = [
            f"{variant} seed {seed}"
            for (variant, seed), result in self.published.results.items()
            if (variant, seed) not in runs or not runs[variant, seed].fits(result)
        ]
        if foreign:
            raise StudyError(
                f"published runs must be those of {self.study.path.name} with its settings; these aren't: "
                f"{', '.join(foreign)}; leave --published out to run them here"
            )

    def refuse_idle(self) -> None:
        """Raise StudyError, with names, for variants that train as the baseline does: they would compare nothing.

        A key that begins with ``_`` is a helper of the config's file, and doesn't count.
        """
        found = {name: self.study.compose(name, 0, self.options).to_dict() for name in self.study.variants}
        read = {name: {k: v for k, v in config.items() if not k.startswith("_")} for name, config in found.items()}
        baseline = self.study.baseline
        idle = [name for name in read if name != baseline and read[name] == read[baseline]]
        if idle:
            raise StudyError(
                f"variants must differ from the baseline, {baseline!r}; the configs of these are equal to its: "
                f"{', '.join(idle)}; give each a config or options that change something, or remove it"
            )

    def refuse_stale(self, runs: list[Run], redo: bool) -> None:
        """Remove the runs that were begun with another config if ``redo``, else raise.

        Raises:
            StudyError: names them.
        """
        stale = [run for run in runs if run.made_with() not in (None, run.hash)]
        if stale and not redo:
            names = ", ".join(run.name for run in stale)
            raise StudyError(f"made with other settings than these: {names}; give --redo to make them anew")
        for run in stale:
            with run.locked():
                run.clear()
