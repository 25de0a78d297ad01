"""The result of a run as one JSON file, written whole after every row."""

import json
from pathlib import Path
from typing import Any

import attrs

from gpu_bench.bench import Bench, Row
from gpu_bench.facts import device_facts, driver_facts, provenance
from gpu_bench.predict import summary
from gpu_bench.runner import Outcome
from gpu_bench.tables import SCHEMA
from modelmeter.report.files import write_text


class Document:
    """All that is known of a run so far."""

    def __init__(self, path: Path, bench: Bench, arguments: dict[str, Any]) -> None:
        self.path, self.bench = path, bench
        self.outcomes: list[Outcome] = []
        self.complete = False
        self.notes: list[str] = []
        self._head = {
            "schema": SCHEMA,
            "arguments": arguments,
            "provenance": provenance(),
            "device": device_facts(bench.device),
            "driver": driver_facts(bench.device),
            "model": {
                "name": bench.config.name,
                "decoder_layers": bench.config.decoder.num_hidden_layers,
                "weights": "random weights in bf16",
            },
        }

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        predictions = self.bench.predictions.rows()
        return {
            **self._head,
            "complete": self.complete,
            "notes": self.notes,
            "budget_seconds": self.bench.budget.seconds,
            "used_seconds": round(self.bench.budget.used, 1),
            "sections": [outcome.as_data() for outcome in self.outcomes],
            "predictions": {"device": self._predicted_for(), "summary": summary(predictions), "stages": predictions},
            "checks": self.checks(predictions),
        }

    def checks(self, predictions: list[Row]) -> list[Row]:
        """Those of the sections, and that no bound is above any single measurement."""
        known = [row for row in predictions if row["seconds"]["bound"] is not None]
        if not known:
            return self.bench.checks
        above = [row["name"] for row in known if row["seconds"]["bound"] > row["measured"]["low"]]
        bound = {
            "what": "the bound is never above a measurement",
            "ok": not above,
            "stages": len(known),
            "above": above,
        }
        return [*self.bench.checks, bound]

    def save(self) -> dict[str, Any]:
        """Write the file, whole or not at all; what stands in it."""
        found = self.as_data()
        write_text(self.path, json.dumps(found, indent=1, default=_plain) + "\n")
        return found

    def _predicted_for(self) -> dict[str, Any] | None:
        machine = self.bench.predictions.machine
        if machine is None:
            return None
        return {
            "name": machine.device.name,
            "title": machine.device.title,
            "calibrated": machine.calibration is not None,
            "host_seconds_a_kernel": machine.host_seconds,
        }


def _plain(value: Any) -> Any:
    """What JSON does not know: numbers of NumPy, attrs classes."""
    if attrs.has(type(value)):
        return attrs.asdict(value)
    return value.item()
