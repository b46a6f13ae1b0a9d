"""Builds the compiled host backend into the wheel; without a C compiler the wheel is a pure one.

``CUTMIX_DENSE_BACKEND=native`` fails where the library can't be built, ``reference`` builds a pure wheel anyway.
"""

from __future__ import annotations

import os
import sysconfig
from importlib import util
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeHook(BuildHookInterface):
    """Compiles the library before a wheel, editable or not, is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say in the wheel's tag what it runs on."""
        wanted = os.environ.get("CUTMIX_DENSE_BACKEND", "")
        if wanted == "reference":
            return
        path = Path(self.root, "cutmix_dense", "native", "build.py")
        spec = util.spec_from_file_location("native_build", path)
        assert spec is not None
        assert spec.loader is not None
        native = util.module_from_spec(spec)
        spec.loader.exec_module(native)
        problem = native.build()
        if problem and wanted == "native":
            raise RuntimeError(f"the compiled backend can't be built: {problem}")
        self.app.display_info(f"host backend: {'reference, ' + problem if problem else 'native'}")
        if not problem:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
            build_data["artifacts"].append(f"/{native.LIBRARY.relative_to(self.root).as_posix()}")
