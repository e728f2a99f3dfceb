"""The only door for configuration: ``params.yaml`` becomes frozen, typed values; an unknown key is refused.

It owns the meaning of every key. Nothing else reads ``params.yaml``, and no value has a second
home: what a member leaves out it takes from the block ``training``. It asks the registry for names and imports no entry.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ferflow.registry import names
from ferflow.vocabulary import TASKS, Modality

PARAMS_FILE = Path("params.yaml")
LEAST_SIZE = 16  # pixels: what every network can see


class ParamsError(ValueError):
    """``params.yaml`` is missing or wrong; the message lists every offending key."""


def _reads_as_no_name(name: str) -> bool:
    """Whether a reader of CSV files takes a name for a number, a truth value or an empty cell."""
    try:
        float(name)
    except ValueError:
        return name.lower().lstrip("-") in {"na", "nan", "null", "none", "true", "false"}
    return True


def _must_be_registered(kind: str, name: str, hint: str = "") -> None:
    if name not in names(kind):
        raise ValueError(f"unknown entry {name!r} in {kind}; known: {', '.join(names(kind))}{hint}")


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dataset(_Block):
    """Where faces come from: a source (a file in ``datasets/``), what it reads, and its own options."""

    source: str = Field(description="a file in src/ferflow/datasets")
    path: Path = Field(description="what the source reads; in the project's root where it is relative")
    image_size: int = Field(ge=LEAST_SIZE, le=512, description="side of the square crops that members see, pixels")
    options: dict[str, Any] = Field({}, description="the source's own")

    @model_validator(mode="after")
    def _is_registered(self) -> "Dataset":
        _must_be_registered("datasets", self.source)
        return self


class Rule(_Block):
    """What a check does when it finds something: ``fail`` stops the pipeline, ``quarantine`` sets the rows aside,
    ``warn`` reports, ``off`` says nothing. ``allow`` is the share that is still fine (not for quarantine)."""

    do: Literal["fail", "quarantine", "warn", "off"] = Field(description="what happens where more than `allow` is found")
    allow: float = Field(0.0, ge=0, le=1, description="the share that is still fine")


class Checks(_Block):
    """The rule of every check; ``warn`` is short for ``{do: warn}``. What they look for stands in quality.py."""

    unreadable: Rule
    source_problem: Rule
    unlabelled: Rule
    unknown_label: Rule
    flat: Rule
    small: Rule
    size: Rule
    light: Rule
    sharpness: Rule
    identical: Rule
    alike: Rule
    conflicting: Rule
    too_few_rows: Rule
    too_few_in_class: Rule
    imbalance: Rule
    no_face: Rule
    quarantined: Rule

    @field_validator("*", mode="before")
    @classmethod
    def _may_be_a_word(cls, value: Any) -> Any:
        return {"do": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _can_do_that(self) -> "Checks":
        for name in ("too_few_rows", "too_few_in_class", "imbalance", "no_face", "quarantined"):
            if self.rule(name).do == "quarantine":
                raise ValueError(f"{name} is about the whole table: it can fail, warn or be off")
        if self.unreadable.do not in ("quarantine", "fail"):
            raise ValueError("unreadable images can only fail or be quarantined: nothing can be measured of them")
        return self

    def rule(self, name: str) -> Rule:
        """The rule of the check called ``name``."""
        rule: Rule = getattr(self, name)
        return rule


class Validate(_Block):
    """Limits of the data validation, and how strict it is."""

    min_rows: int = Field(ge=1, description="rows that a set needs")
    min_class_rows: int = Field(ge=0, description="rows that a class needs")
    max_class_ratio: float = Field(ge=1, description="largest class to smallest")
    min_contrast: float = Field(ge=0, description="standard deviation of grey levels under which an image is flat")
    min_side: int = Field(ge=1, description="pixels of the shorter side under which an image is small")
    outlier_iqr: float = Field(gt=0, description="an outlier lies that many interquartile ranges outside the quartiles")
    near_distance: int = Field(ge=0, le=15, description="differing bits of the perceptual hashes of near duplicates")
    near_correlation: float = Field(ge=0, le=1, description="least correlation of the thumbnails of near duplicates")
    face_sample: int = Field(ge=0, description="images in which a face is looked for")
    checks: Checks = Field(description="the rule of every check")


class Split(_Block):
    """Shares of validation and test where the source has no official split of that name.

    ``frozen``: every face keeps its official side, and faces without one are for training; nothing is cut anew.
    """

    val: float = Field(gt=0, lt=1, description="share of validation")
    test: float = Field(gt=0, lt=1, description="share of test")
    frozen: bool = Field(False, description="every face keeps its official side, and faces without one are for training")

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "Split":
        if self.val + self.test >= 1:
            raise ValueError("val and test together must leave something to train on")
        return self


# Weightings by name: those of the systems this one replaces, and the plain ones.
WEIGHTINGS: dict[str, dict[str, float]] = {
    "equal": {"expression": 1.0, "affect": 1.0, "age": 1.0, "gender": 1.0, "race": 1.0},
    "expression": {"expression": 1.0, "affect": 0.0, "age": 0.0, "gender": 0.0, "race": 0.0},
    "expression-affect": {"expression": 1.0, "affect": 0.5, "age": 0.0, "gender": 0.0, "race": 0.0},  # alpha 1.0, beta 0.5
}


class Training(_Block):
    """How a member is trained. What a key means stands beside it; 0 turns off what can be turned off."""

    epochs: int = Field(ge=1, description="rounds over the training faces")
    batch_size: int = Field(ge=2, description="faces in a step, of all processes together")
    accumulate: int = Field(1, ge=1, description="batches whose gradients are summed before a step")
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="sgd: Nesterov's; momentum 0.9, with onecycle between 0.85 and 0.95"
    )
    lr: float = Field(gt=0, description="learning rate, the largest of the schedule")
    schedule: Literal["onecycle", "cosine", "step", "plateau", "constant"] = Field(
        "onecycle", description="how the learning rate moves"
    )
    warmup: float = Field(0.25, ge=0, lt=1, description="share of the training in which the rate rises")
    weight_decay: float = Field(ge=0, description="of kernels and matrices, not of biases and normalisation")
    clip: float = Field(5.0, ge=0, description="largest norm of the gradient; 0: any")
    label_smoothing: float = Field(ge=0, lt=1, description="share of the target that is spread over all classes")
    soft_labels: float = Field(
        0.0, ge=0, le=1, description="share of the votes (students: of the teacher's answers) in the target"
    )
    balance: Literal["none", "weights", "sampling"] = Field(
        "none", description="against rare classes; weights: N / (K n) in the loss; sampling: of expressions"
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the moving average of the weights")
    freeze_epochs: int = Field(0, ge=0, description="epochs in which the backbone's first layers stand still")
    freeze_share: float = Field(0.5, gt=0, le=1, description="the share of its layers, in depth, that does")
    score: Literal["accuracy", "macro_f1", "combined", "loss"] = Field(
        "accuracy", description="what chooses the best epoch, on validation; combined: macro F1 + mean CCC"
    )
    patience: int = Field(0, ge=0, description="epochs without a better score after which training stops")
    image_size: int = Field(ge=0, le=512, description="side of what the network sees, at least 16; 0: dataset.image_size")
    progressive: float = Field(1.0, gt=0.3, le=1, description="share of image_size at the start; it grows until 70 %")
    tta: Literal["none", "flip", "ten_crop"] = Field(
        "none", description="views whose outputs are averaged, in every prediction and export"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(description="of the computation in training")
    devices: int = Field(1, ge=1, description="GPUs or, without one, processes of a machine")
    nodes: int = Field(1, ge=1, description="machines; more than one: start the stage with torchrun on each")
    dropout: float = Field(ge=0, lt=1, description="share of the features that a step leaves out, before the heads")
    pretrained: bool | str = Field(description="true: the library's weights; a path: a checkpoint of the same network")
    task_weights: dict[str, float] = Field(description="a task without a weight above 0 is not learned; or a weighting's name")
    task_weighting: Literal["fixed", "learned"] = Field("fixed", description="learned: by uncertainty, beginning at task_weights")
    heads: dict[str, str] = Field({}, description="task -> head, where it is not the one that the task's kind names")

    @field_validator("task_weights", mode="before")
    @classmethod
    def _may_be_a_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in WEIGHTINGS:
                raise ValueError(f"unknown weighting {value!r}; known: {', '.join(WEIGHTINGS)}")
            return WEIGHTINGS[value]
        return value

    @model_validator(mode="after")
    def _knows_its_tasks(self) -> "Training":
        if unknown := (set(self.task_weights) | set(self.heads)) - set(TASKS):
            raise ValueError(f"unknown tasks {sorted(unknown)}; known: {', '.join(TASKS)}")
        if unknown := set(self.heads.values()) - set(names("heads")):
            raise ValueError(f"unknown heads {sorted(unknown)}; known: {', '.join(names('heads'))}")
        if 0 < self.image_size < LEAST_SIZE:
            raise ValueError(f"image_size {self.image_size} is too small: {LEAST_SIZE} or more, or 0 for the dataset's")
        if self.batch_size % (2 * self.devices * self.nodes):  # MixUp makes pairs, in every process
            raise ValueError(f"batch_size {self.batch_size} must be even in each of {self.devices * self.nodes} processes")
        return self

    def head(self, task: str) -> str:
        """The registered name of the head that learns ``task``."""
        return self.heads.get(task, TASKS[task].kind)

    def learns(self, tasks: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        """Those of ``tasks`` that have a weight above 0."""
        return {task: classes for task, classes in tasks.items() if self.task_weights.get(task, 0) > 0}


class Member(Training):
    """One network of the comparison: what it is, what it sees, and how it is trained."""

    backbone: str = Field(description="a file in src/ferflow/backbones")
    variant: str = Field("", description="which network of the backbone, where it has several (timm's name)")
    modality: Modality = Field(description="what it sees: colours or grey")
    recipe: str = Field(description="how training pictures are changed: a file in src/ferflow/transforms")
    options: dict[str, Any] = Field({}, description="the backbone's own")

    @model_validator(mode="after")
    def _is_registered(self) -> "Member":
        _must_be_registered("backbones", self.backbone, " (a timm network is written 'backbone: timm, variant: NAME')")
        _must_be_registered("transforms", self.recipe)
        return self

    @property
    def label(self) -> str:
        """How tables call the network: its variant where it has one."""
        return self.variant or self.backbone


class Ablation(_Block):
    """What ``ferflow ablation`` makes members of: ``base`` and every combination of the values of the axes."""

    base: dict[str, Any] = Field({}, description="what all of them share: keys of a member")
    axes: dict[str, list[Any] | dict[str, dict[str, Any]]] = Field(
        min_length=1, description="a key of a member, dotted inside a mapping -> its values, or name -> keys with values"
    )


class Range(_Block):
    """Numbers between two, whole ones where both are whole."""

    low: int | float = Field(description="the least value")
    high: int | float = Field(description="the largest value")
    log: bool = Field(False, description="values are drawn on a logarithmic scale")

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low} must be less than high {self.high}, and above 0 where log is true")
        return self


class Search(_Block):
    """What ``ferflow search`` tries: keys of a member, dotted where they lie in a mapping, each a range or a list."""

    trials: int = Field(20, ge=1, description="how many are tried")
    epochs: int = Field(0, ge=0, description="of every trial; 0: the member's own")
    space: dict[str, Range | list[Any]] = Field(
        min_length=1, description="a key of a member -> {low, high, log} or a list of values"
    )


class Calibrate(_Block):
    """When an answer is certain."""

    certain_accuracy: float = Field(gt=0, le=1, description="share of right answers that confidence must promise")


class Ensemble(_Block):
    """How members are combined: the best way in cross-validation over the validation faces, or the one that is named.

    ``ways`` are files in ``combiners/`` (none: all of them); ``fixed`` names weights that are given, a member -> its weight.
    """

    way: str = Field("auto", description="auto, a combiner, or a name of fixed")
    ways: tuple[str, ...] = Field((), description="combiners that are tried; none: all")
    fixed: dict[str, dict[str, float]] = Field({}, description="a name -> weights that are given, a member each")

    @model_validator(mode="after")
    def _is_registered(self) -> "Ensemble":
        for name in self.ways:
            _must_be_registered("combiners", name)
        if self.way not in ("auto", *self.fixed):
            _must_be_registered("combiners", self.way, f"; or auto{''.join(f', {name}' for name in self.fixed)}")
        return self


class Evaluate(_Block):
    """How figures are judged."""

    resamples: int = Field(1000, ge=100, description="bootstrap resamples behind every interval")


class Robustness(_Block):
    """How answers are tried on worse pictures."""

    faces: int = Field(200, ge=0, description="test faces, each made worse in fifty ways; 0: none")


class Export(_Block):
    """Formats (files in ``exporters/``) and how exact they must be.

    ``tolerance``: the largest allowed difference of any probability from PyTorch and from what was evaluated. Quantised
    formats differ by more; of them, the share of faces with the same class and the fall of accuracy are limited.
    """

    model: str = Field("ensemble", description="what is released: the ensemble, a member, or a student")
    formats: tuple[str, ...] = Field(min_length=1, description="files in src/ferflow/exporters; onnx is always among them")
    tolerance: float = Field(gt=0, description="largest difference of a probability from PyTorch's")
    faces: int = Field(ge=1, description="how many test faces the parity check looks at")
    int8_agreement: float = Field(0.99, ge=0, le=1, description="least share of faces with PyTorch's class")
    int8_drop: float = Field(0.005, ge=0, le=1, description="largest fall of accuracy, a share")
    calibration: int = Field(300, ge=1, description="training faces on which quantised formats measure their ranges")

    @model_validator(mode="after")
    def _is_registered(self) -> "Export":
        for name in self.formats:
            _must_be_registered("exporters", name)
        if "onnx" not in self.formats:
            raise ValueError("export.formats must name onnx: it is what is registered and served")
        return self


class Register(_Block):
    """Names in MLflow."""

    experiment: str = Field(description="the experiment of the runs")
    model: str = Field(description="the registered model whose versions are served")


class Resources(_Block):
    """What a stage asks of its worker. ``cores`` 0: no limit, and counted as one; GPUs are whole ones."""

    cores: int = Field(default=0, ge=0, description="processor cores; 0: no limit, and counted as one")
    gpus: int = Field(default=0, ge=0, description="whole GPUs")


class Pipeline(_Block):
    """How stages find workers (``python -m flows.pipeline``). It changes no result, so no stage depends on it."""

    workers: int = Field(default=0, ge=0, description="stages at once on one machine; 0: as its cores allow")
    retries: int = Field(default=2, ge=0, description="of a stage whose worker died, or that might not fail again")
    here: tuple[str, ...] = Field(default=("register",), description="stages that reach outside: never on another machine")
    resources: dict[str, Resources] = Field(
        default={}, description="a stage or a member of it (train@gray-cnn) -> what it asks for"
    )

    def wants(self, stage: str) -> Resources:
        """What a stage (``train@gray-cnn``) asks for: its own entry, or that of all of its kind (``train``)."""
        return self.resources.get(stage) or self.resources.get(stage.partition("@")[0]) or Resources()

    def runs_here(self, stage: str) -> bool:
        """Whether it must run where the pipeline was started; so must data that DVC only keeps (``.dvc`` files)."""
        return stage.partition("@")[0] in self.here or stage.endswith(".dvc")


class Serve(_Block):
    """The service: how faces are found, what leaves it, its limits, and where it writes.

    ``detector``: a registered one, or ``auto`` (YuNet where its file is, else Haar). ``heads``: tasks whose answers leave
    the service; none: all. ``log``: where predictions are written, an SQLAlchemy address; empty: nowhere.
    """

    detector: str = Field("auto", description="a registered one; auto: YuNet where its file is, else Haar")
    detector_files: dict[str, Path] = Field({}, description="detector -> its file, where it lies elsewhere")
    longest_side: int = Field(1280, ge=32, description="pixels of the longer side that a detector sees at most")
    heads: tuple[str, ...] = Field((), description="tasks whose answers leave the service; none: all")
    workers: int = Field(1, ge=1, description="processes that answer")
    max_megabytes: float = Field(10, gt=0, description="of a body")
    max_megapixels: float = Field(50, gt=0, description="of a picture, or of all in a batch")
    max_faces: int = Field(100, ge=1, description="in a picture")
    max_pictures: int = Field(16, ge=1, description="in a batch of pictures")
    max_crops: int = Field(256, ge=1, description="in a batch of faces")
    max_batch: int = Field(64, ge=1, description="faces that go through the network together")
    max_frames: int = Field(600, ge=1, description="of a video")
    max_waiting: int = Field(64, ge=1, description="requests in work; more are told to come back")
    requests_a_minute: int = Field(0, ge=0, description="of one client; 0: no limit")
    require_key: bool = Field(False, description="predictions, too, need an API key")
    keys: Path = Field(Path(".ferflow/keys.json"), description="the file of the API keys")
    cors: tuple[str, ...] = Field((), description="origins whose pages may ask")
    log: str = Field(
        "sqlite:///.ferflow/live.db", description="where predictions are written, an SQLAlchemy address; empty: nowhere"
    )
    log_buffer: int = Field(10_000, ge=100, description="rows kept in memory while the log cannot be written")
    keep_crops: Path = Field(Path("data/consented"), description="the folder of crops whose people agreed")
    keep_days: float = Field(90, gt=0, description="days after which consented crops go")
    poll_s: float = Field(1.0, gt=0, description="seconds between looks at the registry for another champion")

    @model_validator(mode="after")
    def _is_registered(self) -> "Serve":
        for name in {self.detector, *self.detector_files} - {"auto"}:
            _must_be_registered("detectors", name)
        if unknown := sorted(set(self.heads) - set(TASKS)):
            raise ValueError(f"heads: no task is called {unknown[0]}; there are {', '.join(TASKS)}")
        return self


class Gate(_Block):
    """What a challenger must show to become champion (``gate.py`` says how each is judged); shares are of 1.

    ``class_floors`` names a floor of its own for single classes; 0: the class is not judged.
    """

    margin: float = Field(0.02, ge=0, le=1, description="accuracy on the test faces that it may lose against the champion")
    live_margin: float = Field(0.05, ge=0, le=1, description="the same on the newest labelled live faces")
    min_live: int = Field(30, ge=1, description="labelled live faces below which these are not judged")
    live_floor: float = Field(
        0.25, ge=0, le=1, description="share of these that it must get right (upper end of its interval); 0: not judged"
    )
    class_floor: float = Field(0.3, ge=0, le=1, description="least recall of every class")
    class_floors: dict[str, float] = Field(default={}, description="class -> a floor of its own; 0: not judged")
    fairness_gap: float = Field(0.05, ge=0, le=1, description="by which the gap between groups may widen")
    ece: float = Field(0.1, ge=0, le=1, description="largest calibration error")
    latency_ratio: float = Field(1.5, gt=0, description="times as long as the champion, at most")
    latency_ms: float = Field(0.0, ge=0, description="of one face, at most; 0: no limit")
    size_mb: float = Field(200.0, gt=0, description="of the model's file, at most")

    @model_validator(mode="after")
    def _names_classes(self) -> "Gate":
        known = {name for task in TASKS.values() for name in task.classes}
        if unknown := sorted(set(self.class_floors) - known):
            raise ValueError(f"class_floors: no class is called {unknown[0]}; there are {', '.join(sorted(known))}")
        if odd := [name for name, floor in self.class_floors.items() if not 0 <= floor <= 1]:
            raise ValueError(f"class_floors.{odd[0]} must be between 0 and 1")
        return self


class Retrain(_Block):
    """When a model is trained again, and who hears of it.

    ``webhook``: an http(s) address, or ``$NAME`` of an environment variable that holds it (such addresses are secrets).
    """

    min_feedback: int = Field(100, ge=1, description="new labelled faces below which nothing is trained")
    hold_out: float = Field(0.3, ge=0, lt=1, description="share of them, the newest, that only the gate sees")
    cron: str = Field("0 3 * * *", description="when it is tried; empty: never by itself")
    webhook: str = Field("", description="an http(s) address that hears of it, or $NAME of an environment variable")

    @field_validator("webhook")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not re.match(r"https?://|\$[A-Za-z_]\w*$", value):
            raise ValueError("webhook is an http(s) address, or $NAME of an environment variable that holds one")
        return value


class Monitor(_Block):
    """What ``ferflow monitor`` looks at, and when it calls a difference drift.

    A feature drifted when its effect is larger than ``effect`` (the domain classifier's area: ``auc``) and larger than chance
    makes it in windows of that size; chance is measured on ``draws`` windows drawn from the reference itself.
    """

    window_h: float = Field(24, gt=0, description="hours that a window is long")
    min_rows: int = Field(200, ge=50, description="faces below which a window is not judged")
    max_rows: int = Field(20_000, ge=200, description="of a larger window so many rows are drawn; counts are of all")
    effect: float = Field(0.1, ge=0, le=1, description="least effect: Wasserstein in standard deviations, Jensen-Shannon")
    auc: float = Field(0.55, ge=0.5, le=1, description="least area under the curve of the domain classifier")
    max_no_face: float = Field(0.9, gt=0, le=1, description="share of pictures without a face above which something is wrong")
    false_alarms: float = Field(0.03, gt=0, lt=1, description="share of windows without drift that may alarm")
    draws: int = Field(300, ge=100, description="windows drawn from the reference to see what chance does")
    keep_reports: int = Field(50, ge=1, description="reports in reports/drift; older ones go")
    cron: str = Field("7 * * * *", description="when 'make schedule' looks; empty: never by itself")


class Params(_Block):
    """Everything in ``params.yaml``."""

    seed: int = Field(ge=0, description="of everything that is drawn by lot")
    dataset: Dataset
    validation: Validate = Field(alias="validate")
    split: Split
    training: Training
    members: dict[str, Member] = Field(min_length=1)
    students: dict[str, Member] = {}
    calibrate: Calibrate
    ensemble: Ensemble
    evaluate: Evaluate
    robustness: Robustness
    ablation: Ablation | None = None
    search: Search | None = None
    export: Export
    register_: Register = Field(alias="register")
    pipeline: Pipeline = Pipeline()
    serve: Serve
    gate: Gate = Field(default_factory=lambda: Gate.model_validate({}))
    retrain: Retrain = Field(default_factory=lambda: Retrain.model_validate({}))
    monitor: Monitor = Field(default_factory=lambda: Monitor.model_validate({}))

    @model_validator(mode="after")
    def _names_are_clear(self) -> "Params":
        if odd := [name for name in self.networks if not re.fullmatch(r"[A-Za-z0-9_-]+", name)]:
            raise ValueError(
                f"names of members and students have letters, digits, - and _ only (DVC reads others otherwise): {odd[0]}"
            )
        if odd := [name for name in (*self.networks, *self.ensemble.fixed) if _reads_as_no_name(name)]:
            raise ValueError(
                f"{odd[0]!r} cannot be the name of a member, a student or a fixed weighting: tables would read it as a number or "
                f"as nothing; call it m_{odd[0]}, for instance"
            )
        if twice := sorted((set(self.members) & set(self.students)) | ({"ensemble"} & set(self.networks))):
            raise ValueError(f"members and students need names of their own, not {', '.join(twice)}")
        if deaf := [name for name, student in self.students.items() if not student.soft_labels]:
            raise ValueError(f"students.{deaf[0]}.soft_labels must be above 0: the share of the teacher's answers in the target")
        for name, weights in self.ensemble.fixed.items():
            if unknown := sorted(set(weights) - set(self.members)):
                raise ValueError(f"ensemble.fixed.{name}: no member is called {unknown[0]}; there are {', '.join(self.members)}")
            if min(weights.values(), default=0) < 0 or sum(weights.values()) <= 0:
                raise ValueError(f"ensemble.fixed.{name}: weights are at least 0, and not all 0")
        if self.export.model not in {"ensemble", *self.networks}:
            raise ValueError(f"export.model {self.export.model!r} is none of ensemble, {', '.join(self.networks)}")
        return self

    @property
    def networks(self) -> dict[str, Member]:
        """Members and students: everything that is trained."""
        return self.members | self.students

    def member(self, name: str) -> Member:
        """The member called ``name``; a ``ParamsError`` that lists the known ones if there is none."""
        if name not in self.members:
            raise ParamsError(f"no member is called {name!r}; {PARAMS_FILE} has: {', '.join(self.members)}")
        return self.members[name]


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check ``params.yaml``; a ``ParamsError`` names every key that is wrong.

    FERFLOW_LOG of the environment comes before ``serve.log``: a container's own, which may hold a password.
    """
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is not here; run the command in the project's root") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from error
    if (log := os.environ.get("FERFLOW_LOG")) and isinstance(raw, dict) and isinstance(raw.get("serve"), dict):
        raw["serve"]["log"] = log
    return parse(raw, str(path))


def load_or_packed() -> Params:
    """``params.yaml`` of this folder; where there is none, the one in ferflow's wheel: enough to serve and to watch."""
    packed = Path(__file__).with_name(PARAMS_FILE.name)
    if not packed.exists() or PARAMS_FILE.exists():
        return load(PARAMS_FILE)
    print(f"ferflow: no {PARAMS_FILE} in {Path.cwd()}: the values of ferflow's package are taken", file=sys.stderr)
    return load(packed)


def parse(raw: dict[str, Any], where: str = "params") -> Params:
    """Check the content of ``params.yaml``, already read; members inherit what they leave out from ``training``."""
    try:
        defaults = raw.get("training") or {}
        trained = {
            block: {name: _inherit(defaults, member or {}) for name, member in (raw.get(block) or {}).items()}
            for block in ("members", "students")
        }
        return Params.model_validate({**raw, **trained})
    except ValidationError as error:
        lines = (f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ParamsError(f"{where} is not usable:\n" + "\n".join(lines)) from error
    except (AttributeError, TypeError) as error:
        raise ParamsError(f"{where} is not usable: a block is not a mapping of names to values") from error


def _inherit(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A member's own values over the defaults; a mapping (the weights of the tasks, say) is merged key by key."""
    if isinstance(name := defaults.get("task_weights"), str):  # a weighting: a member may change one of its weights
        defaults = {**defaults, "task_weights": WEIGHTINGS.get(name, name)}
    merged = {**defaults, **own}
    for name in defaults.keys() & own.keys():
        if isinstance(defaults[name], dict) and isinstance(own[name], dict):
            merged[name] = {**defaults[name], **own[name]}
    return merged
