"""Mixed copies made by Ray: the local run's bytes, and the local run's manners when something goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cutmix_dense as cd
from cutmix_dense.cli import mix as tool
from cutmix_dense.data import DatasetError, on_ray
from cutmix_dense.data.copy_work import Work
from cutmix_dense.data.errors import MixError
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import open_complete
from cutmix_dense.data.writers import CocoWriter

ray = pytest.importorskip("ray", reason="needs Ray: extra ray")
pytest.importorskip("ray.data", reason="needs Ray Data: extra ray")

REPOSITORY = Path(cd.__file__).parents[1]


@pytest.fixture(scope="module")
def running():
    """A Ray of two CPUs that was there before: what `--ray auto` finds on a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def copy_of(demo: Path, layout: str, place: Path, transform=None, **settings):
    settings = {"seed": 4, "copies": 2, **settings}
    return mix_dataset(open_complete(demo / layout, layout), place, transform or cd.CutMix(p=1.0), **settings)


# These come before the first use of `running`: they begin a Ray of their own.


def test_the_command_line_writes_the_same_bytes_and_names_what_is_broken(demo, tmp_path, hashes, capfd, monkeypatch):
    root = tmp_path / "coco"
    shutil.copytree(demo / "coco", root)
    first = open_complete(root, "coco").image_path(3)
    first.write_bytes(first.read_bytes()[:700])
    on_term = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)  # relative paths mean the same to the workers
    arguments = ["--copies", "3", "--with-originals"]
    assert tool.main(["coco", "here/copy", *arguments, "--workers", "0"]) == 0
    here = capfd.readouterr()
    assert tool.main(["coco", "ray/copy", *arguments, "--workers", "2", "--ray"]) == 0
    there = capfd.readouterr()
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "here")
    content = json.loads((tmp_path / "ray" / "copy" / "mixed_copy.train.json").read_text())
    assert (content["written"], len(content["skipped"]), len(content["broken"])) == (36, 4, 1)
    assert there.out.replace("ray/copy", "here/copy").splitlines()[-8:] == here.out.splitlines()[-8:]
    assert there.err == ""
    assert not ray.is_initialized()
    assert signal.getsignal(signal.SIGTERM) is on_term


def test_addresses_are_checked(demo, tmp_path):
    for address in ("", "ray://head:10001"):
        with pytest.raises(ValueError, match=r'ray must be "local", "auto" or the "host:port"'):
            copy_of(demo, "coco", tmp_path / "out", ray=address)
    assert not (tmp_path / "out").exists()
    for address in ("127.0.0.1:1", "somewhere"):
        with pytest.raises(ValueError, match=f"no cluster at '{address}'"):
            copy_of(demo, "coco", tmp_path / "out", ray=address)


def test_without_ray_the_extra_is_named(demo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(ImportError, match=r'ray is needed for this: pip install "cutmix_dense\[ray\]"'):
        copy_of(demo, "coco", tmp_path / "out", ray="local")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(demo, tmp_path, hashes):
    arguments = [str(demo / "voc"), str(tmp_path / "out" / "copy"), "--copies", "60"]
    command = [sys.executable, str(REPOSITORY / "tools" / "mix_dataset.py"), *arguments, "--workers", "2", "--ray"]
    # Its own group, as a terminal gives a command: Ctrl-C reaches Ray's processes, too.
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path)
    records = tmp_path / "out" / "copy" / ".mixed_copy.train"
    for _ in range(1200):
        if len(list(records.glob("*.json"))) > 5:
            break
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGINT)
    told = started.communicate(timeout=60)[1]
    assert started.returncode == 130
    assert "the same command continues" in told
    assert "Traceback" not in told
    made = len(list(records.glob("*.json")))
    time.sleep(2)
    assert len(list(records.glob("*.json"))) == made < 600  # nobody goes on writing
    assert tool.main([*arguments, "--workers", "0"]) == 0
    assert tool.main([arguments[0], str(tmp_path / "whole" / "copy"), "--copies", "60", "--workers", "0"]) == 0
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@pytest.mark.slow
def test_two_machines_share_the_work(demo, tmp_path, hashes, monkeypatch):
    """Two nodes of one CPU each, which Ray keeps apart as it does machines; given by the head node's address."""
    from ray.cluster_utils import Cluster

    nodes = tmp_path / "nodes"
    nodes.mkdir()

    class Counted(cd.CutMix):
        def draw_plan(self, pool, generator):
            (nodes / ray.get_runtime_context().get_node_id()).touch()
            return super().draw_plan(pool, generator)

    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        copy_of(demo, "coco", tmp_path / "out" / "copy", Counted(p=1.0), copies=5, ray=cluster.address)
        assert not ray.is_initialized()
    finally:
        cluster.shutdown()
    assert len(list(nodes.iterdir())) == 2
    monkeypatch.setattr(Counted, "draw_plan", cd.CutMix.draw_plan)
    copy_of(demo, "coco", tmp_path / "whole" / "copy", Counted(p=1.0), copies=5)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


# ------------------------------------------------------------------------------------------------- on a Ray that runs


@pytest.mark.parametrize("layout", ["voc", pytest.param("cityscapes", marks=pytest.mark.slow)])
def test_ray_goes_on_where_a_local_run_stopped(running, demo, tmp_path, hashes, layout):
    copy_of(demo, layout, tmp_path / "whole" / "copy")

    def stop(done, total, record):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_of(demo, layout, tmp_path / "out" / "copy", on_progress=stop)
    told = []
    report = copy_of(
        demo,
        layout,
        tmp_path / "out" / "copy",
        ray="auto",
        on_progress=lambda done, total, _: told.append((done, total)),
    )
    assert report.resumed == 5
    assert told == [(done, 20) for done in range(5, 21)]
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert ray.is_initialized()  # it was not ours to end


def test_a_faulty_transform_ends_the_run_and_names_its_images(running, demo, tmp_path):
    workers = tmp_path / "workers"
    workers.mkdir()

    class Faulty(cd.CutMix):  # of this function, so that Ray sends it by value
        def draw_plan(self, pool, generator):
            (workers / str(os.getpid())).touch()
            raise KeyError("a fault of the transform")

    with pytest.raises(MixError, match=r"train/demo_00000\d\.jpg.*a fault of the transform"):
        copy_of(demo, "coco", tmp_path / "out", Faulty(p=1.0), ray="auto", workers=1, copies=40)
    processes = [int(path.name) for path in workers.iterdir()]
    assert processes
    assert os.getpid() not in processes
    for _ in range(100):
        if not any(map(lives, processes)):
            break
        time.sleep(0.1)
    assert not any(map(lives, processes))  # nobody goes on in the background


@pytest.mark.slow
def test_a_machine_with_another_version_is_named(running, demo, tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray, "_version", lambda: "cutmix_dense 0.0.1")
    with pytest.raises(
        DatasetError, match=rf"has cutmix_dense {cd.__version__}, .* lists the samples cutmix_dense 0.0.1"
    ):
        copy_of(demo, "coco", tmp_path / "out", ray="auto", workers=1)


def test_a_machine_that_does_not_see_the_folders_is_named(demo, tmp_path):
    dataset = open_complete(demo / "coco", "coco")
    work = Work(dataset, CocoWriter(tmp_path, classes=dataset.classes), cd.CutMix(), tmp_path, 0, 2, len(dataset))
    stamp, version = tmp_path / "stamp.json", on_ray._version()
    assert str(stamp) in on_ray._unfit(work, stamp, b"this run", version)
    stamp.write_bytes(b"another folder of that name")
    assert str(stamp) in on_ray._unfit(work, stamp, b"this run", version)
    stamp.write_bytes(b"this run")
    assert on_ray._unfit(work, stamp, b"this run", version) == ""
    dataset.root = tmp_path / "not mounted"
    told = on_ray._unfit(work, stamp, b"this run", version)
    assert "not mounted" in told
    assert str(stamp) not in told


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [1, 1000])
def test_a_worker_that_is_lost_is_replaced_but_not_for_ever(running, demo, tmp_path, hashes, deaths):
    grave = tmp_path / "grave"
    grave.mkdir()

    class Deadly(cd.CutMix):
        def draw_plan(self, pool, generator):
            if len(list(grave.iterdir())) < deaths:
                (grave / str(time.time_ns())).touch()
                os._exit(7)
            return super().draw_plan(pool, generator)

    if deaths == 1:
        copy_of(demo, "coco", tmp_path / "out" / "copy", Deadly(p=1.0), ray="auto")
        copy_of(demo, "coco", tmp_path / "whole" / "copy", Deadly(p=1.0))
        assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    else:
        with pytest.raises(MixError, match=r"^Ray: "):
            copy_of(demo, "coco", tmp_path / "out" / "copy", Deadly(p=1.0), ray="auto")
        assert len(list(grave.iterdir())) <= 20
