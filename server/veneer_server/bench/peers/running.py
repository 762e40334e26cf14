"""Runs a peer as a process, which ends with the block or with this process."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from veneer_server.bench.peers.peers import Peer, Rig

_START_S = 300
_STOP_S = 30
_POLL_S = 0.1
_ORPHANS_END_S = 10
_PR_SET_CHILD_SUBREAPER = 36


class BenchFailed(Exception):
    """A measurement is impossible; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running peer that answers."""

    peer: Peer
    url: str
    pid: int
    start_s: float

    def cpu_s(self) -> float:
        """Return the CPU seconds of the API process, without the engine's processes."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        # The name in parentheses may have any characters; utime and stime are fields 14 and 15.
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def child_environ(environ: Mapping[str, str], peer: Peer) -> dict[str, str]:
    """Return the variables for ``peer``: its own, and the user's except settings of a server."""
    kept = {
        key: value for key, value in environ.items() if not key.startswith(("VENEER_", "VLLM_"))
    }
    return {**kept, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **peer.environ}


@contextmanager
def start(peer: Peer, rig: Rig, environ: Mapping[str, str], log: Path) -> Iterator[Running]:
    """Run ``peer`` with empty folders until the block ends.

    Raises:
        BenchFailed: the peer does not start, or its log shows that it is the wrong server.
    """
    shutil.rmtree(rig.folder, ignore_errors=True)
    (rig.folder / "adapters").mkdir(parents=True)
    tethered = [sys.executable, "-m", "veneer_server.bench.peers.tether", *peer.command]
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(  # noqa: S603 - commands of this package
            tethered,
            env=child_environ(environ, peer),
            stdout=out,
            stderr=out,
            cwd=rig.folder,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{rig.port}"
        _wait_ready(process, f"{url}{peer.ready_path}", peer, log)
        took_s = time.monotonic() - began
        _check_log(peer, log)
        yield Running(peer, url, process.pid, took_s)
    finally:
        _end(process)


def _wait_ready(process: subprocess.Popen[bytes], url: str, peer: Peer, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    # One client for all tries: making one takes 30 ms of CPU, which the starting peer needs.
    with httpx.Client(timeout=2) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with suppress(httpx.TransportError):
                if client.get(url).status_code == httpx.codes.OK:
                    return
            time.sleep(_POLL_S)
    ended = "does not answer" if process.poll() is None else f"ended with {process.returncode}"
    raise BenchFailed(f"{peer.name} cannot start: it {ended}. The end of its log:\n{_tail(log)}")


def _check_log(peer: Peer, log: Path) -> None:
    if peer.must_log and peer.must_log not in log.read_text(encoding="utf-8", errors="replace"):
        raise BenchFailed(
            f"{peer.name} is not the right server: its log does not say {peer.must_log}."
        )


def _tail(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def adopt_orphans() -> None:
    """Become the parent of processes that a peer leaves behind, so that their CPU time is counted.

    A peer may end before its engine does. Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def wait_for_orphans() -> None:
    """Wait for adopted processes to end, so that their CPU time counts; for ten seconds at most.

    Our engine has a process group of its own, and may end after its server. Call it after the last
    peer: it takes the exit status of any child.
    """
    deadline_s = time.monotonic() + _ORPHANS_END_S
    with suppress(ChildProcessError):  # there is none any more
        while time.monotonic() < deadline_s:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # vLLM's children share its process group. One that outlived it would disturb the next peer.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # All that is left of the group is ours to wait for, if ``adopt_orphans`` was called.
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-process.pid, 0)
