"""The only door for configuration: ``params.yaml`` becomes frozen, typed values; an unknown key is refused.

It owns the meaning of every key. Nothing else reads ``params.yaml``, and no value has a second
home: what a member leaves out it takes from the block ``training``.
"""

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ferflow.registry import names
from ferflow.vocabulary import TASKS, Modality

PARAMS_FILE = Path("params.yaml")


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

    source: str
    path: Path
    image_size: int = Field(ge=16, le=512, description="side of the square crops that members see, pixels")
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _is_registered(self) -> "Dataset":
        _must_be_registered("datasets", self.source)
        return self


class Rule(_Block):
    """What a check does when it finds something: ``fail`` stops the pipeline, ``quarantine`` sets the rows aside,
    ``warn`` reports, ``off`` says nothing. ``allow`` is the share that is still fine (not for quarantine)."""

    do: Literal["fail", "quarantine", "warn", "off"]
    allow: float = Field(0.0, ge=0, le=1)


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

    min_rows: int = Field(ge=1)
    min_class_rows: int = Field(ge=0)
    max_class_ratio: float = Field(ge=1, description="largest class to smallest")
    min_contrast: float = Field(ge=0, description="standard deviation of grey levels under which an image is flat")
    min_side: int = Field(ge=1, description="pixels")
    outlier_iqr: float = Field(gt=0, description="an outlier lies that many interquartile ranges outside the quartiles")
    near_distance: int = Field(ge=0, le=15, description="differing bits of the perceptual hashes of near duplicates")
    near_correlation: float = Field(ge=0, le=1, description="least correlation of the thumbnails of near duplicates")
    face_sample: int = Field(ge=0, description="images in which a face is looked for")
    checks: Checks


class Split(_Block):
    """Shares of validation and test where the source has no official split of that name."""

    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)

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

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    accumulate: int = Field(1, ge=1, description="batches whose gradients are summed before a step")
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"  # sgd: Nesterov's; momentum 0.9, with onecycle between 0.85 and 0.95
    lr: float = Field(gt=0, description="the largest of the schedule")
    schedule: Literal["onecycle", "cosine", "step", "plateau", "constant"] = "onecycle"
    warmup: float = Field(0.25, ge=0, lt=1, description="share of the training in which the rate rises")
    weight_decay: float = Field(ge=0, description="of kernels and matrices, not of biases and normalisation")
    clip: float = Field(5.0, ge=0, description="largest norm of the gradient")
    label_smoothing: float = Field(ge=0, lt=1)
    soft_labels: float = Field(0.0, ge=0, le=1, description="share of the votes in the target, where a face has votes")
    balance: Literal["none", "weights", "sampling"] = "none"  # weights: N / (K n) in the loss; sampling: of expressions
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the moving average of the weights")
    freeze_epochs: int = Field(0, ge=0, description="epochs in which the backbone's first parameters stand still")
    freeze_share: float = Field(0.5, gt=0, le=1, description="the share of them that does")
    score: Literal["accuracy", "macro_f1", "combined", "loss"] = "accuracy"  # combined: macro F1 + mean CCC
    patience: int = Field(0, ge=0, description="epochs without a better score after which training stops")
    image_size: int = Field(ge=0, le=512, description="what the network sees; 0: dataset.image_size")
    progressive: float = Field(1.0, gt=0.3, le=1, description="share of image_size at the start; it grows until 70 %")
    tta: Literal["none", "flip", "ten_crop"] = "none"  # views whose outputs are averaged, in every prediction and export
    precision: Literal["fp32", "bf16", "fp16"]
    devices: int = Field(1, ge=1, description="GPUs or, without one, processes of a machine")
    nodes: int = Field(1, ge=1, description="machines; more than one: start the stage with torchrun on each")
    dropout: float = Field(ge=0, lt=1)
    pretrained: bool | str = Field(description="true: the library's weights; a path: a checkpoint of the same network")
    task_weights: dict[str, float] = Field(description="a task without a weight above 0 is not learned; or a weighting's name")
    task_weighting: Literal["fixed", "learned"] = "fixed"  # learned: by uncertainty, beginning at task_weights
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

    backbone: str
    variant: str = ""
    modality: Modality
    recipe: str
    options: dict[str, Any] = {}

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

    base: dict[str, Any] = {}
    axes: dict[str, list[Any] | dict[str, dict[str, Any]]] = Field(min_length=1)


class Range(_Block):
    """Numbers between two, whole ones where both are whole."""

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"low {self.low} must be less than high {self.high}, and above 0 where log is true")
        return self


class Search(_Block):
    """What ``ferflow search`` tries: keys of a member, dotted where they lie in a mapping, each a range or a list."""

    trials: int = Field(20, ge=1)
    epochs: int = Field(0, ge=0, description="of every trial; 0: the member's own")
    space: dict[str, Range | list[Any]] = Field(min_length=1)


class Calibrate(_Block):
    """When an answer is certain."""

    certain_accuracy: float = Field(gt=0, le=1, description="share of right answers that confidence must promise")


class Ensemble(_Block):
    """How members are combined: the best way in cross-validation over the validation faces, or the one that is named.

    ``ways`` are files in ``combiners/`` (none: all of them); ``fixed`` names weights that are given, a member -> its weight.
    """

    way: str = Field("auto", description="auto, a combiner, or a name of fixed")
    ways: tuple[str, ...] = ()
    fixed: dict[str, dict[str, float]] = {}

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
    formats: tuple[str, ...] = Field(min_length=1)
    tolerance: float = Field(gt=0)
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

    experiment: str
    model: str


class Serve(_Block):
    """The service: which detector (``auto`` takes YuNet where its file is there), the files they need, and limits."""

    detector: str
    detector_files: dict[str, Path]
    max_megabytes: float = Field(gt=0)
    max_megapixels: float = Field(gt=0)
    max_faces: int = Field(ge=1)

    @model_validator(mode="after")
    def _is_registered(self) -> "Serve":
        for name in {self.detector, *self.detector_files} - {"auto"}:
            _must_be_registered("detectors", name)
        return self


class Params(_Block):
    """Everything in ``params.yaml``."""

    seed: int = Field(ge=0)
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
    serve: Serve

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
    """Read and check ``params.yaml``; a ``ParamsError`` names every key that is wrong."""
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ParamsError(f"{path} is not here; run the command in the project's root") from error
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}") from error
    return parse(raw, str(path))


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
    merged = {**defaults, **own}
    for name in defaults.keys() & own.keys():
        if isinstance(defaults[name], dict) and isinstance(own[name], dict):
            merged[name] = {**defaults[name], **own[name]}
    return merged
