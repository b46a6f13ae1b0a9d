"""Studies: variants × seeds of one training, run as resumable processes, and compared seed by seed.

``cutmix-dense study`` is the command line. A study is an MMEngine config (``configs/studies``), its runs are folders,
and its report is made from whatever runs are finished.
"""

from __future__ import annotations

from cutmix_dense.study.occlusion import Occlusion
from cutmix_dense.study.settings import Study, StudyError, load_study
from cutmix_dense.study.shifts import Shift
from cutmix_dense.study.statistics import Difference, Spread, paired_difference, spread

__all__ = [
    "Difference",
    "Occlusion",
    "Shift",
    "Spread",
    "Study",
    "StudyError",
    "load_study",
    "paired_difference",
    "spread",
]
