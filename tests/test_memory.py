"""How much memory is left: of the machine, of the groups that a process is in, and of its addresses."""

import resource

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from sivae import _memory
from sivae._run import _cells
from sivae.data import _rows

MACHINE = 10_000


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": MACHINE}))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def root_with(folder, lines, groups):
    """A root with `proc/self/cgroup` and groups, each a folder with files."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))
    for path, files in groups.items():
        group = folder / "sys/fs/cgroup" / path
        group.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (group / name).write_text(f"{text}\n")
    return folder


def second(limit, used, cache=None):
    stat = {} if cache is None else {"memory.stat": f"anon 5\ninactive_file {cache}\nactive_file 7"}
    return {"memory.max": limit, "memory.current": used} | stat


def first(limit, used, cache=None):
    stat = {} if cache is None else {"memory.stat": f"inactive_file 1\ntotal_inactive_file {cache}"}
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used} | stat


CASES = {
    "no groups": ([], {}, MACHINE),
    "no limit": (["0::/job"], {"job": second("max", 500)}, MACHINE),
    "a limit": (["0::/job"], {"job": second(3000, 500)}, 2500),
    "more than the machine has": (["0::/job"], {"job": second(50_000, 500)}, MACHINE),
    "cache can go": (["0::/job"], {"job": second(3000, 2500, cache=1500)}, 2000),
    "nothing left": (["0::/job"], {"job": second(3000, 3200)}, 0),
    "a limit around": (["0::/user/job"], {"user": second(2000, 800), "user/job": second("max", 500)}, 1200),
    "the least": (["0::/user/job"], {"user": second(2000, 800), "user/job": second(900, 500)}, 400),
    "in a container": (["0::/"], {".": second(1500, 500)}, 1000),
    "in a container that knows the host's path": (["0::/docker/abc"], {".": second(1500, 500)}, 1000),
    "version 1": (["3:cpu:/x", "5:memory:/job"], {"memory/job": first(3000, 500, cache=100)}, 2600),
    "version 1 without limit": (["5:memory:/job"], {"memory/job": first(2**63 - 4096, 500)}, MACHINE),
    "version 1 in a container": (["5:rdma,memory:/docker/abc"], {"memory": first(3000, 500)}, 2500),
    "both versions": (["5:memory:/job", "0::/job"], {"memory/job": first(4000, 0), "job": second(3000, 0)}, 3000),
    "damaged": (["0::/job", "nonsense"], {"job": second("what", 500)}, MACHINE),
    "memory elsewhere": (["5:cpuset:/job"], {"memory/job": first(1, 0)}, MACHINE),
}


@pytest.mark.parametrize("name", CASES)
def test_the_least_of_what_is_free_and_what_limits_leave(tmp_path, name):
    lines, groups, expected = CASES[name]
    assert _memory.available(root_with(tmp_path, lines, groups)) == expected


def test_addresses_that_are_left(tmp_path, monkeypatch):
    used = {"vms": 700}
    monkeypatch.setattr("psutil.Process.memory_info", lambda _: type("Info", (), used))
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (4000 if kind == resource.RLIMIT_AS else -1, -1))
    assert _memory.available(tmp_path) == 3300


def test_memory_is_given_back_or_nothing_happens(monkeypatch):
    _memory.give_back()
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda _: 1 / 0)
    _memory.give_back()


def test_a_limit_of_the_job_decides_what_stays_outside(tmp_path, monkeypatch):
    """The same file is read whole where there is room, and left on disk where the job's limit leaves little."""
    ad.AnnData(sparse.random(50, 20, 0.5, "csr", np.float32, random_state=0)).write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    room = {}
    for limit in (None, 10_000):
        monkeypatch.setattr(_rows, "available", lambda limit=limit: limit or 10**6)
        monkeypatch.setattr(_cells, "available", lambda limit=limit: limit or 10**6)
        with _cells.open_cells(tmp_path / "cells.h5ad") as opened:
            room[limit] = _rows.is_large(backed, None, 20), opened.root is not None
    backed.file.close()
    assert room == {None: (False, False), 10_000: (True, True)}
