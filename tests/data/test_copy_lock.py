"""One writer at a time: who is told off, and whose lock is taken over."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading

import pytest

from cutmix_dense.data import DatasetError
from cutmix_dense.data.copy_lock import only_writer

LOCK = ".mixed_copy.train.lock"
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="Linux says when a process began")


def write(root):
    with only_writer(root, "train"):
        assert (root / LOCK).is_file()


def lock_of(root, **change):
    """The lock of a process, by default of this one, with something else about it."""
    with only_writer(root, "train"):
        owner = json.loads((root / LOCK).read_text())
    (root / LOCK).write_text(json.dumps({**owner, **change}))


def test_a_lock_names_its_process_and_goes_with_it(tmp_path):
    with only_writer(tmp_path, "train"):
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]
        owner = json.loads((tmp_path / LOCK).read_text())
        assert (owner["pid"], owner["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(ZeroDivisionError), only_writer(tmp_path, "val"):
            raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_second_writer_is_told_who_writes(tmp_path):
    told = rf"{tmp_path}: another run is writing the split 'train' of this copy \(process {os.getpid()} on .*, since 20"
    (tmp_path / "link").symlink_to(tmp_path)
    with only_writer(tmp_path, "train"):
        for place in (tmp_path, tmp_path / "link"):
            with pytest.raises(DatasetError, match="another run is writing.*If that run is dead, remove .*train.lock"):
                write(place)
        with pytest.raises(DatasetError, match=told):
            write(tmp_path)
        assert (tmp_path / LOCK).is_file()
    write(tmp_path)


def test_another_process_is_told(tmp_path):
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
        other.kill()
        other.wait()
        assert (tmp_path / LOCK).is_file()
        with only_writer(tmp_path, "train"):
            assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


@needs_proc
def test_a_process_that_waits_to_be_forgotten_has_ended(tmp_path):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    lock_of(tmp_path, pid=child)
    write(tmp_path)
    os.waitpid(child, 0)


@needs_proc
@pytest.mark.parametrize("pid", [1, os.getppid()])
def test_a_later_process_of_the_same_number_is_another(tmp_path, pid):
    lock_of(tmp_path, pid=pid, begin="1")
    write(tmp_path)


def test_an_earlier_process_of_this_ones_number_has_ended(tmp_path):
    """As the first process of a container is number 1 each time."""
    lock_of(tmp_path)
    write(tmp_path)


def test_the_lock_of_another_machine_stays_until_it_is_removed(tmp_path):
    lock_of(tmp_path, host="elsewhere", pid=1)
    with pytest.raises(DatasetError, match="process 1 on elsewhere.*remove .*and the same command continues"):
        write(tmp_path)
    (tmp_path / LOCK).unlink()
    write(tmp_path)


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"pid": "1"}', '{"pid": true, "host": "a"}', "\udcff"])
def test_a_lock_that_says_nothing_stays_until_it_is_removed(tmp_path, content):
    (tmp_path / LOCK).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DatasetError, match="or was killed as it began. If none is running, remove"):
        write(tmp_path)


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    with only_writer(tmp_path, "train"), pytest.raises(DatasetError, match="another run"):
        write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_of_many_that_find_a_dead_ones_lock_one_writes_at_a_time(tmp_path):
    lock_of(tmp_path, pid=2**22 + 1)
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
    assert most == 1
    assert wins >= 1
    assert not list(tmp_path.iterdir())
