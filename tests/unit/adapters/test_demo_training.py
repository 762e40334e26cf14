"""The commands that train and measure the demo adapters, where they cannot."""

import subprocess
import sys

import pytest

from support.places import DEMO

WITHOUT_PEFT = """
import runpy, sys
sys.modules["peft"] = None
program = sys.argv.pop(1)
sys.path.insert(0, program.rpartition("/")[0])
runpy.run_path(program, run_name="__main__")
"""


@pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
def test_without_the_training_tools_a_sentence_says_what_to_install(program: str) -> None:
    command = [sys.executable, "-c", WITHOUT_PEFT, str(DEMO / "training" / program), "pirate"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "run 'scripts/install train'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
