"""Stand-ins for the two programs that a study starts: they take the same arguments and write the same files.

    python fakes.py train CONFIG --work-dir DIR --resume
    python fakes.py measure CONFIG SETTINGS OUT [--trained DIR]

The config's ``fake`` says what happens: ``values`` by seed, ``steps``, ``fail`` (a list of seeds), ``hold``: the
step after which a first start waits for a file ``go`` beside its steps (0: it doesn't).
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path

METRIC = "semantic/mIoU"


def value_of(config: dict) -> float:
    seed = config["randomness"]["seed"]
    return config["fake"]["base"] + [0.0, 1.5, -1.0, 0.25][seed] + config["fake"].get("gain", [0, 0, 0, 0])[seed]


def train(config: dict, work: Path) -> int:
    print("training with", config["fake"])
    if config["randomness"]["seed"] in config["fake"].get("fail", ()):
        print("Traceback: the loss is NaN", file=sys.stderr)
        return 3
    work.mkdir(parents=True, exist_ok=True)
    steps = work / "steps.txt"  # the steps that were made, and when a start began
    done = [line for line in steps.read_text().split() if line != "start"] if steps.is_file() else []
    log = work / f"2026_{len(list(work.glob('2026_*'))):04d}" / "vis_data" / "scalars.json"
    log.parent.mkdir(parents=True)
    with steps.open("a") as file, log.open("a") as scalars:
        print("start", file=file, flush=True)
        for step in range(len(done) + 1, config["fake"].get("steps", 3) + 1):
            scalars.write(json.dumps({"loss": 1 / step, "iter": step, "step": step}) + "\n")
            scalars.write(json.dumps({METRIC: value_of(config) * step / 3, "step": step}) + "\n")
            scalars.flush()
            print(step, file=file, flush=True)
            while not done and step == config["fake"].get("hold", 0) and not (work / "go").exists():
                time.sleep(0.01)
    return 0


def measure(config: dict, settings: dict, out: Path, trained: bool) -> int:
    value = value_of(config) if trained else config["fake"].get("untrained", 4.0)
    metrics = {
        METRIC: value,
        "semantic/IoU/sky": None if value is None else value + 10,
        "semantic/IoU/road": None if value is None else value - 10,
        "semantic/IoU/none": None,
    }
    occluded = [
        {"kind": given["kind"], "share": given["share"], "metrics": {METRIC: value * (1 - given["share"])}}
        for given in settings["occlusions"]
    ]
    versions = {"python": "3.12", "torch": "2.15.0"}
    record = {"metrics": metrics, "occlusion": occluded, "classes": ["road", "sky"], "versions": versions}
    if settings["pictures"]:
        import torch

        image = torch.zeros(3, 24, 32, dtype=torch.uint8)
        semantic = torch.zeros(24, 32, dtype=torch.uint8)
        sample = {"image": image, "target": {"semantic": semantic}, "prediction": {"semantic": semantic}}
        torch.save({"classes": ["road", "sky"], "samples": [sample]}, out.parent / "predictions.pt")
    out.write_text(json.dumps(record))
    return 0


def main() -> int:
    config = runpy.run_path(sys.argv[2])
    if sys.argv[1] == "train":
        assert sys.argv[3] == "--work-dir"
        assert sys.argv[5] == "--resume"
        return train(config, Path(sys.argv[4]))
    return measure(config, json.loads(Path(sys.argv[3]).read_text()), Path(sys.argv[4]), "--trained" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
