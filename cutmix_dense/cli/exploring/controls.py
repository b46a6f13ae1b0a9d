"""Gradio controls for the settings of a method: one group per method, sampler and sampler within a sampler."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from cutmix_dense.cli.exploring.parameters import Parameter, combine, own_of, summary_of


@dataclass(frozen=True)
class Field:
    """One argument and the controls that set it.

    Attributes:
        place: where its value lies among the settings, see ``parameters.config_of``.
        parameter: the argument.
        controls: in the order that ``parameters.combine`` takes their values.
    """

    place: str
    parameter: Parameter
    controls: tuple[Any, ...]


def fields_for(place: str, parameters: Iterable[Parameter]) -> list[Field]:
    """Make the controls of some arguments where Gradio stands now; those of samplers within are among them."""
    fields: list[Field] = []
    for parameter in parameters:
        controls = _MAKERS[parameter.kind](parameter)
        fields.append(Field(place, parameter, controls))
        if parameter.kind == "part":
            fields += _parts(place, parameter, controls[0])
    return fields


def settings_from(fields: Sequence[Field], values: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """The settings, from the values of all controls in the order of the fields.

    Raises:
        ValueError: a control is empty; names the argument.
    """
    settings: dict[str, dict[str, Any]] = {}
    rest = list(values)
    for field in fields:
        count = len(field.controls)
        raw, rest = rest[:count], rest[count:]
        settings.setdefault(field.place, {})[field.parameter.name] = combine(field.parameter, raw)
    return settings


def _parts(place: str, parameter: Parameter, choice: gr.Dropdown) -> list[Field]:
    """Groups for every sampler that an argument can be; the chosen one's is seen."""
    fields: list[Field] = []
    groups = []
    for name in parameter.choices:
        with gr.Column(visible=choice.value == name, elem_classes="part") as group:
            gr.HTML(_help(summary_of(name)))
            fields += fields_for(f"{place}.{parameter.name}.{name}", own_of(name))
        groups.append(group)

    def toggle(chosen: str) -> list[Any]:
        return [gr.update(visible=chosen == name) for name in parameter.choices]

    choice.change(toggle, choice, groups, queue=False, show_progress="hidden", api_visibility="private")
    return fields


def _help(text: str) -> str:
    return f"<p class=help>{escape(text)}</p>"


def _slider(parameter: Parameter, label: str, value: float, info: str | None) -> gr.Slider:
    low, high, step = parameter.range
    return gr.Slider(low, high, value, step=step, label=label, info=info, min_width=120, buttons=["reset"])


def _number(parameter: Parameter) -> tuple[Any, ...]:
    if not parameter.optional:
        return (_slider(parameter, parameter.name, parameter.start, parameter.help),)
    switch = _switch(parameter)
    with gr.Column(visible=switch.value) as group:
        slider = _slider(parameter, parameter.name, parameter.start, None)
    _reveal(switch, group)
    return switch, slider


def _pair(parameter: Parameter) -> tuple[Any, ...]:
    switch = _switch(parameter) if parameter.optional else None
    with gr.Column(visible=switch is None or switch.value) as group:
        helps = (parameter.help if switch is None else None, None)
        sliders = [
            _slider(parameter, f"{parameter.name}: {end}", value, info)
            for end, value, info in zip(parameter.ends, parameter.start, helps, strict=True)
        ]
    if switch is None:
        return tuple(sliders)
    _reveal(switch, group)
    return (switch, *sliders)


def _switch(parameter: Parameter) -> gr.Checkbox:
    """A switch: of a bool itself, or of whether an argument is set at all."""
    if parameter.kind == "switch":
        return gr.Checkbox(parameter.default, label=parameter.name, info=parameter.help)
    return gr.Checkbox(parameter.default is not None, label=f"set {parameter.name}", info=parameter.help)


def _reveal(switch: gr.Checkbox, group: gr.Column) -> None:
    switch.change(
        lambda on: gr.update(visible=on), switch, group, queue=False, show_progress="hidden", api_visibility="private"
    )


def _choice(parameter: Parameter) -> tuple[Any, ...]:
    names = [*(("none",) if parameter.optional else ()), *parameter.choices]
    default = parameter.default if parameter.kind == "choice" else type(parameter.default).__name__
    value = "none" if parameter.default is None else default
    return (gr.Dropdown(names, value=value, label=parameter.name, info=parameter.help),)


def _words(parameter: Parameter) -> tuple[Any, ...]:
    value = "" if parameter.default is None else str(parameter.default)
    if parameter.choices:
        words = list(parameter.choices)
        return (gr.Dropdown(words, value=value, label=parameter.name, info=parameter.help, allow_custom_value=True),)
    return (gr.Textbox(value, label=parameter.name, info=parameter.help, placeholder="None", submit_btn=False),)


_MAKERS = {
    "number": _number,
    "pair": _pair,
    "switch": lambda parameter: (_switch(parameter),),
    "choice": _choice,
    "words": _words,
    "part": _choice,
}
