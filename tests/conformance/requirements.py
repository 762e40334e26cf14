"""What compatibility means here: each promise to the official clients, with its reason.

A test names the promise it keeps with ``@pytest.mark.requirement(id)``. ``conftest.py`` refuses
tests without one, ``test_requirements.py`` refuses promises without a test. A known gap is
written in ``divergence``, and its test pins what the server really does.
"""

from conformance.answer_promises import ANSWERS
from conformance.probes import PROBES
from conformance.promise import Requirement
from conformance.request_promises import REQUESTS

REQUIREMENTS: dict[str, Requirement] = {**ANSWERS, **REQUESTS}
REQUIREMENTS |= {
    id_: Requirement(probe.behaviour, probe.source, probe.divergence)
    for id_, probe in PROBES.items()
}
