"""A process of the engine begins in a light module, and collects nothing until it has imported."""

import subprocess
import sys
from pathlib import Path

# As the gateway does: its main module is heavy, and it spawns a process that spawns another.
FAMILY = """
import gc, multiprocessing, sys
from veneer_server.engine.vllm.startup.spawning import begun, spawning

print("main module read by", __name__, flush=True)

if __name__ == "__main__":
    before = sys.modules["__main__"].__spec__
    sys.path.insert(0, sys.argv[1])
    import members
    with spawning(spare_worker=False):
        child = multiprocessing.get_context("spawn").Process(target=members.core)
        child.start()
    child.join()
    print("spec as before", sys.modules["__main__"].__spec__ is before, "gc", gc.isenabled())
"""
MEMBERS = """
import gc, multiprocessing
from veneer_server.engine.vllm.startup.spawning import begun

def core():
    print("core gc", gc.isenabled(), flush=True)
    worker_process = multiprocessing.get_context("spawn").Process(target=worker)
    worker_process.start()
    worker_process.join()

def worker():
    print("worker gc", gc.isenabled(), flush=True)
    begun()
    print("begun gc", gc.isenabled(), "exempt", gc.get_freeze_count() > 1000, flush=True)
    begun()
"""


def test_spawned_processes_skip_the_main_module_and_collect_only_once_they_have_begun(
    tmp_path: Path,
) -> None:
    (tmp_path / "members.py").write_text(MEMBERS)
    (tmp_path / "family.py").write_text(FAMILY)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "family.py"), str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "main module read by __main__",
        "core gc False",
        "worker gc False",
        "begun gc True exempt True",
        "spec as before True gc True",
    ], done.stderr
