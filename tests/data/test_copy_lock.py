"""One writer at a time: who is told, and that a run that was killed holds nothing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading

import pytest

from cutmix_dense.data import DatasetError
from cutmix_dense.data.copy_lock import only_writer, remove_ended

LOCK, WRITER = ".mixed_copy.train.lock", ".mixed_copy.train.writer"


def write(root):
    with only_writer(root, "train"):
        assert f"process {os.getpid()} on {socket.gethostname()}, since 20" in (root / WRITER).read_text()


def test_nothing_is_left_of_a_lock(tmp_path):
    with only_writer(tmp_path, "train"):
        assert {path.name for path in tmp_path.iterdir()} == {LOCK, WRITER}
        with pytest.raises(ZeroDivisionError), only_writer(tmp_path, "val"):
            raise ZeroDivisionError
        assert {path.name for path in tmp_path.iterdir()} == {LOCK, WRITER}
    assert not list(tmp_path.iterdir())


def test_a_second_writer_is_told_who_writes(tmp_path):
    told = rf"{tmp_path}: another run is writing the split 'train' of this copy \(process {os.getpid()} on .*, since 20"
    (tmp_path / "link").symlink_to(tmp_path)
    with only_writer(tmp_path, "train"):
        for place in (tmp_path, tmp_path / "link"):
            with pytest.raises(DatasetError, match=r"another run is writing.*the same command continues"):
                write(place)
        with pytest.raises(DatasetError, match=told):
            write(tmp_path)
    write(tmp_path)


def test_another_process_is_told_and_the_lock_of_a_killed_one_holds_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; from cutmix_dense.data.copy_lock import only_writer\n"
        "with only_writer(Path(sys.argv[1]), 'train'):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(DatasetError, match=f"process {other.pid} on {re.escape(socket.gethostname())}"):
            write(tmp_path)
        remove_ended(tmp_path, "train")
        assert (tmp_path / LOCK).is_file()
        other.kill()
        other.wait()
    assert (tmp_path / WRITER).is_file()
    write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_leaves_is_removed(tmp_path):
    (tmp_path / LOCK).touch()
    (tmp_path / WRITER).write_text("process 1 on elsewhere")
    remove_ended(tmp_path, "train")
    assert not list(tmp_path.iterdir())


def test_of_many_threads_one_writes_at_a_time(tmp_path):
    inside, most, wins, start = 0, 0, 0, threading.Barrier(8)

    def run():
        nonlocal inside, most, wins
        start.wait()
        try:
            with only_writer(tmp_path, "train"):
                inside += 1
                most, wins = max(most, inside), wins + 1
                threading.Event().wait(0.05)
                inside -= 1
        except DatasetError:
            pass

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, wins >= 1) == (1, True)
    assert not list(tmp_path.iterdir())
