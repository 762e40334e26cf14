"""Whether the variables ``OTEL_*`` ask for traces, and the exporter that they ask for.

The OpenTelemetry SDK reads its other variables itself: sampler, service name, resource, headers,
timeouts. Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

_ENDPOINT, _PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"


class ExportNotPossible(Exception):
    """The server cannot send traces in the way that the environment asks for."""


@dataclass(frozen=True, slots=True)
class Export:
    """Where the server sends traces, and by which protocol."""

    endpoint: str
    protocol: str
    """``http/protobuf`` or ``grpc``."""

    def environment(self) -> dict[str, str]:
        """Return the variables that make vLLM send its spans to the same place."""
        return {_TRACES_ENDPOINT: self.endpoint, _TRACES_PROTOCOL: self.protocol}


def asked_for(environ: Mapping[str, str]) -> Export | None:
    """Return where ``environ`` wants traces to go; None when it asks for none."""
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    if environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    protocol = environ.get(_TRACES_PROTOCOL) or environ.get(_PROTOCOL) or "http/protobuf"
    endpoint = environ.get(_TRACES_ENDPOINT)
    if not endpoint and (base := environ.get(_ENDPOINT)):
        endpoint = base if protocol == "grpc" else f"{base.rstrip('/')}/v1/traces"
    return Export(endpoint, protocol) if endpoint else None


def provider(export: Export) -> "TracerProvider":
    """Return a provider that sends spans as ``export`` says, in batches from a thread.

    It becomes the provider of the whole process, so vLLM's spans in this process go there too.
    The caller shuts it down.

    Raises:
        ExportNotPossible: no installed package speaks the protocol.
    """
    from opentelemetry import trace
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = Resource.create({SERVICE_NAME: "veneer"})
    made = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()))
    made.add_span_processor(BatchSpanProcessor(_exporter(export)))
    trace.set_tracer_provider(made)
    return made


def _exporter(export: Export) -> "SpanExporter":
    try:
        if export.protocol == "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http import trace_exporter as http

            return http.OTLPSpanExporter(export.endpoint)
        if export.protocol == "grpc":
            from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc

            exporter: SpanExporter = grpc.OTLPSpanExporter(export.endpoint)
            return exporter
    except ImportError as error:
        raise ExportNotPossible(
            f"the traces cannot be sent by {export.protocol}, because a package is missing: {error}"
        ) from error
    raise ExportNotPossible(
        f"the traces cannot be sent by {export.protocol!r}; use 'http/protobuf' or 'grpc'."
    )
