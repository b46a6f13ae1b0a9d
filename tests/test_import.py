"""Importing the package needs torch and torchvision and nothing optional."""

from __future__ import annotations

import subprocess
import sys

OPTIONAL = (
    "albumentations",
    "mmengine",
    "cv2",
    "pycocotools",
    "rich",
    "lightning",
    "triton",
    "scipy",
    "monai",
    "nibabel",
)
SOMETIMES = (*OPTIONAL, "PIL.ImageDraw")  # torchvision brings the rest of Pillow


def test_nothing_optional_is_imported():
    code = (
        "import sys, torch, torchvision.transforms.v2, torchvision.tv_tensors\n"
        "before = set(sys.modules)\n"
        "import cutmix_dense\n"
        f"print([name for name in {SOMETIMES!r} if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_imports_where_nothing_optional_is_installed():
    code = (
        "import sys\n"
        f"for name in {OPTIONAL!r}:\n"
        "    sys.modules[name] = None\n"
        "import cutmix_dense, torch\n"
        "print(cutmix_dense.CutMix(p=1.0)(torch.rand(2, 3, 8, 9)).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "torch.Size([2, 3, 8, 9])"


def test_a_first_method_loads_few_modules_and_little_of_others():
    """Import time counted in modules: beyond torch and torchvision, jaxtyping and what is Python's and numpy's."""
    code = (
        "import sys, torch, torchvision.transforms.v2, torchvision.tv_tensors\n"
        "before = set(sys.modules)\n"
        "import cutmix_dense\n"
        "cutmix_dense.CutMix\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    ours = [name for name in loaded if name.split(".")[0] == "cutmix_dense"]
    others = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names
    assert others <= {"cutmix_dense", "jaxtyping", "numpy", "typeguard"}
    assert len(ours) <= 140
    unused = ("albumentations", "cli", "data", "evaluation", "mmengine", "study", "training", "visualization")
    assert not [name for name in ours if name.split(".")[1:2] and name.split(".")[1] in unused]
