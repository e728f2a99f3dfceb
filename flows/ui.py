"""``make ui``: MLflow's and Prefect's pages on loopback until Ctrl-C.

It knows how they are started and nothing of what they show.
"""

import os
import signal
import subprocess
import sys
import time
import webbrowser
from contextlib import suppress
from pathlib import Path

from flows.companion import STATE, answers, api_url, prefect_server

MLFLOW_PORT = 5000


def main() -> None:
    """Start both servers, say where they are, and stop them at the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # stops both, too
    STATE.mkdir(exist_ok=True)
    if answers(f"http://127.0.0.1:{MLFLOW_PORT}/health"):
        sys.exit(f"something answers on port {MLFLOW_PORT} already: another make ui, or mlflow ui; stop it first")
    log = STATE / "ui.log"
    with prefect_server(log), log.open("ab") as output:
        mlflow = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(MLFLOW_PORT), "--workers", "1"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for this process, which then stops both
        )
        try:
            pages = [f"http://127.0.0.1:{MLFLOW_PORT}", api_url().removesuffix("/api")]
            print("starting, which takes up to a minute", flush=True)
            for address in (f"{pages[0]}/health", f"{api_url()}/health"):
                if not _wait_until_answers(address, 120):
                    sys.exit(f"nothing answers at {address}; see {log}")
            print(f"MLflow:  {pages[0]}\nPrefect: {pages[1]}\nCtrl-C stops both; their output is in {Path(log)}", flush=True)
            if os.environ.get("DISPLAY"):
                for page in pages:
                    webbrowser.open(page)
            while mlflow.poll() is None:
                time.sleep(1)
            sys.exit(f"MLflow's server ended with exit code {mlflow.returncode}; see {log}")
        except KeyboardInterrupt:
            print("stopping")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(mlflow.pid, signal.SIGTERM)
            mlflow.wait(15)


def _wait_until_answers(address: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (up := answers(address)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return up


if __name__ == "__main__":
    main()
