"""A Lightning callback that mixes every training batch, once it is on its device."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cutmix_dense import huggingface
from cutmix_dense.detr import is_nested, mix_batch
from cutmix_dense.extras import require
from cutmix_dense.randomness import generator_from
from cutmix_dense.switch import BY_HAND
from cutmix_dense.transforms import MixTransform

__all__ = ["Key", "MixCallback"]

_PADDING, _PADDED_IMAGES = "pixel_mask", "pixel_values"
_PADDED_TARGETS = ("labels", "mask_labels", "class_labels")
"""Keys of a padded batch as the image processors of transformers make it."""

Key = int | str
"""Place of an entry in a batch: an index of a sequence, or a key of a dict."""


def _lightning() -> Any:
    """The Lightning that the program uses: the one already imported, else the one installed."""
    names = ["lightning.pytorch", "pytorch_lightning"]  # two packages with the same content; their classes don't mix
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return import_module(name)
        except ImportError:
            continue
    return require("lightning.pytorch", "lightning")


if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Callback = _lightning().Callback


class MixCallback(Callback):
    """Mixes training batches after their transfer to the device; validation, test and prediction stay as they are.

    The mix comes after ``on_after_batch_transfer`` of the module or the data module, so every later hook, callbacks'
    ``on_train_batch_start`` included, sees the mixed batch. Each rank draws its own plans. What you close yourself, by
    ``mix.close()``, stays closed.

    ``last_seed`` is the seed (63 bits) of the latest batch: ``mix(images, targets, generator=
    torch.Generator().manual_seed(seed))`` repeats its plan. Log it as text, metrics are too coarse for it.

    A nested tensor with a padding mask, as RF-DETR and DETR have it, is mixed by ``detr.mix_batch``, and a dict with a
    ``pixel_mask``, as the image processors of transformers pad, by ``huggingface.mix_batch``: boxes are centres and
    sizes in shares of the image there, and ``mix`` needn't say so.

    Args:
        mix: the transform.
        by_epoch: whether the windows of a ``RandomMix`` or a recipe count epochs, from 0; False: optimizer steps
            (``trainer.global_step``), from 0. With manual optimization, every step of every optimizer counts.
        close_epochs: number of last epochs, of ``Trainer(max_epochs=…)``, without mixing, >= 0. Where ``max_steps``
            ends the training earlier, the last epoch is the one in which it does.
        close_steps: number of last optimizer steps, of ``Trainer(max_steps=…)`` or of all epochs, without mixing, >= 0;
            not together with ``close_epochs``. With manual optimization, they are counted back from ``max_steps``.
        images_key: where the images are in a batch: an index of a tuple or list, or a key of a dict. Images are a
            tensor, a list of tensors, or a nested tensor.
        targets_key: where the targets are; several places make a dict of targets, mixed by one plan. Class labels among
            them are named in the mix: ``MixCallback(cd.CutMix(label_keys=[2], num_classes=9), targets_key=(1, 2))``.
            None, or (): there are none, and images alone are mixed.
        keep_keys: further places that hold tensors, or lists of rows of numbers, and stay the base image's; others with
            such are refused.
        unpack: takes the images and the targets, or (images, targets, sizes), out of a batch of any other form.
        pack: makes the new batch of (batch, mixed images, mixed targets); together with ``unpack``.
        generator: on the CPU, where one number per batch is drawn from; checkpoints keep its state, so that a resumed
            training goes on with the same plans. Default torch's global one, which ``seed_everything`` seeds and
            Lightning's checkpoints leave out. Ranks may be seeded alike.
        name: names the callback's state in checkpoints, where several have a mix of one class and the same keys.

    Raises:
        ImportError: Lightning isn't installed.
        TypeError: ``mix`` isn't a mixing transform; ``generator`` isn't a generator; a number that isn't an integer.
        ValueError: an argument out of its range or at odds with another; a ``RandomMix`` with a schedule of its own;
            ``by_epoch=False`` for a mix without windows.
    """

    def __init__(
        self,
        mix: MixTransform,
        *,
        by_epoch: bool = True,
        close_epochs: int = 0,
        close_steps: int = 0,
        images_key: Key = 0,
        targets_key: Key | Sequence[Key] | None = 1,
        keep_keys: Sequence[Key] = (),
        unpack: Callable[[Any], tuple[Any, ...]] | None = None,
        pack: Callable[[Any, Any, Any], Any] | None = None,
        generator: torch.Generator | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        if not isinstance(mix, MixTransform):
            raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
        if mix.close_last:
            raise ValueError("mix has a schedule of its own, close_last: set close_epochs or close_steps here instead")
        if not by_epoch and not mix.scheduled:
            raise ValueError(
                "by_epoch=False says that windows count optimizer steps, and mix has none: leave it out, or give a "
                "recipe or a RandomMix(windows=[…])"
            )
        if any(not isinstance(number, int) for number in (close_epochs, close_steps)):
            raise TypeError(f"close_epochs and close_steps must be integers, got {close_epochs!r} and {close_steps!r}")
        if close_epochs < 0 or close_steps < 0 or (close_epochs and close_steps):
            raise ValueError(
                f"close_epochs and close_steps must be at least 0, and one of them 0, got {close_epochs!r} and "
                f"{close_steps!r}"
            )
        if images_key in _names(targets_key):
            raise ValueError(f"targets_key must name another place than images_key, got {images_key!r} in both")
        if (unpack is None) != (pack is None):
            raise ValueError("unpack and pack belong together: give both or none")
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"generator must be a torch.Generator, got {type(generator).__name__}")
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}")
        if generator is not None and generator.device.type != "cpu":
            raise ValueError(f"generator must be on the CPU, got one on {generator.device}")
        self.mix = mix
        self.by_epoch = by_epoch
        self.close_epochs = close_epochs
        self.close_steps = close_steps
        self.images_key = images_key
        self.targets_key = targets_key if isinstance(targets_key, (int, str)) else _names(targets_key)
        self.keep_keys = _names(keep_keys)
        self.unpack = unpack
        self.pack = pack
        self.generator = generator
        self.name = name
        self.last_seed: int | None = None
        self._strategy: Any = None
        self._arrived = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take our place behind the transfer of batches."""
        if stage != "fit":
            return
        # No hook of a callback can replace a batch. Wrapping the strategy's one method leaves module and data module
        # alone, whichever of the two has the hooks; as it isn't pickled or copied, neither is the wrapper.
        self._restore()
        self._strategy = trainer.strategy
        transfer = trainer.strategy.batch_to_device

        def transfer_and_mix(*args: Any, **kwargs: Any) -> Any:
            batch = transfer(*args, **kwargs)
            return self._mix_batch(trainer, batch) if trainer.training else batch

        self._strategy.batch_to_device = transfer_and_mix

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the transfer as it was."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the transfer as it was: Lightning doesn't call ``teardown`` then."""
        self._restore()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what would fail, or pass unmixed, later.

        Raises:
            ValueError: a schedule without an end to count from; several training dataloaders.
        """
        self._is_closed(trainer)
        loaders: Any = trainer.train_dataloader
        if self.unpack is None and isinstance(loaders, (Mapping, list, tuple)):
            raise ValueError(
                f"one training dataloader is needed, got a {type(loaders).__name__} of {len(loaders)}: give unpack and "
                "pack to say which part of the batch is mixed"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say which epoch begins to a mix whose windows count epochs: a ``RandomMix``, a recipe."""
        if self.by_epoch and self.mix.scheduled:
            self.mix.set_progress(trainer.current_epoch)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Make sure that the batch has come through our hands.

        Raises:
            RuntimeError: it hasn't, as with a ``training_step`` that takes ``dataloader_iter``.
        """
        if not self._arrived:
            raise RuntimeError(
                "the batch was not moved by the strategy's batch_to_device, so it isn't mixed; a training_step that "
                "takes dataloader_iter must call the mix itself"
            )
        self._arrived = False

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: the mix (its bank, whether the user closed it) and the own generator."""
        generator = None if self.generator is None else self.generator.get_state()
        state = dict(self.mix.state_dict())
        for key, value in state.items():
            if isinstance(value, dict) and "closed" in value:  # a schedule says so again after a resume, and another
                state[key] = {**value, "closed": value["closed"] == BY_HAND}  # training shall not find it closed
        return {"mix": state, "generator": generator}

    @property
    def state_key(self) -> str:
        """Name of its state in a checkpoint, so that several callbacks get along.

        It has nothing of the settings, which may be tuned before a resume or print differently in every process.
        """
        kinds = [type(member).__name__ for member in (self.mix, *self.mix.members)]
        places = {"images_key": self.images_key, "targets_key": self.targets_key}
        return self._generate_state_key(name=self.name, mix=", ".join(dict.fromkeys(kinds)), **places)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` gave; a bank's samples move to the device that is trained on."""
        state = state_dict["mix"]
        if self._strategy is not None:  # checkpoints are loaded to the CPU, where samples find no batch to join
            state = _to_device(state, self._strategy.root_device)
        self.mix.load_state_dict(state)
        if self.generator is not None and state_dict["generator"] is not None:
            self.generator.set_state(state_dict["generator"].cpu())

    def _restore(self) -> None:
        if self._strategy is not None:
            vars(self._strategy).pop("batch_to_device", None)  # the class's own shows again
            self._strategy = None
        self.mix.close(False, by_schedule=True)

    def _mix_batch(self, trainer: Trainer, batch: Any) -> Any:
        drawn = torch.randint(2**63 - 1, (), generator=self.generator, device="cpu")
        generator = generator_from("lightning", int(drawn), trainer.global_rank)  # ranks are seeded alike
        self.last_seed = generator.initial_seed()
        if not self.by_epoch:
            self.mix.set_progress(trainer.global_step)
        if self.close_epochs or self.close_steps:
            self.mix.close(self._is_closed(trainer), by_schedule=True)
        self._arrived = True
        if self.unpack is None and self._is_of_transformers(batch):
            self._check_padded(batch)
            keep = [key for key in self.keep_keys if isinstance(key, str)]
            return huggingface.mix_batch(batch, self.mix, soft_labels=True, keep_keys=keep, generator=generator)
        images, targets, *sizes = self._take(batch) if self.unpack is None else self.unpack(batch)
        if is_nested(images):
            if sizes:
                raise ValueError("unpack must return no sizes beside a nested tensor, whose mask tells them")
            images, targets = mix_batch(images, targets, self.mix, generator=generator)
        else:
            images, targets = self.mix(images, targets, sizes=sizes[0] if sizes else None, generator=generator)
        return self._put(batch, images, targets) if self.pack is None else self.pack(batch, images, targets)

    def _is_of_transformers(self, batch: Any) -> bool:
        """Whether it is a padded batch of transformers' processors; a map of that name may be a target."""
        return isinstance(batch, MutableMapping) and _PADDING in batch and _PADDING not in _names(self.targets_key)

    def _check_padded(self, batch: Mapping[Any, Any]) -> None:
        """Raise ValueError for a ``pixel_mask`` beside other keys than transformers' models read with one."""
        given = {*_names(self.targets_key)}
        if self.images_key != _PADDED_IMAGES or given != {key for key in _PADDED_TARGETS if key in batch}:
            raise ValueError(
                f"{_PADDING!r} says which part of a padded image is picture, and is read beside {_PADDED_IMAGES!r} and "
                f"all of {_PADDED_TARGETS} that the batch holds; got images_key={self.images_key!r} and "
                f"targets_key={self.targets_key!r} for {[*batch]}: name those, or let unpack return (images, targets, "
                "sizes)"
            )

    def _is_closed(self, trainer: Trainer) -> bool:
        if self.close_epochs:
            return trainer.current_epoch >= _last_epoch(trainer) - self.close_epochs
        if self.close_steps:
            return trainer.global_step >= _last_step(trainer) - self.close_steps
        return False

    def _take(self, batch: Any) -> tuple[Any, Any]:
        """Images and targets of a batch, by their keys; nothing else in it may need mixing."""
        if isinstance(batch, MutableMapping):
            entries: dict[Any, Any] = dict(batch)
        elif isinstance(batch, (list, tuple)):
            entries = dict(enumerate(batch))
        else:
            raise TypeError(f"the batch must be a tuple, list or dict, or give unpack, got {type(batch).__name__}")
        wanted = _names(self.targets_key)
        missing = [key for key in (self.images_key, *wanted) if key not in entries]
        if missing:
            raise ValueError(f"the batch has no {missing}, only {list(entries)}: name images_key and targets_key")
        others = entries.keys() - {self.images_key, *wanted, *self.keep_keys}
        unmixed = [key for key in entries if key in others and _holds_tensors(entries[key])]
        images = entries[self.images_key]
        if per_pixel := [key for key in unmixed if _is_per_pixel(entries[key], images)]:
            raise ValueError(
                f"the batch holds tensors per pixel in {per_pixel} that would stay unmixed: name them in targets_key; "
                "or, if they say which part of a padded image is picture, let unpack return (images, targets, sizes)"
            )
        if unmixed:
            raise ValueError(
                f"the batch holds rows of numbers or tensors in {unmixed} that would stay unmixed: name them in "
                "targets_key, or in keep_keys if they stay the base image's"
            )
        single = isinstance(self.targets_key, (int, str))
        return entries[self.images_key], entries[wanted[0]] if single else {key: entries[key] for key in wanted}

    def _put(self, batch: Any, images: Any, targets: Any) -> Any:
        """A copy of the batch, of the same class, with other images and targets."""
        single = isinstance(self.targets_key, (int, str))
        entries = {self.images_key: images, **({self.targets_key: targets} if single else targets)}
        if isinstance(batch, MutableMapping):
            mixed = copy.copy(batch)
            mixed.update(entries)
            return mixed
        values = [entries.get(index, value) for index, value in enumerate(batch)]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)


def _last_epoch(trainer: Trainer) -> int:
    """The number of epochs that a training has, by the first of its two bounds.

    Raises:
        ValueError: it has no bound of epochs, or one of steps that may come first and can't be told in epochs.
    """
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if epochs is None or epochs < 0:
        raise ValueError(f"close_epochs needs Trainer(max_epochs=…), got {epochs}; or count in close_steps")
    if steps < 0:
        return epochs
    each, unknown = _steps_of_epoch(trainer)
    if unknown:
        raise ValueError(
            f"close_epochs needs Trainer(max_epochs=…) alone, got max_steps={steps} beside it and {unknown}, so that "
            "nothing says which epoch is the last: leave max_steps out"
        )
    return min(epochs, math.ceil(steps / max(each, 1)))


def _last_step(trainer: Trainer) -> int:
    """The number of optimizer steps that a training has, by the first of its two bounds.

    Raises:
        ValueError: it has none, or one of epochs whose steps can't be told.
    """
    epochs, steps = trainer.max_epochs, trainer.max_steps
    if epochs is None or epochs < 0:
        if steps < 0:
            raise ValueError(f"close_steps needs Trainer(max_steps=…) or (max_epochs=…), got {steps} and {epochs}")
        return steps
    each, unknown = _steps_of_epoch(trainer)
    if unknown:
        raise ValueError(
            f"close_steps needs Trainer(max_steps=…, max_epochs=-1) here, got max_epochs={epochs} and {unknown}, so "
            "that nothing says which step is the last; or count in close_epochs"
        )
    return each * epochs if steps < 0 else min(each * epochs, steps)


def _steps_of_epoch(trainer: Trainer) -> tuple[int, str]:
    """Optimizer steps of every epoch, as ``trainer.global_step`` counts them; and why nobody knows them, or ""."""
    batches = trainer.num_training_batches
    if not trainer.lightning_module.automatic_optimization:
        return 0, "manual optimization, where every step of every optimizer counts"
    if batches == math.inf:
        return 0, "a training loader of unknown length"
    callbacks: list[Any] = getattr(trainer, "callbacks", [])
    if any(len({*getattr(each, "scheduling", {}).values()}) > 1 for each in callbacks):
        return 0, "a GradientAccumulationScheduler"
    return math.ceil(batches / trainer.accumulate_grad_batches), ""


def _names(keys: Key | Sequence[Key] | None) -> tuple[Key, ...]:
    return (keys,) if isinstance(keys, (int, str)) else tuple(keys or ())


def _is_per_pixel(value: Any, images: Any) -> bool:
    """Whether it has the size of the images, as maps and padding masks have."""
    images = images.tensors if is_nested(images) else images
    tensors = isinstance(value, Tensor) and isinstance(images, Tensor)
    return tensors and value.ndim > 2 and value.shape[-2:] == images.shape[-2:]


def _holds_tensors(value: Any, lists: int = 0) -> bool:
    """Whether there are tensors in it, or lists of rows of numbers per image, as boxes are in plain Python."""
    if isinstance(value, Mapping):
        return any(_holds_tensors(entry, lists) for entry in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(entry, lists + 1) for entry in value)
    if isinstance(value, (int, float)):
        return lists > 2
    return isinstance(value, Tensor) or hasattr(value, "__array__") or is_nested(value)


def _to_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Mapping):
        return {key: _to_device(entry, device) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_to_device(entry, device) for entry in value)
    return value.to(device) if isinstance(value, Tensor) else value
