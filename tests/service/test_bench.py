"""``veneer bench`` on the command line, and its own client against a server without a model."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.serving import free_port, serve_echo
from veneer_server.bench.clients.load import Load, run
from veneer_server.bench.goals.site import completion
from veneer_server.bench.peers.peers import Name, Peer, Rig
from veneer_server.bench.peers.running import BenchFailed, start

PROGRAM = [sys.executable, "-c", "from veneer_server.commands.main import main; main()", "bench"]


def bench(*flags: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [*PROGRAM, *flags], capture_output=True, text=True, env=environ, timeout=60, check=False
    )


@pytest.mark.slow
def test_the_help_says_what_is_compared_and_how_long_it_takes() -> None:
    shown = " ".join(bench("--help").stdout.split())
    for word in ("llama.cpp", "vLLM", "ratio", "an hour", "6 minutes", "Ctrl-C"):
        assert word in shown
    flags = ("--quick", "--rounds", "--goals", "--rank", "--dtype", "--llama-server", "--model")
    for flag in (*flags, "--json", "--markdown"):
        assert flag in shown


@pytest.mark.slow
def test_a_taken_port_is_one_sentence_before_anything_is_started() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = bench("--port", str(port))
    assert done.returncode == 98
    assert done.stderr.strip() == (
        f"Cannot listen on 127.0.0.1:{port}: Address already in use."
        " Choose another port with --port."
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--goals", "G1,G14"), "There is no goal G14; there are G1, G2, "),
        (("--rank", "7"), "The rank is 8 or 16."),
        (("--json", "/nowhere/x.json"), "/nowhere/x.json cannot be written"),
        (("--model", "/nowhere"), "/nowhere is not the folder of a model"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(flags: tuple[str, ...], sentence: str) -> None:
    done = bench("--port", str(free_port()), *flags)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.strip().splitlines()) == 1


def peer(code: str, **more: Any) -> Peer:
    return Peer(Name.DEFAULT, [sys.executable, "-c", code], **more)


def rig(folder: Path) -> Rig:
    return Rig(Path("/model"), free_port(), folder / "rig", (0,))


SERVE = """
import http.server, sys
class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
print("one op or another", flush=True)
http.server.HTTPServer(("127.0.0.1", %d), Ok).serve_forever()
"""


@pytest.mark.slow
def test_a_peer_lives_as_long_as_the_block(tmp_path: Path) -> None:
    where = rig(tmp_path)
    with start(peer(SERVE % where.port), where, os.environ, tmp_path / "log") as running:
        assert running.start_s > 0
        assert running.cpu_s() > 0
        assert Path(f"/proc/{running.pid}").exists()
    assert not Path(f"/proc/{running.pid}").exists()


LEAVES_A_CHILD = """
import subprocess, sys, time
busy = "import time\\nwhile time.process_time() < 0.5: pass\\n"
rest = "print('done', flush=True)\\nimport signal\\nsignal.pause()"
child = subprocess.Popen([sys.executable, "-c", busy + rest], stdout=subprocess.PIPE)
child.stdout.readline()
"""
"""A child that has used half a second, and does not end with its parent."""
COUNTED = """
import os, sys
from pathlib import Path
from veneer_server.bench.peers.peers import Name, Peer, Rig
from veneer_server.bench.peers.running import adopt_orphans, start
adopt_orphans()
folder, port, code = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
served = Peer(Name.DEFAULT, [sys.executable, "-c", code])
with start(served, Rig(Path("/model"), port, folder / "rig", (0,)), os.environ, folder / "log"):
    pass
print(sum(os.times()[2:4]))
"""


@pytest.mark.slow
def test_what_a_peer_leaves_behind_is_ended_and_its_time_counted(tmp_path: Path) -> None:
    port = free_port()
    code = LEAVES_A_CHILD + SERVE % port
    words = [sys.executable, "-c", COUNTED, str(tmp_path), str(port), code]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) > 0.5


@pytest.mark.slow
def test_no_peer_outlives_a_bench_that_was_killed() -> None:
    child = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
    tethered = [sys.executable, "-m", "veneer_server.bench.peers.tether", *child]
    bench_code = f"import subprocess; subprocess.run({tethered!r})"
    with subprocess.Popen([sys.executable, "-c", bench_code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
        # The child holds the other end of the pipe: it closes when the child is gone.
        assert parent.stdout.read() == b""


@pytest.mark.slow
def test_a_peer_that_ends_says_why(tmp_path: Path) -> None:
    ended = peer("raise SystemExit('no such model')")
    with (
        pytest.raises(BenchFailed, match=r"cannot start: it ended with 1(.|\n)*no such model"),
        start(ended, rig(tmp_path), os.environ, tmp_path / "log"),
    ):
        raise AssertionError("it never began")


@pytest.mark.slow
def test_a_peer_with_the_wrong_op_is_not_measured(tmp_path: Path) -> None:
    where = rig(tmp_path)
    wrong = peer(SERVE % where.port, must_log="PunicaWrapperCPU")
    with (
        pytest.raises(BenchFailed, match="its log does not say PunicaWrapperCPU"),
        start(wrong, where, os.environ, tmp_path / "log"),
    ):
        raise AssertionError("it never began")


async def test_lanes_are_sent_side_by_side_and_each_in_order(tmp_path: Path) -> None:
    async with serve_echo(tmp_path) as served:
        lanes = [[completion("echo", 4, 3, seed=1, prompt=f"lane {n}")] * 2 for n in range(3)]
        outcome = await run(Load(served.url, lanes))
    assert [len(lane) for lane in outcome.lanes] == [2, 2, 2]
    for told in outcome.answers():
        assert told.status == 200
        assert told.tokens == 2
        assert told.itl_s
        assert 0 < told.ttft_s <= told.total_s


async def test_the_background_ends_with_the_last_lane(tmp_path: Path) -> None:
    async with serve_echo(tmp_path) as served:
        lane = [completion("echo", 4, 3, seed=1, prompt="front")] * 3
        outcome = await run(Load(served.url, [lane], [[lane[0]], [lane[0]]]))
    assert all(told.status == 200 for told in outcome.answers())
    assert all(lane for lane in outcome.background)


async def test_a_refusal_is_kept_and_not_raised(tmp_path: Path) -> None:
    async with serve_echo(tmp_path) as served:
        outcome = await run(Load(served.url, [[completion("nobody", 4, 3, seed=1, prompt="x")]]))
    (told,) = outcome.answers()
    assert told.status == 404
    assert "nobody" in told.text
