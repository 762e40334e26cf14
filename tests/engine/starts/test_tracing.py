"""One trace across processes: ours and vLLM's spans at a collector that speaks OTLP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from support import tiny
from support.serving import start_process

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

TRACE = "0af7651916cd43dd8448eb211c80319c"


@contextmanager
def collector() -> Iterator[tuple[str, list[Span]]]:
    """Receive OTLP over HTTP on loopback; yields its endpoint and the spans so far."""
    spans: list[Span] = []

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receive) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join(timeout=10)


def test_vllms_span_is_a_child_of_ours_in_the_clients_trace(tmp_path: Path) -> None:
    with collector() as (endpoint, spans):
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
        flags = ["--model", str(tiny.model(tmp_path / "tiny"))]
        tiny.adapter(tmp_path / "my-adapters" / "mine")
        with start_process(tmp_path, environ=environ, flags=flags) as served:
            body = {
                "model": "mine",
                "messages": [{"role": "user", "content": "Count to ten."}],
                "max_tokens": 4,
            }
            headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            url = f"{served.url}/v1/chat/completions"
            answer = httpx.post(url, json=body, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
    ours = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    wanted = {"POST /v1/chat/completions", "chat mine", "adapter lease", "llm_request"}
    assert wanted <= set(ours)
    assert ours["llm_request"].parent_span_id == ours["chat mine"].span_id
