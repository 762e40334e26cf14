"""A repaired copy does what the adapter did, exactly or by a known error, or is not written."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

import builders
from builders import Q, V
from test_base_model import checkpoint, layer
from veneer_adapters import dora, errors
from veneer_adapters.checks import verify
from veneer_adapters.doctor import examine
from veneer_adapters.pickles import read_pickle
from veneer_adapters.sandbox import Sandbox
