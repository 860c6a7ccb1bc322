"""Traces: what becomes of traced events at this node, told to a collector by OTLP.

Off unless `otlp_endpoint` is set, and not imported before: `gateway.tracing.traces` takes OpenTelemetry
along.
"""
