"""Containerfile and compose.yaml: their form and the names in them. No engine is at hand here, so what they do is not tried."""

import json
import re
import shlex
from importlib import resources
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from ferflow import params

INSTRUCTIONS = {"ARG", "CMD", "COPY", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "RUN", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
OURS = {"FERFLOW_LOG", "FERFLOW_MODEL"}
OTHERS = {  # of programs that are not Python's, or of every program
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HOME", "PGPASSWORD", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_USER",
    "PYTHONPATH", "S3_BUCKET", "USER",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's, in order: a word, and the rest of its (joined) lines."""
    lines = [line for line in (ROOT / "Containerfile").read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined)]


def of(kind: str) -> list[str]:
    return [rest for word, rest in instructions() if word == kind]


@pytest.fixture(scope="module")
def compose() -> dict:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def services(compose) -> dict[str, dict]:
    return compose["services"]


def outputs() -> set[str]:
    """What the pipeline makes: a clone has it after ``make repro``."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    return {str(out if isinstance(out, str) else next(iter(out))) for stage in stages for out in stage.get("outs", [])}


def test_the_containerfile_has_known_instructions_and_copies_what_there_is():
    assert {word for word, _ in instructions()} <= INSTRUCTIONS
    assert instructions()[0][0] == "FROM"
    arguments = dict(one.partition("=")[::2] for one in of("ARG"))
    made = outputs()
    assert "models/release/model.onnx" in made or "models/release" in made
    for copied in of("COPY"):
        *sources, _ = shlex.split(copied)
        for source in sources:
            source = source.replace("${REQUIREMENTS}", arguments["REQUIREMENTS"])
            assert (ROOT / source).exists() or made & {source, *map(str, Path(source).parents)}, source
    assert all("--require-hashes" in run for run in of("RUN") if "pip install" in run)
    assert (ROOT / "requirements/lock.txt").exists()  # the other value that the header names


def test_the_build_sees_what_is_copied_and_neither_data_nor_secrets():
    wanted = (ROOT / ".dockerignore").read_text().split()
    assert wanted[wanted.index("*") :][0] == "*"
    allowed = {one[1:] for one in wanted if one.startswith("!")}
    copied = {shlex.split(one)[0] for one in of("COPY")}
    assert allowed == {one.replace("${REQUIREMENTS}", "*") for one in copied}
    assert "/.env" in (ROOT / ".gitignore").read_text().split()


def test_the_container_is_not_root_and_serves_like_the_tests_do():
    assert [user.split(":")[0] for user in of("USER")] == ["10001"]
    command = json.loads(of("CMD")[-1])
    assert command[:3] == ["bentoml", "serve", "ferflow.serving.service:FerFlow"]
    assert command[command.index("--host") + 1] == "0.0.0.0"
    assert "/readyz" in of("HEALTHCHECK")[0]
    grace = int(command[command.index("--timeout-graceful-shutdown") + 1])
    stop = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["service"]["stop_grace_period"]
    assert int(stop.removesuffix("s")) > grace + 10, "the log needs time, too"


def test_every_image_is_pinned(services):
    images = [*of("FROM"), *(one["image"] for one in services.values() if "build" not in one)]
    for image in images:
        _, _, tag = image.rpartition(":")
        assert re.match(r"\d+\.\d+", tag), f"{image}: which one?"
    assert not [image for image in images if "latest" in image or "minio" in image]


def test_every_service_is_watched_waits_for_what_it_needs_and_is_this_machines_alone(services):
    for name, service in services.items():
        assert service.get("image"), name
        assert service["healthcheck"]["test"][0] == "CMD", name
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:"), f"{name} publishes {published}"
        assert "privileged" not in service
        assert service.get("network_mode") != "host"
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in services[needed]
    assert {"service", "mlflow", "prefect", "worker", "postgres", "s3"} == set(services)


def test_volumes_and_configurations_are_declared(compose, services):
    used = {volume.partition(":")[0] for one in services.values() for volume in one.get("volumes", [])}
    assert {name for name in used if not name.startswith(".")} == set(compose["volumes"])
    assert {config["source"] for one in services.values() for config in one.get("configs", [])} == set(compose["configs"])


def test_no_secret_is_in_the_file_and_every_one_is_in_the_example(services):
    text = (ROOT / "compose.yaml").read_text()
    example = dict(line.split("=", 1) for line in (ROOT / "docs/compose.env").read_text().split("\n") if re.match(r"[A-Z]", line))
    assert set(re.findall(r"\$\{([A-Z0-9_]+)", text)) == set(example)
    assert not [name for name, value in example.items() if value and ("KEY" in name or "PASSWORD" in name)]
    for name, service in services.items():
        for key, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY", key):
                assert re.fullmatch(r"\$\{\w+:\?.*\}", value), f"{name}: {key}"
            assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{name}: {key} has a password in an address"


def known_to_mlflow(name: str) -> bool:
    root = Path(str(distribution("mlflow").locate_file("mlflow")))
    return any(name in (root / file).read_text() for file in ("cli/__init__.py", "utils/cli_args.py", "environment_variables.py"))


def known_to_prefect(name: str) -> bool:
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings

    return name in _get_settings_fields(Settings)


def test_every_setting_is_one_that_its_program_knows(services):
    names = {name for one in services.values() for name in one["environment"]}
    code = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for name in names:
        if name in OURS:
            assert name in code
        elif name.startswith("MLFLOW_"):
            assert known_to_mlflow(name), name
        elif name.startswith("PREFECT_"):
            assert known_to_prefect(name), name
        else:
            assert name in OTHERS, name
    assert "PGPASSWORD" in (resources.files("asyncpg") / "connect_utils.py").read_text()


def test_the_log_of_the_environment_comes_before_the_one_in_params(monkeypatch):
    before = params.load(ROOT / "params.yaml").serve.log
    monkeypatch.setenv("FERFLOW_LOG", "postgresql+psycopg://a@b/c")
    assert params.load(ROOT / "params.yaml").serve.log == "postgresql+psycopg://a@b/c" != before


def test_a_password_from_the_environment_opens_the_databases(postgres, monkeypatch, services):
    """The addresses of compose.yaml against a real server: SQLAlchemy finds the drivers, and they find the password."""
    import asyncio

    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    real = sqlalchemy.make_url(postgres.database())
    monkeypatch.setenv("PGPASSWORD", str(real.password))
    addresses = [services["service"]["environment"]["FERFLOW_LOG"], services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]]
    for address in addresses:
        here = sqlalchemy.make_url(address).set(host=real.host, port=real.port, database=real.database)
        assert here.password is None
        engine = sqlalchemy.create_engine(here)
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("select current_user")) == "ferflow"
        engine.dispose()

    async def ask(address: str) -> str:
        here = sqlalchemy.make_url(address).set(host=real.host, port=real.port, database=real.database)
        engine = create_async_engine(here)
        async with engine.connect() as connection:
            user = await connection.scalar(sqlalchemy.text("select current_user"))
        await engine.dispose()
        return str(user)

    assert asyncio.run(ask(services["prefect"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"])) == "ferflow"
