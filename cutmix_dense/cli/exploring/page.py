"""The page: pictures, a method, its settings, and what comes of them. All of Gradio's wiring is here."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from cutmix_dense.build import from_config
from cutmix_dense.data import SampleError
from cutmix_dense.extras import require

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
require("gradio", "explore")

import gradio as gr  # noqa: E402

from cutmix_dense.cli.exploring import code  # noqa: E402
from cutmix_dense.cli.exploring.controls import Field, fields_for, settings_from  # noqa: E402
from cutmix_dense.cli.exploring.drawing import LAYERS, look  # noqa: E402
from cutmix_dense.cli.exploring.parameters import COMMON, common_of, config_of, methods, own_of, summary_of  # noqa: E402
from cutmix_dense.cli.exploring.sources import (  # noqa: E402
    FAILURES,
    SHOWN_LAYOUTS,
    Shelf,
    key_of,
    open_chosen,
    open_folder,
)
from cutmix_dense.cli.exploring.style import CSS, theme  # noqa: E402

TITLE = "Explore mixing augmentations"

_FOLDER, _OWN = "A folder with a data set …", "My own pictures …"
_FOUND = "detected"
_MOST_SEED = 999
_QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


class Explorer:
    """The page over some data sets.

    Args:
        shelf: the data sets that are open; those that a page opens are put there.
        ready: what to choose from at once: label and key on the shelf, which keeps them; the first one is shown.
        uploads: folder for copies of chosen pictures.
        start: the sample that is shown first.
        words: by key, further options that a data set was opened with on the command line.
    """

    def __init__(
        self,
        shelf: Shelf,
        ready: Mapping[str, str],
        uploads: Path,
        start: int = 0,
        words: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.shelf, self.ready, self.uploads, self.start = shelf, dict(ready), uploads, start
        self.words = dict(words or {})
        self.fields: list[Field] = []
        self.shared_groups: dict[str, Any] = {}
        self.blocks = self._blocks()
        self._snippets(
            {"type": methods()[0]}, next(iter(self.ready.values())), 0, 0
        )  # the adapters' frameworks load before anybody waits

    def launch(
        self, host: str = "127.0.0.1", port: int | None = None, *, browser: bool = False, block: bool = True
    ) -> str:
        """Serve the page; returns its address once it is served, or after Ctrl-C.

        Args:
            host: address to bind to; others than this machine's own let others look at its pictures.
            port: default the first free one from 7860 on.
            browser: open a browser.
            block: wait for Ctrl-C.

        Raises:
            OSError: the port is taken.
        """
        self.blocks.queue(default_concurrency_limit=1)
        _, address, _ = self.blocks.launch(
            server_name=host,
            server_port=port,
            inbrowser=browser,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            enable_monitoring=False,
            footer_links=[],
            run_history=False,
            theme=theme(),
            css=CSS,
        )
        if block:
            print(f"Explore at {address} (Ctrl-C ends it)", flush=True)
            self.blocks.block_thread()
        return str(address)

    # ------------------------------------------------------------------------------------------------------ the layout

    def _blocks(self) -> gr.Blocks:
        with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as blocks:
            first = next(iter(self.ready.values()))
            self.key = gr.State(first)
            self.opening = gr.State("")  # another one each time: the same folder may hold something else by now
            gr.HTML(
                f"<h1>{TITLE}</h1><p>Change any setting: one plan mixes picture, boxes, masks and maps again. The "
                "code to copy is below.</p>",
                elem_id="head",
            )
            with gr.Row(elem_id="layout"):
                with gr.Column(elem_id="settings"):
                    self._pictures(len(self.shelf.get(first)))
                    self._methods()
                    self._filter()
                with gr.Column(elem_id="show"):
                    self.problem = gr.HTML("", elem_id="problem")
                    with gr.Row(elem_id="pictures"):
                        self.mixed = gr.HTML("", elem_id="mixed")
                        self.sources = gr.HTML("", elem_id="sources")
                with gr.Column(elem_id="told"):
                    gr.HTML("<h2>What happened to each instance</h2>")
                    self.table = gr.HTML("", elem_id="instances")
                    gr.HTML("<h2>The same in code</h2>")
                    self._code()
            self._wire(blocks)
        return blocks

    def _pictures(self, count: int) -> None:
        gr.HTML("<h2>Pictures</h2>")
        self.choice = gr.Dropdown([*self.ready, _FOLDER, _OWN], value=next(iter(self.ready)), label="pictures")
        with gr.Column(visible=False) as self.folder_group:
            self.folder = gr.Textbox(label="folder", info="of a data set on this machine")
            with gr.Row():
                self.layout = gr.Dropdown([_FOUND, *SHOWN_LAYOUTS], value=_FOUND, label="layout", min_width=120)
                self.split = gr.Textbox(label="split", placeholder="train, or the only one", min_width=120)
            self.open = gr.Button("Open the folder", variant="primary", size="sm")
        with gr.Column(visible=False) as self.own_group:
            self.files = gr.File(
                label="pictures, COCO JSON",
                file_count="multiple",
                file_types=["image", ".json"],
                height=150,
            )
            gr.HTML(
                "<p class=help>Choose two or more pictures. For boxes and masks, also choose a COCO JSON (images, "
                "annotations, categories) that lists these file names.</p>"
            )
        self.index = gr.Slider(
            *(0, max(1, count - 1), self.start),
            step=1,
            label="sample",
            info="the base; the seed draws its partners",
            buttons=[],
        )
        with gr.Row():
            self.back = gr.Button("◀ Previous", size="sm", min_width=90)
            self.forth = gr.Button("Next ▶", size="sm", min_width=90)
        self.seed = gr.Slider(0, _MOST_SEED, 0, step=1, label="seed", info="for partners and plan", buttons=[])
        self.reseed = gr.Button("Another seed", size="sm")
        self.layers = gr.CheckboxGroup(list(LAYERS), value=list(LAYERS[:3]), label="drawn over the pictures")

    def _methods(self) -> None:
        gr.HTML("<h2>Method</h2>")
        names = methods()
        self.method = gr.Dropdown(names, value=names[0], label="method")
        self.about = gr.HTML(_about(names[0]))
        self.groups = []
        for name in names:
            with gr.Column(visible=name == names[0]) as group:
                self.fields += fields_for(name, own_of(name))
            self.groups.append(group)
        shared = {parameter.name: parameter for parameter in common_of(names[0])}
        self.fields += fields_for(COMMON, [shared["p"]])

    def _filter(self) -> None:
        shared = {parameter.name: parameter for parameter in common_of(methods()[0]) if parameter.name != "p"}
        first = ("min_visibility", "min_size", "on_filtered", "rule", "boxes_from")
        gr.HTML("<h2>What is kept</h2>")
        self.fields += fields_for(COMMON, [shared[name] for name in first])
        with gr.Accordion("More settings", open=False):
            for name, parameter in shared.items():
                if name not in first:
                    with gr.Column() as group:
                        self.fields += fields_for(COMMON, [parameter])
                    self.shared_groups[name] = group

    def _code(self) -> None:
        self.code: list[Any] = []
        with gr.Tabs():
            for title, language in (
                ("torch", "python"),
                ("Albumentations", "python"),
                ("MMEngine", "python"),
                ("command line", "shell"),
            ):
                with gr.Tab(title):
                    note = gr.HTML("")
                    lines = gr.Code(
                        language=language,  # type: ignore[arg-type]
                        label=title,
                        interactive=False,
                        show_line_numbers=False,
                        wrap_lines=True,
                        buttons=["copy"],
                    )
                self.code += [lines, note]

    # ------------------------------------------------------------------------------------------------------ the events

    def _wire(self, blocks: gr.Blocks) -> None:
        controls = [control for field in self.fields for control in field.controls]
        inputs = [self.key, self.index, self.seed, self.method, self.layers, *controls]
        outputs = [self.problem, self.mixed, self.sources, self.table, *self.code]
        # one listener for all of them: while it works the latest change waits, all between are passed over
        gr.on(
            [blocks.load, *(control.change for control in (self.opening, *inputs[1:]))],
            self.draw,
            inputs,
            outputs,
            trigger_mode="always_last",
            concurrency_limit=1,
            **_QUIET,
        )
        groups = [self.about, *self.groups, *self.shared_groups.values()]
        self.method.change(self._chosen_method, self.method, groups, queue=False, **_QUIET)
        opened = [self.key, self.opening, self.index, self.problem]
        self.choice.change(self._chosen, self.choice, [self.folder_group, self.own_group, *opened], **_QUIET)
        folder = [self.folder, self.layout, self.split]
        gr.on([self.open.click, self.folder.submit, self.split.submit], self._open_folder, folder, opened, **_QUIET)
        self.files.change(self._open_files, self.files, opened, **_QUIET)
        for button, step in ((self.back, -1), (self.forth, 1)):
            button.click(self._step(step), [self.key, self.index], self.index, **_QUIET)
        self.reseed.click(None, None, self.seed, js=f"() => Math.floor(Math.random() * {_MOST_SEED + 1})", **_QUIET)

    def draw(self, key: str, index: int, seed: int, method: str, layers: Sequence[str], *values: Any) -> list[Any]:
        """What the page shows for its settings: problem, three pieces of HTML, and code with notes.

        What was refused leaves the pictures as they are, with the library's own message above them.
        """
        try:
            config = config_of(method, settings_from(self.fields, values))
            transform = from_config(config)
        except (TypeError, ValueError) as error:
            return [_problem(error), *[gr.skip()] * 3, *[f"# {error}", ""] * 4]
        try:
            dataset = self.shelf.get(key)
            index, seed = min(int(index or 0), len(dataset) - 1), int(seed or 0)
            snippets = self._snippets(config, key, index, seed)
            lines = [part for snippet in snippets for part in (snippet.text, _note(snippet.note))]
        except FAILURES as error:
            return [_problem(error), *[gr.skip()] * 11]
        try:
            seen = look(dataset, transform, index, seed, layers)
        except (*FAILURES, TypeError, ValueError, ImportError) as error:
            return [_problem(error), *[gr.skip()] * 3, *lines]
        return ["", seen.mixed, seen.sources, seen.table, *lines]

    def _snippets(self, config: dict[str, Any], key: str, index: int, seed: int) -> list[code.Snippet]:
        dataset = self.shelf.get(key)
        own = Path(dataset.root).is_relative_to(self.uploads)
        words = {} if own else {"layout": dataset.layout, "split": dataset.split, **self.words.get(key, {})}
        return [
            code.torch_code(config),
            code.albumentations_code(config, dataset.has_semantic),
            code.mmengine_code(config, dataset.has_semantic),
            code.command_line(config, "" if own else str(dataset.root), words, index, seed),
        ]

    def _chosen_method(self, name: str) -> list[Any]:
        own = {parameter.name for parameter in own_of(name)}  # what a method has of its own is set there alone
        shared = [gr.update(visible=each not in own) for each in self.shared_groups]
        return [_about(name), *(gr.update(visible=name == other) for other in methods()), *shared]

    def _chosen(self, choice: str) -> list[Any]:
        shown = [gr.update(visible=choice == _FOLDER), gr.update(visible=choice == _OWN)]
        if choice in (_FOLDER, _OWN):
            return [*shown, *[gr.skip()] * 4]
        try:
            return [*shown, *self._show(self.ready[choice])]
        except FAILURES as error:
            return [*shown, *_refused(error)]

    def _open_folder(self, folder: str, layout: str, split: str) -> list[Any]:
        try:
            dataset = open_folder(folder, None if layout == _FOUND else layout, split or None)
            return self._show(self.shelf.put(key_of(dataset), dataset))
        except FAILURES as error:
            return _refused(error)

    def _open_files(self, files: Sequence[str] | None) -> list[Any]:
        if not files:
            return [gr.skip()] * 4
        try:
            return self._show(self.shelf.put(secrets.token_hex(8), open_chosen(files, self.uploads)))
        except FAILURES as error:
            return _refused(error)

    def _show(self, key: str) -> list[Any]:
        """Another data set, from its first sample on."""
        count = len(self.shelf.get(key))
        return [key, secrets.token_hex(8), gr.update(value=0, maximum=max(1, count - 1)), ""]

    def _step(self, step: int) -> Any:
        def move(key: str, index: int) -> Any:
            try:
                return (int(index or 0) + step) % len(self.shelf.get(key))
            except FAILURES:
                return gr.skip()

        return move


def _about(method: str) -> str:
    return f"<p class=about>{escape(summary_of(method))}.</p>"


def _refused(error: Exception) -> list[Any]:
    """Nothing else was opened, and why."""
    return [*[gr.skip()] * 3, _problem(error)]


def _problem(error: Exception) -> str:
    words = error.reason if isinstance(error, SampleError) and error.reason else str(error)
    return (
        f"<div class=problem role=alert>{escape(words)}<small>The pictures below show what worked last.</small></div>"
    )


def _note(text: str) -> str:
    return f"<p class=note>{escape(text)}</p>" if text else ""
