"""Settings of this package that nothing uses: an error before the training starts, with the reason and the remedy."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor
from mmengine.runner import Runner

from cutmix_dense.mmengine.batch import BatchMix
from cutmix_dense.mmengine.closing import Closable
from cutmix_dense.mmengine.cut_outs import check_resumed
from cutmix_dense.mmengine.hook import mixes_in_model
from cutmix_dense.mmengine.naming import PREFIX as _PREFIX
from cutmix_dense.mmengine.naming import is_batch_mix, type_of
from cutmix_dense.mmengine.replaced import find_mixes, parts_of
from cutmix_dense.mmengine.schedule import MixScheduleHook, scheduled_names
from cutmix_dense.mmengine.scope import HOOKS, MODELS, TRANSFORMS
from cutmix_dense.transforms import MixTransform

_READ_BY_RUNNER = set(inspect.signature(Runner.__init__).parameters)
"""The top keys of a config that mean something; all others are variables, which MMEngine keeps but never reads."""
_HOOKS = {"CloseMixHook": "close_mix", "MixScheduleHook": "mix_schedule", "WeighLossesHook": "weigh_losses"}
"""The hooks that a config names, and what the docs call them in ``default_hooks``."""
_HOOKS_OF_MMENGINE = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")
"""What ``default_hooks`` has without a config; None leaves one out."""


class UnusedSettingsError(ValueError):
    """A config has settings of this package that nothing uses; the message has their paths, reasons and remedies.

    Example:
        >>> raise UnusedSettingsError("train_dataloader.batch_size=1: a batch of one image has no partner")
        Traceback (most recent call last):
        cutmix_dense.mmengine.unused.UnusedSettingsError: train_dataloader.batch_size=1: a batch of one image has no ...
    """


@HOOKS.register_module()
class CheckMixHook(Hook):
    """Refuses settings of this package that nothing uses, before weights are loaded and anything is trained.

    Importing ``cutmix_dense.mmengine`` gives it to every ``Runner``; a config needn't name it.

    Raises:
        UnusedSettingsError: at the start of a training, with the path of each setting, why nothing uses it, and the
            remedy:

            - a top-level ``data_preprocessor`` beside a model that has its own: MMEngine takes the model's;
            - a variable (``train_pipeline``) that no dataloader and no hook has got, as happens where ``_base_`` had
              read its own before;
            - ``batch_augments`` that a preprocessor keeps as dicts and never builds, as MMSegmentation's own does;
            - mixes of batches of one image, which have no partner; for ``SemiMixDetector``, of one unlabelled image;
            - windows of a recipe or a ``RandomMix`` without ``MixScheduleHook``;
            - a mix of samples in one of several branches of ``MultiBranch``: the others show the same sample unmixed,
              and pseudo-labels go from branch to branch;
            - a training that is resumed with another bank of cut-outs than it began with.

    Example:
        >>> from mmengine.config import Config
        >>> from cutmix_dense.mmengine.unused import find_unused
        >>> model = {"type": "FCOS", "data_preprocessor": {"type": "DetDataPreprocessor"}}
        >>> config = Config({"model": model, "data_preprocessor": {"type": "cutmix_dense.DetDataPreprocessor"}})
        >>> len(find_unused(config))
        1
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Compare what the config says with what was built; a validation or a test alone isn't looked at."""
        if isinstance(runner._train_loop, (Mapping, type(None))):
            return
        mixes = _batch_mixes(runner)
        problems = find_unused(runner.cfg)
        problems += _unbuilt(runner.cfg, {type(mix).__name__ for mix in mixes})
        problems += _lonely(mixes, _own_preprocessors(runner), runner.train_dataloader)
        problems += _lonely_unlabelled(runner)
        if not any(isinstance(hook, MixScheduleHook) for hook in runner.hooks):
            problems += [
                f"{name} has windows, and nothing tells it which epoch or iteration begins: "
                f"write default_hooks = dict(mix_schedule=dict(type='{_PREFIX}MixScheduleHook'))"
                for name in dict.fromkeys(scheduled_names(runner))
            ]
        if problems:
            raise UnusedSettingsError(
                "the config has settings of cutmix_dense that nothing uses:\n- " + "\n- ".join(problems)
            )
        _check_branches(runner.train_dataloader.dataset)

    def before_train(self, runner: Any) -> None:
        """Note the banks of cut-outs for checkpoints; a resumed training needs those that it began with."""
        mixes: list[Any] = [*_batch_mixes(runner), *find_mixes(runner.train_dataloader.dataset)]
        check_resumed([member for mix in mixes for member in mix.mix.members], runner.message_hub, runner._resume)


def check_runners(check: type[Hook] = CheckMixHook) -> None:
    """Have every ``Runner`` that is made from now on check its config; a second call changes nothing.

    MMEngine has no place where a package that a config imports could add a hook of its own: so ``register_hooks`` adds
    it. It also takes None for any entry of ``default_hooks``, by which a config leaves out a hook of its ``_base_``;
    MMEngine takes it for its own six alone.

    Args:
        check: the class of the hook, which takes no arguments.
    """
    original = Runner.register_hooks
    checks = getattr(original, "checks", ())
    if check in checks:
        return

    @functools.wraps(original)
    def register_hooks(self: Any, default_hooks: Mapping[str, Any] | None = None, *args: Any, **settings: Any) -> None:
        original(self, _without_none(default_hooks), *args, **settings)
        if not any(isinstance(hook, check) for hook in self.hooks):
            self.register_hook(check())

    register_hooks.checks = (*checks, check)  # type: ignore[attr-defined]
    Runner.register_hooks = register_hooks


def _without_none(default_hooks: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The hooks of a config, but those of other names than MMEngine's that it leaves out."""
    if default_hooks is None:
        return None
    return {name: hook for name, hook in default_hooks.items() if hook is not None or name in _HOOKS_OF_MMENGINE}


@dataclass(frozen=True)
class _Setting:
    """A dict of this package in a config."""

    path: str
    value: Any
    name: str
    inner: tuple[str, ...]
    """The types of this package that it holds."""
    beside: tuple[str, ...]
    """The types of the list that it stands in; none where it stands alone."""

    @property
    def per_batch(self) -> bool | None:
        """Whether it mixes batches (True) or samples (False); None if its place doesn't say so."""
        key = self.path.partition(".")[0].partition("[")[0]
        if (
            key.endswith("_dataloader")
            or "pipeline" in self.path
            or {"max_cached_images", "partner_fit"} & {*self.value}
        ):
            return False
        if key == "model" or "preprocessor" in self.path or "augments" in self.path or self.name in _PREPROCESSORS:
            return True
        return None

    def is_same(self, other: _Setting) -> bool:
        """Whether it is what a variable says: equal, or with other numbers, which the command line may have changed."""
        if None not in (self.per_batch, other.per_batch) and self.per_batch != other.per_batch:
            return False
        alike = (self.name, self.inner) == (other.name, other.inner) and self.fits_beside(other)
        return alike or self.value == other.value

    def fits_beside(self, other: _Setting) -> bool:
        """Whether a list may have taken it in: its own list is part of the other's, or one of them has none."""
        count = len(self.beside)
        runs = (other.beside[start : start + count] for start in range(len(other.beside) - count + 1))
        return not self.beside or not other.beside or self.beside in runs


_PREPROCESSORS = ("cutmix_dense.DetDataPreprocessor", "cutmix_dense.SegDataPreProcessor")


def find_unused(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with the settings of this package that MMEngine's Runner never reads.

    A variable is used if what it holds of this package is found where the Runner reads, too: equal, or of the same type
    among the same types, with other numbers. What looks used by chance isn't noticed.

    Args:
        config: a whole config.

    Returns:
        One sentence or two for every such setting.
    """
    model = config.get("model")
    has_own = isinstance(model, Mapping) and "data_preprocessor" in model
    read = {
        key: config[key] for key in config if key in _READ_BY_RUNNER and not (key == "data_preprocessor" and has_own)
    }
    used = [setting for key, value in read.items() for setting in _settings(value, key)]
    problems = []
    for key in config:
        if key in read:
            continue
        for setting in _settings(config[key], key, nested=False):
            if not any(setting.is_same(other) for other in used):
                problems.append(f"{setting.path}, {setting.name}: {_reason(key, setting, model)}")
    return problems


def _reason(key: str, setting: _Setting, model: Any) -> str:
    off = f"If nothing is to be mixed there, remove it, or write {key} = None over an inherited one."
    if key == "data_preprocessor":
        own = type_of(model["data_preprocessor"]) or "another one"
        return (
            f"MMEngine takes a top-level data_preprocessor only for a model without one, and this model has {own}. "
            f"Write model = dict(data_preprocessor=dict(type='{_PREFIX}…', augments_before_normalize=[…])). {off}"
        )
    variable = f"{key!r} is a variable that no dataloader, model or hook has got (what _base_ made of its own stays)."
    if setting.name.removeprefix(_PREFIX) in _HOOKS:
        own = _HOOKS[setting.name.removeprefix(_PREFIX)]
        return f"{variable} Write default_hooks = dict({own}=dict(type='{setting.name}', …)). {off}"
    if setting.per_batch:
        return f"{variable} Write model = dict(data_preprocessor=…). {off}"
    return (
        f"{variable} Write train_dataloader = dict(dataset=dict(pipeline={key})), further dataset=dict(…) round it if "
        f"the dataset is wrapped. {off}"
    )


def _batch_mixes(runner: Any) -> list[BatchMix]:
    """Every method for a batch: of the data preprocessor, and what a semi-supervised detector holds."""
    found = (getattr(module, "batch_mix", module) for module in mixes_in_model(runner))
    return [mix for mix in found if isinstance(mix, BatchMix)]


def _unbuilt(config: Mapping[str, Any], built: set[str]) -> list[str]:
    """Mixes in a model's settings of which the model has none."""
    problems: list[str] = []
    mixes = [setting for setting in _settings(config.get("model"), "model") if is_batch_mix(setting.name)]
    for setting in mixes:
        name = setting.name.removeprefix(_PREFIX)
        is_part = any(setting.path.startswith(f"{outer.path}.") for outer in mixes)  # built by the one that holds it
        if name not in built and not is_part:
            problems.append(
                f"{setting.path}, {setting.name}: the model didn't build it. MMSegmentation's own preprocessor keeps "
                "batch_augments unbuilt: write data_preprocessor=dict(type='cutmix_dense.SegDataPreProcessor', …)"
            )
    return problems


def _own_preprocessors(runner: Any) -> list[Closable]:
    """Data preprocessors of this package that mix the batches of the loader themselves, as ``MixPreprocessor``."""
    found = mixes_in_model(runner)
    return [part for part in found if isinstance(part, BaseDataPreprocessor) and not isinstance(part, BatchMix)]


def _lonely(mixes: list[BatchMix], preprocessors: list[Closable], loader: Any) -> list[str]:
    """Mixes of batches that have one image each."""
    size = getattr(loader, "batch_size", None) or getattr(loader.batch_sampler, "batch_size", None)
    augments = [(type(part).__name__, part.mix) for part in mixes]
    held = [(type(part.mix).__name__, part.mix) for part in preprocessors]
    problems = []
    for named, elsewhere in ((augments, ", or mix per sample, in the pipeline"), (held, "")):
        names = sorted({_PREFIX + name for name, mix in named if _needs_partners(mix)})
        if size == 1 and names:
            problems.append(
                f"train_dataloader.batch_size=1: a batch of one image has no partner on its device, so "
                f"{', '.join(names)} never mixes. Write train_dataloader = dict(batch_size=2) or more{elsewhere}"
            )
    return problems


def _needs_partners(mix: MixTransform | None) -> bool:
    """Whether a mix does something, and nothing without partners; a ``Cutout`` in it works alone."""
    able = [] if mix is None else [member for member in mix.members if member.p > 0]
    return bool(able) and all(member.partners for member in able)


def _lonely_unlabelled(runner: Any) -> list[str]:
    """Mixes between a teacher and its student, of batches that have one unlabelled image each."""
    sampler: Any = getattr(runner.train_dataloader.batch_sampler, "sampler", None)
    shares = getattr(sampler, "num_per_source", ())  # of MMDetection's MultiSourceSampler and its kind
    parts = getattr(getattr(sampler, "dataset", None), "datasets", ())
    if sum(share for share, part in zip(shares, parts) if "unsup_student" in _branches_of(part)) != 1:
        return []
    given = f"batch_size={sampler.batch_size}, source_ratio={sampler.source_ratio}"
    mixers: list[Any] = [module for module in mixes_in_model(runner) if hasattr(module, "batch_mix")]
    return [
        f"{_PREFIX}{type(mixer).__name__} mixes the unlabelled images, of which train_dataloader.sampler takes one per "
        f"batch ({given}): it has no partner, so {_PREFIX}{type(mixer.batch_mix).__name__} never mixes. Write "
        "train_dataloader = dict(batch_size=3, sampler=dict(batch_size=3, source_ratio=[1, 2])), or larger numbers"
        for mixer in mixers
        if _needs_partners(mixer.mix)
    ]


def _branches_of(dataset: Any) -> set[str]:
    """The branches into which the pipelines of a dataset part."""
    return {name for part in parts_of(dataset) for name in getattr(part, "branch_pipelines", {})}


def _check_branches(dataset: Any) -> None:
    """Raise ValueError for a mix that one of several branches has to itself."""
    for part in parts_of(dataset):
        branches = getattr(part, "branch_pipelines", {})
        for name, pipeline in branches.items() if len(branches) > 1 else ():
            for mix in find_mixes(pipeline):
                raise ValueError(
                    f"the branch {name!r} of {type(part).__name__} holds {_PREFIX}{type(mix).__name__}, but "
                    f"{' and '.join(repr(other) for other in branches if other != name)} would show the same sample "
                    "unmixed, and pseudo-labels that go from one to the other would be wrong: put the mix before "
                    f"{type(part).__name__}, or into the pipeline of the labelled images"
                )


def _settings(value: Any, path: str, beside: tuple[str, ...] = (), *, nested: bool = True) -> Iterator[_Setting]:
    """The dicts of this package in a value; those within others only if ``nested``."""
    if isinstance(value, Mapping):
        name = type_of(value)
        ours = _is_ours(name)
        if ours:
            inner = tuple(sorted(one.name for key in value for one in _settings(value[key], key)))
            yield _Setting(path, value, name, inner, beside)
        if nested or not ours:
            for key in value:
                yield from _settings(value[key], f"{path}.{key}", nested=nested)
    elif isinstance(value, (list, tuple)):
        types = tuple(type_of(item) for item in value)
        for index, item in enumerate(value):
            yield from _settings(item, f"{path}[{index}]", types, nested=nested)


def _is_ours(name: str) -> bool:
    """Whether a type of this package mixes, runs mixes, or is a hook of theirs."""
    short = name.removeprefix(_PREFIX)
    if short == name:
        return False
    runs = short in MODELS.module_dict and short.lower().endswith("preprocessor")
    return runs or short in _HOOKS or short in TRANSFORMS.module_dict or is_batch_mix(name)
