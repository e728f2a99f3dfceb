"""What Prefect is told: imported before it, which reads its settings once, by every flow that people or schedules start.

It imports no Prefect and knows no flow.
"""

import os
from pathlib import Path

from flows.companion import api_url

os.environ.setdefault("PREFECT_API_URL", api_url())
os.environ.setdefault("PREFECT_HOME", str(Path(".prefect").resolve()))
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_ENABLED", "false")  # a hidden server for one run would keep nothing
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "8")  # a server that restarts is waited for


def back_off(first_s: float, tries: int) -> list[float]:
    """Seconds before each new try, every pause four times the one before; ``FERFLOW_RETRY_S`` changes the first (tests)."""
    first = float(os.environ.get("FERFLOW_RETRY_S", first_s))
    return [first * 4**number for number in range(tries)]
