"""The work of a process that outlived its peer counts as the peer's."""

import subprocess
import sys

import pytest

BENCH = """
import os, subprocess, sys
from veneer_server.bench.peers.running import adopt_orphans, wait_for_orphans

adopt_orphans()
busy = "while __import__('time').process_time() < 0.5: pass"
engine = f"subprocess.Popen([sys.executable, '-c', {busy!r}], process_group=0)"
subprocess.run([sys.executable, "-c", f"import subprocess, sys; {engine}"], check=True)
before_s = sum(os.times()[:4])
wait_for_orphans()
print(sum(os.times()[:4]) - before_s)
"""


@pytest.mark.slow
def test_what_an_engine_used_that_outlived_its_server_is_counted() -> None:
    command = [sys.executable, "-c", BENCH]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert float(told.stdout) > 0.4
