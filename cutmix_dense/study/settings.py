"""What a study is: its config file, its variants and seeds, and the training config of each run."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from cutmix_dense.extras import require
from cutmix_dense.study.budget import refuse_early_stop
from cutmix_dense.study.occlusion import Occlusion, OcclusionKind
from cutmix_dense.study.plan import Plan, plan_from
from cutmix_dense.study.reliability import Better, reliability_from
from cutmix_dense.study.shifts import Shift, shifts_from

_ROOT_KEYS = frozenset({"data_root", "root"})


class StudyError(ValueError):
    """A study that can't be run as it is written, or runs on disk that don't belong to it; says what to mend."""


@dataclass(frozen=True)
class Variant:
    """One arm of a study: a training config and what is changed in it.

    Attributes:
        name: of the arm, and of its folder.
        config: training config, an MMEngine file.
        options: changes to it, dotted keys as in ``--cfg-options``; a dict with a ``type`` takes the place of what is
            there, so that no setting of another type stays behind.
        note: a few words for the report.
    """

    name: str
    config: Path
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Measuring:
    """How a final checkpoint is evaluated beside its plain validation.

    Attributes:
        occlusions: conditions of the robustness table; none leaves it out.
        pictures: number of validation images whose predictions are kept for the comparison picture.
        score: least score of the boxes drawn there.
        shifts: conditions of the table of shifted sets; none leaves it out.
    """

    occlusions: tuple[Occlusion, ...] = ()
    pictures: int = 0
    score: float = 0.5
    shifts: tuple[Shift, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which the measuring process reads."""
        plain = {"occlusions": [dict(vars(o)) for o in self.occlusions], "pictures": self.pictures}
        # not an empty list: results measured without any stay valid
        return plain | ({"shifts": [dict(vars(s)) for s in self.shifts]} if self.shifts else {})


@dataclass(frozen=True)
class Study:
    """Variants × seeds × budget.

    Attributes:
        name: of the config file.
        path: the config file.
        title: heading of the report.
        metric: name of the main metric in the validation log, higher is better, in percent.
        per_class: beginning of the names of its per-class values; empty for none.
        baseline: the variant that the others are compared with.
        variants: by name, in the order of the tables.
        seeds: of ``randomness.seed``.
        options: changes to every variant's config.
        data_keys: where a training config holds the data's folder, for ``--data-root``.
        measuring: robustness and pictures.
        budget: the budget in words.
        notes: paragraphs for the report.
        publish_pixels: whether pictures of the data may leave the output folder.
        plan: what was decided before the first run; None for a study without one.
        reliability: metrics of the table beside the main one, and whether lower or higher values are better.
    """

    name: str
    path: Path
    title: str
    metric: str
    baseline: str
    variants: dict[str, Variant]
    seeds: tuple[int, ...]
    per_class: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    data_keys: tuple[str, ...] = ()
    measuring: Measuring = Measuring()
    budget: str = ""
    notes: tuple[str, ...] = ()
    publish_pixels: bool = False
    plan: Plan | None = None
    reliability: dict[str, Better] = field(default_factory=dict)

    def compose(self, variant: str, seed: int, extra: Mapping[str, Any] | None = None) -> Any:
        """The training config of one run.

        Args:
            variant: its name.
            seed: set as ``randomness.seed``.
            extra: changes from the command line, made last.

        Returns:
            An ``mmengine.Config``: the variant's file, the study's options, the variant's, ``extra``.

        Raises:
            StudyError: a file that isn't there, an option that doesn't fit it or that nothing reads, a hook that ends
                trainings early.
        """
        config_class = require("mmengine", "train").Config
        from cutmix_dense.training.config_keys import check_key

        arm = self.variants[variant]
        if not arm.config.is_file():
            raise StudyError(f"variants.{variant}.config: there is no file {arm.config}")
        config = config_class.fromfile(str(arm.config), import_custom_modules=False)
        for changes in (self.options, arm.options, extra or {}, {"randomness.seed": seed}):
            for key, value in changes.items():
                try:
                    check_key(config, key)
                    _change(config, key, json.loads(json.dumps(value)))
                except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
                    raise StudyError(f"variants.{variant}: {key} doesn't fit {arm.config.name}: {error}") from error
        try:
            refuse_early_stop(config)
        except ValueError as error:
            raise StudyError(f"variants.{variant}: {error}") from error
        return config

    def data_options(self, root: str | Path | None) -> dict[str, Any]:
        """Changes that set the data's folder, for ``--data-root``.

        Raises:
            StudyError: a folder was given, but the study doesn't say which keys hold it.
        """
        if root is None:
            return {}
        if not self.data_keys:
            raise StudyError(f"--data-root: {self.path.name} names no data_keys, use --cfg-options")
        return {key: str(root) for key in self.data_keys}


def _change(config: Any, key: str, value: Any) -> None:
    if not (isinstance(value, Mapping) and "type" in value):
        config.merge_from_dict({key: value}, allow_list_keys=True)
        return
    *path, last = key.split(".")
    parent = config
    for step in path:
        parent = parent[int(step)] if isinstance(parent, list) else parent.setdefault(step, {})
    parent[int(last) if isinstance(parent, list) else last] = value


def config_hash(config: Any) -> str:
    """Hash of what a run depends on: every value of its config; of the data's folders the last name only.

    Runs may so go on, and be compared, where the data lies elsewhere.
    """
    return hashlib.sha256(json.dumps(_portable(config.to_dict()), sort_keys=True).encode()).hexdigest()[:16]


def _portable(value: Any, key: str = "") -> Any:
    if isinstance(value, Mapping):
        return {str(name): _portable(item, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(item) for item in value]
    if key in _ROOT_KEYS and isinstance(value, str):
        return Path(value).name
    return value if isinstance(value, (bool, int, float, str, type(None))) else repr(value)


# --------------------------------------------------------------------------------------------------------- config files

_KNOWN = {
    "title": str,
    "metric": str,
    "per_class": str,
    "baseline": str,
    "config": str,
    "variants": Mapping,
    "seeds": Sequence,
    "options": Mapping,
    "data_keys": Sequence,
    "robustness": Mapping,
    "pictures": Mapping,
    "budget": str,
    "notes": Sequence,
    "publish_pixels": bool,
    "plan": Mapping,
    "reliability": Mapping,
    "shifts": Mapping,
}


def load_study(path: str | Path) -> Study:
    """Read a study's config file.

    Args:
        path: an MMEngine config with ``title``, ``metric``, ``baseline``, ``variants`` (name → ``dict(config=,
            options=, note=)``, the config relative to this file; a ``config`` beside ``variants`` is the default),
            ``seeds``, and optionally ``per_class``, ``options``, ``data_keys``, ``robustness`` (``dict(centre=(0.1, …),
            boundary=(…), fill=114)``), ``pictures`` (``dict(count=, score=)``), ``budget``, ``notes``,
            ``publish_pixels``, ``plan`` (the fields of ``Plan``), ``reliability`` (metric → ``"lower"`` or
            ``"higher"``, which is better), ``shifts`` (``dict(fog=(0.3, …), noise=(…), blur=(…))``).

    Raises:
        StudyError: something is missing, unknown or of a wrong kind; named.
    """
    file = Path(path)
    if not file.is_file():
        raise StudyError(f"there is no study {file}")
    loaded = require("mmengine", "train").Config.fromfile(str(file), import_custom_modules=False).to_dict()
    for key, value in loaded.items():
        if key.startswith("_"):  # the file's own helpers
            continue
        if key not in _KNOWN:
            near = difflib.get_close_matches(key, _KNOWN, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise StudyError(f"{file.name}: unknown key {key!r}{hint} (known: {', '.join(_KNOWN)})")
        if not (isinstance(value, _KNOWN[key]) or (value is None and key in ("robustness", "pictures"))):
            raise StudyError(f"{file.name}: {key} must be a {_KNOWN[key].__name__.lower()}, got {value!r}")
    missing = [key for key in ("title", "metric", "baseline", "variants", "seeds") if not loaded.get(key)]
    if missing:
        raise StudyError(f"{file.name}: {', '.join(missing)} must be given")
    variants = {name: _variant(file, name, given, loaded.get("config")) for name, given in loaded["variants"].items()}
    if loaded["baseline"] not in variants:
        raise StudyError(f"{file.name}: baseline must be one of {', '.join(variants)}, got {loaded['baseline']!r}")
    seeds = tuple(loaded["seeds"])
    if len(set(seeds)) < len(seeds) or not all(type(seed) is int and seed >= 0 for seed in seeds):
        raise StudyError(f"{file.name}: seeds must be different whole numbers of at least 0, got {seeds}")
    notes = loaded.get("notes", ())
    try:
        shifts, reliability = shifts_from(loaded.get("shifts", {})), reliability_from(loaded.get("reliability", {}))
    except ValueError as error:
        raise StudyError(f"{file.name}: {error}") from error
    return Study(
        name=file.stem,
        path=file,
        title=loaded["title"],
        metric=loaded["metric"],
        baseline=loaded["baseline"],
        variants=variants,
        seeds=seeds,
        per_class=loaded.get("per_class", ""),
        options=loaded.get("options", {}),
        data_keys=tuple(loaded.get("data_keys", ())),
        measuring=replace(_measuring(file, loaded.get("robustness"), loaded.get("pictures")), shifts=shifts),
        budget=loaded.get("budget", ""),
        notes=(notes,) if isinstance(notes, str) else tuple(notes),
        publish_pixels=loaded.get("publish_pixels", False),
        plan=_plan(file, loaded.get("plan"), tuple(variants), loaded["baseline"], len(seeds)),
        reliability=reliability,
    )


def _plan(
    file: Path, given: Mapping[str, Any] | None, variants: tuple[str, ...], baseline: str, seeds: int
) -> Plan | None:
    if given is None:
        return None
    try:
        return plan_from(given, variants, baseline, seeds)
    except ValueError as error:
        raise StudyError(f"{file.name}: {error}") from error


def _variant(file: Path, name: str, given: Any, default: str | None) -> Variant:
    if not name or any(letter in name for letter in "/\\ ") or name.startswith("."):
        raise StudyError(f"{file.name}: variants: {name!r} can't be the name of a folder")
    if not isinstance(given, Mapping) or set(given) - {"config", "options", "note"}:
        raise StudyError(f"{file.name}: variants.{name} must be a dict of config, options and note, got {given!r}")
    config = given.get("config", default)
    if config is None:
        raise StudyError(f"{file.name}: variants.{name} needs a config, or the study a default one")
    return Variant(name, (file.parent / config).resolve(), dict(given.get("options", {})), given.get("note", ""))


def _measuring(file: Path, robustness: Mapping[str, Any] | None, pictures: Mapping[str, Any] | None) -> Measuring:
    levels = dict(robustness or {})
    common = {key: levels.pop(key) for key in ("fill", "min_visibility") if key in levels}
    try:
        occlusions = tuple(
            Occlusion(kind, share, **common)
            for kind in get_args(OcclusionKind)
            for share in sorted(levels.pop(kind, ()))
        )
    except (TypeError, ValueError) as error:
        raise StudyError(f"{file.name}: robustness: {error}") from error
    if levels:
        raise StudyError(f"{file.name}: robustness knows centre, boundary, fill, min_visibility, got {sorted(levels)}")
    wanted = dict(pictures or {})
    count, score = wanted.pop("count", 0), wanted.pop("score", 0.5)
    if wanted:
        raise StudyError(f"{file.name}: pictures knows count and score, got {sorted(wanted)}")
    return Measuring(occlusions, count, score)
