"""Telemetry and log by the settings: what a worker that is started by the command has."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from flowcraft.application import log_handler, telemetry_of
from flowcraft.emf import EmfTelemetry
from flowcraft.otel import OpenTelemetryTelemetry
from flowcraft.settings import Settings, SettingsError, load_settings


def settings(directory: Path, **overrides: str) -> Settings:
    """Settings that nothing but a test says anything about."""
    given = {name.replace("_", "."): value for name, value in overrides.items()}
    return load_settings(given, directory, {})


@pytest.mark.parametrize(
    ("exporter", "kind"),
    [("none", type(None)), ("otel", OpenTelemetryTelemetry), ("emf", EmfTelemetry)],
)
def test_the_exporter_is_chosen_by_a_setting(exporter: str, kind: type, tmp_path: Path) -> None:
    """Nothing by default, OpenTelemetry and CloudWatch by name."""
    assert type(telemetry_of(settings(tmp_path, telemetry_exporter=exporter))) is kind
    assert telemetry_of(settings(tmp_path)) is None


def test_without_opentelemetry_the_setting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for traces without the package is told which one to install."""
    monkeypatch.delitem(sys.modules, "flowcraft.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"flowcraft-sqs\[otel\]"):
        telemetry_of(settings(tmp_path, telemetry_exporter="otel"))


def test_the_log_has_the_level_and_the_format_of_the_settings(tmp_path: Path) -> None:
    """Text or JSON, from a level on."""
    record = logging.LogRecord("flowcraft", logging.INFO, __file__, 1, "hello", (), None)
    text = log_handler(settings(tmp_path, log_level="info"))
    assert (text.level, text.format(record).endswith("INFO flowcraft: hello")) == (20, True)
    line = log_handler(settings(tmp_path, log_format="json")).format(record)
    assert json.loads(line)["message"] == "hello"
