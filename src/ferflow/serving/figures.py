"""Prometheus' figures at /metrics, beside BentoML's own. It knows no model and no database."""

from typing import Any


class Figures:
    """Counters of faces and of the prediction log; workers add up."""

    def __init__(self) -> None:
        from prometheus_client import Counter, Gauge  # BentoML says first where workers share their figures

        self._faces = Counter("ferflow_faces", "Faces by expression", ["expression"])
        self._uncertain = Counter("ferflow_uncertain_faces", "Faces whose expression is uncertain")
        self._without = Counter("ferflow_pictures_without_face", "Pictures in which no face was found")
        self._swaps = Gauge("ferflow_model_swaps", "Times that another model was taken up", multiprocess_mode="livesum")
        self._log = {
            name: Gauge(f"ferflow_log_{name}", f"Prediction log: rows {name}", multiprocess_mode="livesum")
            for name in ("written", "waiting", "spilled", "dropped")
        }
        self._up = Gauge("ferflow_log_up", "Whether the prediction log can be written", multiprocess_mode="livemin")

    def count(self, rows: list[dict[str, Any]]) -> None:
        """Count rows of the prediction log."""
        for row in rows:
            if not row["faces"]:
                self._without.inc()
            elif expression := row.get("expression"):
                self._faces.labels(expression).inc()
                if not row["certain"]:
                    self._uncertain.inc()

    def follow(self, log: dict[str, Any], swaps: int) -> None:
        """Take over what the log and the models count themselves."""
        self._swaps.set(swaps)
        for name, gauge in self._log.items():
            gauge.set(log.get(name, 0))
        self._up.set(1 if log.get("up", True) else 0)
