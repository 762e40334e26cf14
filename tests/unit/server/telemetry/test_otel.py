"""When OTEL_* asks for traces, and where they then go."""

import pytest

from veneer_server.telemetry.otel import Export, ExportNotPossible, asked_for, provider

CASES = [
    ("nothing asked", {}, None),
    ("a service name alone asks for nothing", {"OTEL_SERVICE_NAME": "a"}, None),
    (
        "the path is added to the endpoint of all signals",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"},
        Export("http://c:4318/v1/traces", "http/protobuf"),
    ),
    (
        "the endpoint of traces is taken as it stands and wins",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x",
        },
        Export("http://t:1/x", "http/protobuf"),
    ),
    (
        "gRPC has no path",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        Export("http://c:4317", "grpc"),
    ),
    (
        "switched off as a whole",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"},
        None,
    ),
    (
        "switched off for traces",
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"},
        None,
    ),
]


@pytest.mark.parametrize(("environ", "export"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_the_environment_asks_for(environ: dict[str, str], export: Export | None) -> None:
    assert asked_for(environ) == export


def test_vllm_is_told_the_same_endpoint_and_protocol() -> None:
    assert asked_for(Export("http://c/v1/traces", "grpc").environment()) == Export(
        "http://c/v1/traces", "grpc"
    )


def test_a_protocol_nobody_here_speaks_is_refused_in_one_sentence() -> None:
    with pytest.raises(ExportNotPossible, match="http/json"):
        provider(Export("http://c", "http/json"))
