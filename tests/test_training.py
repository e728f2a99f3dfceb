import itertools
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from loopback import free_port
from timm.optim import create_optimizer_v2
from torch.multiprocessing.spawn import ProcessRaisedException
from tqdm import tqdm

from ferflow import params, presets, training
from ferflow.faces import Faces, load_faces, tasks_of
from ferflow.model import FaceNetwork, build, views
from ferflow.params import Split
from ferflow.registry import get
from ferflow.splitting import split
from ferflow.tables import iter_images, load_labels, read_labels
from ferflow.training import (
    DivergedError,
    Schedule,
    TooLargeError,
    ahead,
    at_once,
    batches,
    class_weights,
    early_modules,
    epoch_order,
    mixed,
    predict,
    resident,
    score_of,
    seed_everything,
    size_in_epoch,
    train,
    validate,
)
from ferflow.transforms import Recipe


@pytest.fixture(scope="module")
def loaded(manifest, tmp_path_factory):
    labels = read_labels(manifest)
    groups = pd.DataFrame({"same": range(len(labels)), "near": range(len(labels))}, index=labels["id"])
    path = tmp_path_factory.mktemp("splits") / "splits.parquet"
    split(labels, groups, Split(val=0.2, test=0.2), seed=0).to_parquet(path)
    joined = load_labels(manifest, path)
    tasks = tasks_of(joined)
    return tasks, {m: load_faces(manifest, joined, ("train", "val", "test"), 32, m, tasks) for m in ("rgb", "gray")}


@pytest.fixture
def member(settings):
    update = {"epochs": 2, "batch_size": 16, "options": {"width": 4}, "image_size": 0}
    return settings.member("gray-cnn").model_copy(update=update)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(loaded, member):
    tasks, faces = loaded
    runs = [train(member, tasks, faces["gray"]["train"], faces["gray"]["val"], seed) for seed in (1, 1, 2)]
    first, again, other = (run.network.state_dict() for run in runs)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    seconds = {"epoch_s", "wait_s"}
    first, again = ([{k: v for k, v in row.items() if k not in seconds} for row in run.history] for run in runs[:2])
    assert first == again
    assert all(0 <= row["wait_s"] <= row["epoch_s"] for row in runs[0].history)
    assert [row["epoch"] for row in runs[0].history] == [1, 2]
    best = max(row["val_accuracy"] for row in runs[0].history)
    assert runs[0].history[runs[0].best_epoch - 1]["val_accuracy"] == best


def test_training_learns_the_faces_it_sees(loaded, member):
    tasks, faces = loaded
    longer = member.model_copy(update={"epochs": 40, "recipe": "none", "options": {"width": 8}, "dropout": 0.0, "lr": 0.01})
    few = Faces(
        faces["gray"]["train"].ids[:32],
        faces["gray"]["train"].pixels[:32],
        {"expression": faces["gray"]["train"].targets["expression"][:32]},
    )
    trained = train(longer, {"expression": tasks["expression"]}, few, few, seed=1)
    assert trained.history[-1]["val_accuracy"] > 0.9


def test_a_loss_that_is_not_finite_stops_with_epoch_step_rate_and_ids(loaded, member):
    tasks, faces = loaded
    with pytest.raises(DivergedError, match=r"epoch 1, step \d+, lr .*synthetic-"):
        train(member.model_copy(update={"lr": 1e30}), tasks, faces["gray"]["train"], faces["gray"]["val"], seed=1)


@pytest.mark.parametrize("broken", [3, 6])  # of six steps
def test_the_step_whose_loss_is_not_finite_is_the_one_that_is_named(loaded, member, monkeypatch, broken):
    tasks, faces = loaded
    data, losses, shown = faces["gray"]["train"], [], []
    loss, made = FaceNetwork.loss, training.batches

    def nan_once(self, *given, **how):
        losses.append(loss(self, *given, **how))
        return losses[-1] * (float("nan") if len(losses) == broken else 1.0)

    def watched(*given, **how):
        for batch in made(*given, **how):
            shown.append(batch[0])
            yield batch

    monkeypatch.setattr(FaceNetwork, "loss", nan_once)
    monkeypatch.setattr(training, "batches", watched)
    falling = member.model_copy(update={"schedule": "cosine", "warmup": 0.0, "lr": 0.02, "epochs": 1})
    with pytest.raises(DivergedError) as caught:
        train(falling, tasks, data, faces["gray"]["val"], 1)
    rate = 0.02 * (0.001 + 0.999 * (1 + np.cos(np.pi * (broken - 1) / 6)) / 2)
    assert str(caught.value).startswith(f"loss nan at epoch 1, step {broken}, lr {rate:.2g}: ")
    assert str(caught.value).endswith("ids of the batch: " + ", ".join(data.ids[row] for row in shown[broken - 1]))


def test_the_validation_loss_is_a_mean_over_what_has_labels_however_faces_lie(loaded, member):
    tasks, faces = loaded
    val = faces["gray"]["val"]
    first = np.arange(len(val.ids)) < 10  # as a union of two sets: some faces have a gender, then others an expression
    sets = {"expression": np.where(first, -1, val.targets["expression"]), "gender": np.where(first, val.targets["gender"], -1)}
    union = Faces(val.ids, val.pixels, {task: sets.get(task, blank(target)) for task, target in val.targets.items()})
    network = build(member, tasks, 32).eval()
    told = [validate(network, union, member.model_copy(update={"batch_size": size}))["val_loss"] for size in (2, 10, 64)]
    with torch.no_grad():
        raw = network(torch.from_numpy(union.pixels))
    each = {task: network.heads[task].loss(raw[task], torch.from_numpy(sets[task])).item() for task in sets}
    assert told == pytest.approx([sum(member.task_weights[task] * value for task, value in each.items())] * 3, rel=1e-5)


def blank(target):
    return np.full_like(target, -1 if target.dtype == np.int64 else np.nan)


@pytest.mark.parametrize("weighting", ["fixed", "learned"])
def test_a_task_without_any_label_changes_nothing(loaded, member, weighting):
    tasks, faces = loaded
    data = faces["gray"]["train"]
    partly = {task: blank(target) for task, target in data.targets.items()} | {"expression": data.targets["expression"]}
    multi = member.model_copy(update={"task_weighting": weighting, "weight_decay": 0.0, "clip": 0.0, "epochs": 1})
    trained = train(multi, tasks, Faces(data.ids, data.pixels, partly), faces["gray"]["val"], seed=1).network
    seed_everything(1)
    fresh = build(multi, tasks, 32)
    for task in set(tasks) - {"expression"}:
        before, after = fresh.heads[task].state_dict(), trained.heads[task].state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert weighting == "fixed" or trained.log_variances[task] == 0
    assert weighting == "fixed" or trained.log_variances["expression"] != 0


def test_learned_weights_leave_the_validation_loss_comparable(loaded, member):
    tasks, faces = loaded
    network = build(member.model_copy(update={"task_weighting": "learned"}), tasks, 32).eval()
    before = validate(network, faces["gray"]["val"], member)["val_loss"]
    torch.nn.init.constant_(network.log_variances["expression"], -5.0)
    assert validate(network, faces["gray"]["val"], member)["val_loss"] == pytest.approx(before)


def test_weights_that_break_in_the_last_step_of_an_epoch_are_noticed(loaded, member):
    tasks, faces = loaded
    data = faces["gray"]["train"]
    one_step = member.model_copy(
        update={"lr": 1e30, "clip": 0.0, "batch_size": len(data.ids), "schedule": "constant", "warmup": 0.0}
    )
    for score in ("accuracy", "loss"):
        with pytest.raises(DivergedError, match="validation loss nan after epoch 1"):
            train(one_step.model_copy(update={"score": score, "optimizer": "sgd"}), tasks, data, faces["gray"]["val"], 1)


def test_positions_and_tokens_do_not_decay(member):
    for backbone in ("vit", "hybrid"):
        wide = member.model_copy(update={"backbone": backbone, "options": {"depth": 1}})
        network = build(wide, {"expression": ("a", "b")}, 48)
        groups = create_optimizer_v2(network, "adamw", 0.1, 0.5, filter_bias_and_bn=True).param_groups
        decayed = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
        names = [name for name, parameter in network.named_parameters() if id(parameter) in decayed]
        assert names
        assert not [name for name in names if "pos_embed" in name or "cls_token" in name or "places" in name or "bias" in name]


def test_an_error_in_one_of_two_processes_keeps_its_name(loaded, member):
    tasks, faces = loaded
    broken = member.model_copy(update={"lr": 1e30, "clip": 0.0, "schedule": "constant", "warmup": 0.0, "devices": 2})
    with pytest.raises(DivergedError, match="epoch 1"):
        train(broken.model_copy(update={"optimizer": "sgd"}), tasks, faces["gray"]["train"], faces["gray"]["val"], 1)


@pytest.mark.parametrize(
    ("update", "kind", "words"),
    [
        ({"backbone": "timm", "variant": "resnet10t", "options": {}, "pretrained": "none.pth"}, FileNotFoundError,
         r"^pretrained: none\.pth is not there; fetch"),
        ({"balance": "sampling"}, ValueError, "^balance: sampling draws expressions equally often, and these faces have none"),
    ],
)  # fmt: skip
def test_what_a_user_can_mend_keeps_its_kind_and_words_in_two_processes(loaded, member, update, kind, words):
    tasks, faces = loaded
    data = faces["gray"]["train"]
    unknown = Faces(data.ids, data.pixels, data.targets | {"expression": blank(data.targets["expression"])})
    with pytest.raises(kind, match=words) as caught:
        train(member.model_copy(update=update | {"devices": 2}), tasks, unknown, faces["gray"]["val"], 1)
    assert type(caught.value) is kind


def test_what_cannot_be_done_is_said_before_it_begins(loaded, member):
    tasks, faces = loaded
    data, val = faces["gray"]["train"], faces["gray"]["val"]
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="fp16 needs a GPU"):
            train(member.model_copy(update={"precision": "fp16"}), tasks, data, val, 1)
    unknown = Faces(data.ids, data.pixels, data.targets | {"expression": blank(data.targets["expression"])})
    with pytest.raises(ValueError, match="sampling draws expressions equally often"):
        train(member.model_copy(update={"balance": "sampling"}), tasks, unknown, val, 1)


def test_the_averaged_network_is_what_is_validated_and_kept(loaded, member, tmp_path):
    tasks, faces = loaded
    averaged = member.model_copy(update={"epochs": 1, "ema": 0.9, "schedule": "constant", "warmup": 0.0})
    data, val, checkpoint = faces["gray"]["train"], faces["gray"]["val"], tmp_path / "c.pt"
    trained = train(averaged, tasks, data, val, 1, checkpoint)
    state, kept = torch.load(checkpoint, weights_only=False), trained.network.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in state["average"].items())
    raw = build(averaged, tasks, 32)
    raw.load_state_dict(state["network"])
    told = trained.history[0]["val_loss"]
    assert told == pytest.approx(validate(trained.network, val, averaged)["val_loss"], rel=1e-5)
    assert told != pytest.approx(validate(raw, val, averaged)["val_loss"], rel=1e-3)
    alone = train(averaged.model_copy(update={"ema": 0.0}), tasks, data, val, 1).network.state_dict()
    assert all(torch.equal(alone[name], value) for name, value in state["network"].items()), "the average changes no step"


def test_the_combined_score_is_macro_f1_and_the_mean_ccc(loaded, member, monkeypatch):
    tasks, faces = loaded
    val, combined = faces["gray"]["val"], member.model_copy(update={"score": "combined", "epochs": 4})
    network = build(combined, tasks, 32).eval()
    said = predict(network, val.pixels)["affect"]
    half_right = np.stack([said[:, 0], said[::-1, 1]], axis=1)
    figures = validate(network, Faces(val.ids, val.pixels, val.targets | {"affect": half_right}), combined)
    wrong = get("metrics", "ccc")(half_right[:, 1], said[:, 1])
    assert wrong < 0.9
    assert figures["val_ccc"] == pytest.approx((1 + wrong) / 2, abs=1e-3)
    assert score_of(figures, combined) == figures["val_macro_f1"] + figures["val_ccc"]
    columns = ("val_loss", "val_accuracy", "val_macro_f1", "val_ccc")
    rows = ((0.1, 0.9, 0.3, 0.2), (0.4, 0.3, 0.6, 0.0), (0.3, 0.5, 0.5, 0.3), (0.2, 0.4, 0.1, 0.5))
    told = iter([dict(zip(columns, row, strict=True)) for row in rows])
    monkeypatch.setattr("ferflow.training.validate", lambda *_: next(told))
    assert train(combined, tasks, faces["gray"]["train"], val, 1).best_epoch == 3, "each figure alone is best in another epoch"


def test_gradients_are_clipped_before_the_optimizer_sees_them(loaded, member, monkeypatch):
    tasks, faces = loaded
    step, norms = torch.optim.SGD.step, []

    def seen(self, closure=None):
        gradients = [parameter.grad.norm() for group in self.param_groups for parameter in group["params"]]
        norms.append(float(torch.stack(gradients).norm()))
        return step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", seen)
    for clip in (0.0, 0.05):
        clipped = member.model_copy(update={"optimizer": "sgd", "epochs": 1, "accumulate": 2, "clip": clip})
        train(clipped, tasks, faces["gray"]["train"], faces["gray"]["val"], 1)
    free, limited = np.split(np.array(norms), 2)
    assert (free > 0.1).all()
    assert limited == pytest.approx(0.05, rel=1e-3)


def test_bf16_is_for_training_and_predictions_are_made_in_full_precision(loaded, member, monkeypatch):
    tasks, faces = loaded
    only, data, seen = {"expression": tasks["expression"]}, faces["gray"]["train"], set()
    few = Faces(data.ids[:32], data.pixels[:32], {"expression": data.targets["expression"][:32]})
    forward = FaceNetwork.forward

    def watched(self, pixels):
        raw = forward(self, pixels)
        seen.add((self.training, raw["expression"].dtype))
        return raw

    monkeypatch.setattr(FaceNetwork, "forward", watched)
    half = member.model_copy(update={"precision": "bf16", "epochs": 30, "recipe": "none", "dropout": 0.0, "lr": 0.01})
    trained = train(half, only, few, few, 1)
    assert np.isfinite([value for row in trained.history for value in row.values()]).all()
    assert trained.history[-1]["val_accuracy"] > 0.6, "chance is 0.125"
    found = predict(trained.network, few.pixels)["expression"]
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert {value.dtype for value in trained.network.state_dict().values() if value.is_floating_point()} == {torch.float32}
    assert (found.argmax(axis=1) == few.targets["expression"]).mean() == max(row["val_accuracy"] for row in trained.history)


def test_the_bar_shows_loss_score_faces_a_second_and_the_time_left(loaded, member, monkeypatch, capsys):
    tasks, faces = loaded
    monkeypatch.setattr("ferflow.training.tqdm", lambda **how: tqdm(**how | {"mininterval": 0}))
    history = train(member, tasks, faces["gray"]["train"], faces["gray"]["val"], 1).history
    shown = [line for line in re.split("[\r\n]", capsys.readouterr().err) if line.startswith("train cnn:")]
    done = [int(re.search(r"(\d+)/192 \[", line)[1]) for line in shown]
    assert done == sorted(done)
    assert done[-1] == 192 == 2 * len(faces["gray"]["train"].ids)
    halfway = next(line for line, faces_done in zip(shown, done, strict=True) if 112 < faces_done < 192)
    assert re.search(r" \[\d\d:\d\d<\d\d:\d\d, +[\d.]+face/s, best=\d", halfway), "since the start<to the end"
    loss, score = (f"{history[row][name]:.3f}" for row, name in ((1, "train_loss"), (0, "val_accuracy")))
    assert shown[-1].rstrip().endswith(f"face/s, best={score}, loss={loss}, score={score}]")


def test_the_last_batches_of_an_epoch_count_as_much_as_the_others(loaded, member):
    tasks, faces = loaded
    data = faces["gray"]["train"]
    one = member.model_copy(update={"batch_size": len(data.ids) // 2 // 2 * 2, "epochs": 1, "optimizer": "sgd", "clip": 0.0})
    one = one.model_copy(update={"schedule": "constant", "warmup": 0.0, "recipe": "none", "dropout": 0.0})

    def moved(accumulate):
        run = one.model_copy(update={"accumulate": accumulate})
        return train(run, tasks, data, faces["gray"]["val"], 1).network.state_dict()

    two, five = moved(2), moved(5)  # the epoch has two batches: a group of five has but two, too
    assert all(torch.equal(two[name], five[name]) for name in two)


def without_chance(member, update):
    """A member whose step depends on its faces alone, not on which of them stand in one batch."""
    still = {"backbone": "vit", "options": {"depth": 1, "drop_path_rate": 0.0}, "recipe": "none", "dropout": 0.0, "clip": 0.0}
    return member.model_copy(update=still | {"optimizer": "sgd", "schedule": "constant", "warmup": 0.0, "epochs": 1} | update)


def alike(one, other):
    first, second = one.network.state_dict(), other.network.state_dict()
    return all(torch.allclose(first[name], second[name], rtol=1e-4, atol=1e-6) for name in first)


def test_gradients_that_are_added_up_are_those_of_one_large_batch(loaded, member):
    tasks, faces = loaded
    only, data, val = {"expression": tasks["expression"]}, faces["gray"]["train"], faces["gray"]["val"]
    batches_of = {32: 3, 96: 1}
    one, large = (
        train(without_chance(member, {"batch_size": size, "accumulate": count}), only, data, val, 1)
        for size, count in batches_of.items()
    )
    assert alike(one, large)
    assert not alike(one, train(without_chance(member, {"batch_size": 32, "accumulate": 1}), only, data, val, 1))


def test_a_step_of_two_processes_is_that_of_one(loaded, member):
    tasks, faces = loaded
    only, data, val = {"expression": tasks["expression"]}, faces["gray"]["train"], faces["gray"]["val"]
    alone, both = (
        train(without_chance(member, {"batch_size": 48, "devices": devices}), only, data, val, 1) for devices in (1, 2)
    )
    assert alike(alone, both), "two steps of 48 faces, shared by two"
    assert both.history[0]["val_loss"] == pytest.approx(alone.history[0]["val_loss"], rel=1e-4)


def test_a_head_of_another_kind_is_refused(member):
    with pytest.raises(ValueError, match=r"heads\.expression: affect is a head for affect, and expression is a classification"):
        build(member.model_copy(update={"heads": {"expression": "affect"}}), {"expression": ("a", "b")}, 48)


def test_every_preset_member_can_see_every_size_on_its_way():
    for name in presets.names():
        content = yaml.safe_load((ROOT / f"src/ferflow/presets/{name}.yaml").read_text())
        settings = params.parse(yaml.safe_load((ROOT / "params.yaml").read_text()) | content)
        looks = {}
        for member in settings.networks.values():
            looks[member.backbone, member.variant, str(member.options), member.image_size, member.modality] = member
        for member in looks.values():
            full = member.image_size or settings.dataset.image_size
            network = build(member.model_copy(update={"pretrained": False}), {"expression": ("a", "b")}, full).eval()
            sizes = {
                size_in_epoch(member, full, epoch, getattr(network.backbone, "size_step", 8))
                for epoch in range(1, member.epochs + 1)
            }
            assert full in sizes
            for size in sizes:
                network.preprocessing.image_size = size
                assert network(torch.zeros(1, full, full, 1 if member.modality == "gray" else 3, dtype=torch.uint8))


def test_an_epoch_shows_every_face_at_most_once(loaded):
    data = loaded[1]["rgb"]["train"]
    order = np.random.default_rng(1).permutation(len(data.ids))
    rows = np.concatenate([rows for rows, *_ in batches(torch.from_numpy(data.pixels), order, 16, Recipe(lambda face: face))])
    assert len(set(rows.tolist())) == len(rows) == len(data.ids) // 16 * 16


def test_where_faces_are_changed_in_batches_a_training_learns_as_well_and_follows_its_seed(loaded, member, monkeypatch):
    tasks, faces = loaded
    monkeypatch.setattr(training, "at_once", lambda device: True)
    train_set, val = faces["gray"]["train"], faces["gray"]["val"]
    for recipe in ("crp_cutout", "mix"):
        one = member.model_copy(update={"recipe": recipe})
        runs = [train(one, tasks, train_set, val, 1) for _ in range(2)]
        first, again = (run.network.state_dict() for run in runs)
        assert all(torch.equal(first[name], again[name]) for name in first)
    few = Faces(train_set.ids[:32], train_set.pixels[:32], {"expression": train_set.targets["expression"][:32]})
    longer = member.model_copy(update={"epochs": 40, "recipe": "none", "options": {"width": 8}, "dropout": 0.0, "lr": 0.01})
    assert train(longer, {"expression": tasks["expression"]}, few, few, seed=1).history[-1]["val_accuracy"] > 0.9


def test_batches_are_changed_at_once_where_the_recipe_can():
    pixels, order = torch.zeros(8, 4, 4, 1, dtype=torch.uint8), np.arange(8)
    recipe = Recipe(lambda face: face + 1, batch=lambda faces: faces + 2)
    assert all((faces == 1).all() for _, faces, _ in batches(pixels, order, 4, recipe))
    elsewhere = torch.device("meta")  # no device that computes, but none that is a CPU
    assert not at_once(torch.device("cpu"))
    assert at_once(elsewhere)
    assert [faces.device for _, faces, _ in batches(pixels, order, 4, recipe, device=elsewhere)] == [elsewhere] * 2
    assert (pixels == 0).all(), "the next epoch begins with the faces as they are"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_faces_stay_there_and_come_changed_from_there(loaded, member):
    data = loaded[1]["gray"]["train"]
    device = torch.device("cuda")
    pixels = resident(data.pixels, device)
    assert pixels.is_cuda
    recipe = get("transforms", "crp")(32, 1)
    batch = next(batches(pixels, np.arange(16), 16, recipe, device=device))[1]
    assert batch.is_cuda
    here = get("transforms", "crp")(32, 1).batch(torch.from_numpy(data.pixels[:16]))
    assert (batch.cpu().int() - here.int()).abs().max() <= 1, "but for rounding"


def test_grey_faces_have_one_channel_and_splits_do_not_overlap(loaded):
    faces = loaded[1]
    assert faces["gray"]["test"].pixels.shape[1:] == (32, 32, 1)
    assert faces["rgb"]["test"].pixels.shape[1:] == (32, 32, 3)
    ids = [set(faces["rgb"][name].ids) for name in ("train", "val", "test")]
    assert sum(map(len, ids)) == len(set.union(*ids)) == 160


def test_predictions_do_not_depend_on_the_batch(loaded, member):
    tasks, faces = loaded
    trained = train(member, tasks, faces["gray"]["train"], faces["gray"]["val"], seed=1)
    pixels = faces["gray"]["test"].pixels
    whole, parts = predict(trained.network, pixels, 256), predict(trained.network, pixels, 7)
    for task in tasks:
        assert whole[task] == pytest.approx(parts[task], abs=1e-5)
    assert whole["expression"].sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_faces_of_different_lengths_or_type_are_refused():
    with pytest.raises(ValueError, match="length"):
        Faces(["a"], np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        Faces(["a"], np.zeros((1, 8, 8, 3), np.float32))


def test_a_training_passes_over_faces_that_teach_it_nothing(loaded, member):
    tasks, faces = loaded
    data, val = faces["gray"]["train"], faces["gray"]["val"]
    wanted = {"expression": tasks["expression"]}
    without = np.arange(len(data.ids)) % 3 == 0
    partly = Faces(data.ids, data.pixels, {"expression": np.where(without, -1, data.targets["expression"])})
    kept = Faces(
        [id_ for id_, gone in zip(data.ids, without, strict=True) if not gone],
        data.pixels[~without],
        {"expression": data.targets["expression"][~without]},
    )
    assert partly.labelled().ids == kept.ids
    votes = np.eye(len(wanted["expression"]), dtype=np.float32)[np.zeros(len(data.ids), int)]
    voted = Faces(data.ids, data.pixels, partly.targets, {"expression": votes})
    assert voted.labelled() is voted, "people's votes are labels, too"
    felt = np.array([[0.5, np.nan], [np.nan, np.nan], [0.1, 0.2]], dtype=np.float32)
    affect = Faces(data.ids[:3], data.pixels[:3], {"affect": felt})
    assert affect.labelled().ids == [data.ids[0], data.ids[2]], "valence alone is a label"
    one, other = (train(member, wanted, faces, val, 0).history for faces in (partly, kept))
    assert [row["train_loss"] for row in one] == [row["train_loss"] for row in other]


def test_images_are_read_in_the_manifests_order(manifest, loaded):
    ids = [id_ for batch in iter_images(manifest) for id_, _ in batch]
    order = [ids.index(id_) for id_ in loaded[1]["rgb"]["train"].ids]
    assert order == sorted(order)


def test_items_made_ahead_keep_their_order_and_an_error_comes_through():
    waited = [0.0]
    assert list(ahead(iter(range(50)), waited)) == list(range(50))
    assert waited[0] > 0

    def broken():
        yield 1
        raise OSError("gone")

    found = ahead(broken(), [0.0])
    assert next(found) == 1
    with pytest.raises(OSError, match="gone"):
        next(found)


def test_whoever_stops_early_stops_the_thread():
    made = []
    source = ahead((made.append(i) or i for i in range(10_000)), [0.0], depth=2)
    assert next(source) == 0
    source.close()
    time.sleep(0.5)
    assert len(made) <= 5


def without_seconds(history):
    return [{name: value for name, value in row.items() if name not in ("epoch_s", "wait_s")} for row in history]


def same_weights(one, other):
    first, second = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


RICH = {
    "epochs": 4,
    "optimizer": "sgd",
    "schedule": "cosine",
    "ema": 0.9,
    "recipe": "mix",
    "balance": "weights",
    "accumulate": 2,
    "progressive": 0.5,
    "freeze_epochs": 1,
    "dropout": 0.2,
    "task_weighting": "learned",
}


def stop_after(epoch):
    def report(done, _score):
        if done == epoch:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_a_training_that_goes_on_ends_as_an_unbroken_one(loaded, member, tmp_path, capsys, schedule):
    tasks, faces = loaded
    rich = member.model_copy(update=RICH | {"schedule": schedule})
    data, val = faces["gray"]["train"], faces["gray"]["val"]
    unbroken = train(rich, tasks, data, val, 1)
    checkpoint = tmp_path / "c.pt"
    with pytest.raises(KeyboardInterrupt):
        train(rich, tasks, data, val, 1, checkpoint, stop_after(2))
    resumed = train(rich, tasks, data, val, 1, checkpoint)
    assert "going on after epoch 2 of 4" in capsys.readouterr().out
    assert without_seconds(resumed.history) == without_seconds(unbroken.history)
    assert same_weights(resumed, unbroken)
    train(rich.model_copy(update={"lr": 0.001}), tasks, data, val, 1, checkpoint)
    assert "is of another member, data, seed or code" in capsys.readouterr().out
    checkpoint.write_bytes(b"half")
    train(rich.model_copy(update={"epochs": 1}), tasks, data, val, 1, checkpoint)
    assert "cannot be read" in capsys.readouterr().out


def broken_after_the_first_epoch(epoch, _score):
    raise RuntimeError(f"stopped after epoch {epoch}")


def test_two_processes_go_on_after_a_stop_and_what_is_frozen_stands_still(loaded, member, tmp_path, capfd):
    tasks, faces = loaded
    two = member.model_copy(update={"devices": 2, "ema": 0.9, "recipe": "mix", "freeze_epochs": 1, "freeze_share": 1.0})
    data, val, checkpoint = faces["gray"]["train"], faces["gray"]["val"], tmp_path / "c.pt"
    unbroken = train(two, tasks, data, val, 1)
    with pytest.raises(ProcessRaisedException, match="stopped after epoch 1"):
        train(two, tasks, data, val, 1, checkpoint, broken_after_the_first_epoch)
    stopped = torch.load(checkpoint, weights_only=False)["network"]
    resumed = train(two, tasks, data, val, 1, checkpoint)
    assert capfd.readouterr().out.count("going on after epoch 1 of 2") == 1
    assert without_seconds(resumed.history) == without_seconds(unbroken.history)
    assert same_weights(resumed, unbroken)
    seed_everything(1)
    fresh = build(two, tasks, 32).state_dict()
    backbone = [name for name in fresh if name.startswith("backbone")]
    assert all(torch.equal(stopped[name], fresh[name]) for name in backbone), "statistics of normalisation included"
    assert not any(torch.equal(stopped[name], fresh[name]) for name in fresh if name.startswith("heads") and "weight" in name)
    last = torch.load(checkpoint, weights_only=False)["network"]
    assert not any(torch.equal(last[name], fresh[name]) for name in backbone if fresh[name].ndim == 4), "then they move"


KILLED = """
import pickle, sys
from pathlib import Path
from ferflow.training import train
member, tasks, data, val = pickle.loads(Path(sys.argv[1]).read_bytes())
trained = train(member, tasks, data, val, 1, Path(sys.argv[2]))
Path(sys.argv[3]).write_bytes(pickle.dumps((trained.history, trained.network.state_dict())))
"""


def test_a_training_killed_in_the_middle_of_an_epoch_goes_on(loaded, member, tmp_path):
    tasks, faces = loaded
    few, val = faces["gray"]["train"], faces["gray"]["val"]
    rows = np.tile(np.arange(len(few.ids)), 12)  # so that an epoch lasts
    targets = {task: target[rows] for task, target in few.targets.items()}
    data = Faces([f"{few.ids[row]}-{index}" for index, row in enumerate(rows)], few.pixels[rows], targets)
    longer = member.model_copy(update={"epochs": 3, "recipe": "crp"})
    (tmp_path / "job").write_bytes(pickle.dumps((longer, tasks, data, val)))
    checkpoint, result = tmp_path / "c.pt", tmp_path / "result"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "job"), str(checkpoint), str(result)]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(checkpoint.exists)
    time.sleep(0.1)
    first.kill()  # SIGKILL
    first.wait()
    assert len(torch.load(checkpoint, weights_only=False)["history"]) == 1, "it was killed in the second epoch"
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "going on after epoch 1 of 3" in again.stdout
    history, weights = pickle.loads(result.read_bytes())
    checkpoint.unlink(missing_ok=True)  # and once more, unbroken
    subprocess.run(command, check=True, capture_output=True)
    unbroken, expected = pickle.loads(result.read_bytes())
    assert without_seconds(history) == without_seconds(unbroken)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_processes_learn_what_one_learns(loaded, member):
    tasks, faces = loaded
    tasks = {"expression": tasks["expression"]}
    data, val = faces["rgb"]["train"], faces["rgb"]["train"]  # whether it learns at all, not how well it generalises
    one = member.model_copy(update={"modality": "rgb", "epochs": 12, "recipe": "none", "options": {"width": 8}, "lr": 0.01})
    alone = train(one, tasks, data, val, 1)
    both = train(one.model_copy(update={"devices": 2}), tasks, data, val, 1)
    assert [row["epoch"] for row in both.history] == list(range(1, 13))
    best = [max(row["val_accuracy"] for row in run.history) for run in (alone, both)]
    assert min(best) > 0.4, "chance is 0.125"
    assert abs(best[0] - best[1]) < 0.2, "96 faces: nearly three standard errors of a difference, of shares of a half"


def test_two_machines_share_a_training_and_the_first_has_the_result(loaded, member, tmp_path):
    tasks, faces = loaded
    across = member.model_copy(update={"nodes": 2, "epochs": 2, "options": {"width": 8}})
    with pytest.raises(ValueError, match="torchrun --nnodes 2"):
        train(across, tasks, faces["gray"]["train"], faces["gray"]["val"], 1)
    (tmp_path / "job").write_bytes(pickle.dumps((across, tasks, faces["gray"]["train"], faces["gray"]["val"])))
    (tmp_path / "train.py").write_text(KILLED)
    machines, port = [], free_port()
    for rank in range(2):  # each with a folder of its own, as machines have
        (tmp_path / str(rank)).mkdir()
        launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}"]
        address = ["--master-addr=127.0.0.1", f"--master-port={port}"]
        script = ["../train.py", "../job", "checkpoint", "result"]
        machines.append(subprocess.Popen([sys.executable, *launcher, *address, *script], cwd=tmp_path / str(rank)))
    try:
        assert [machine.wait(180) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            machine.kill()
    history, _ = pickle.loads((tmp_path / "0" / "result").read_bytes())
    assert len(history) == 2
    assert not list((tmp_path / "1").iterdir()), "the second machine keeps nothing"


@pytest.mark.parametrize("name", ["onecycle", "cosine", "step", "plateau", "constant"])
def test_a_schedule_begins_low_peaks_at_the_rate_and_ends_lower(name, member):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    schedule = Schedule(member.model_copy(update={"epochs": 20, "lr": 0.1, "schedule": name, "warmup": 0.2}), optimizer, 10)
    rates = []
    for _ in range(20):
        for _ in range(10):
            rates.append(schedule.rate)
            optimizer.step()
            schedule.step()
        schedule.end_epoch(0.5)
    assert rates[0] < 0.06
    assert max(rates) == pytest.approx(0.1, rel=0.02)
    ends = {"onecycle": 1e-4, "cosine": 1e-3, "step": 1.1e-3, "plateau": 0.011, "constant": 0.1}
    assert rates[-1] <= ends[name]
    if name != "onecycle":
        assert rates[40] == pytest.approx(0.1), "40 of 200 updates are the rise"
        assert all(later > earlier for earlier, later in itertools.pairwise(rates[:41]))
    if name == "step":
        falls = [index for index in range(41, 200) if rates[index] < 0.5 * rates[index - 1]]
        assert falls == [40 + 53, 40 + 107], "after each third of the 160 others"
    if name == "cosine":
        assert rates[120] == pytest.approx(0.1 * (1 + 0.001) / 2), "half way down in the middle"
    assert rates[-1] >= (0.1 if name == "constant" else 0)


def test_frozen_blocks_stand_still_and_then_move(loaded, member):
    tasks, faces = loaded
    frozen = member.model_copy(update={"epochs": 2, "freeze_epochs": 1, "freeze_share": 1.0, "schedule": "constant"})

    def weights(update):
        run = frozen.model_copy(update=update)
        return train(run, tasks, faces["gray"]["train"], faces["gray"]["train"], 1).network.backbone.state_dict()

    seed_everything(1)
    fresh = build(frozen, tasks, 32).backbone.state_dict()
    kernel = next(name for name, value in fresh.items() if value.ndim == 4)
    still = weights({"epochs": 1})
    assert all(torch.equal(still[name], value) for name, value in fresh.items()), "statistics of normalisation included"
    assert not torch.equal(weights({"epochs": 1, "freeze_epochs": 0})[kernel], fresh[kernel])
    assert not torch.equal(weights({"score": "loss", "epochs": 6})[kernel], fresh[kernel]), "released after the first epoch"


def test_the_early_layers_of_parallel_branches_are_early_in_each():
    backbone = get("backbones", "specialists")("", in_channels=1, image_size=48, pretrained=False)
    early = early_modules(backbone, 0.5)
    whole = [name for name, module in backbone.named_modules() if any(module is one for one in early)]
    assert {name.split(".")[1] for name in whole} == {"eyes", "mouth", "face"}
    assert not any(name.startswith("judge") for name in whole)
    everything = {id(module) for module in early_modules(backbone, 1.0)}
    assert all(id(module) in everything for module in backbone.modules() if list(module.parameters(recurse=False)))


def test_pictures_grow_and_are_whole_at_the_end(loaded, member):
    tasks, faces = loaded
    growing = member.model_copy(update={"epochs": 10, "progressive": 0.5})
    sizes = [size_in_epoch(growing, 48, epoch) for epoch in range(1, 11)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-3:]) == (24, [48, 48, 48])
    trained = train(growing.model_copy(update={"epochs": 2}), tasks, faces["gray"]["train"], faces["gray"]["val"], 1)
    assert [row["image_size"] for row in trained.history] == [16, 24]
    assert trained.network.preprocessing.image_size == 32


def test_a_transformer_of_timms_that_knows_one_size_learns_at_that_size(loaded, member):
    tasks, faces = loaded
    update = {"backbone": "timm", "variant": "vit_tiny_patch16_224", "options": {"depth": 1}, "progressive": 0.5, "epochs": 2}
    history = train(member.model_copy(update=update), tasks, faces["gray"]["train"], faces["gray"]["val"], 1).history
    assert [row["image_size"] for row in history] == [32, 32]


def test_weights_of_classes_reach_the_loss_of_every_classification(loaded, member, monkeypatch):
    tasks, faces = loaded
    data, weighed, seen = faces["gray"]["train"], member.model_copy(update={"balance": "weights", "epochs": 1}), []
    loss = FaceNetwork.loss

    def watched(self, *given, **how):
        seen.append({task: self.heads[task].class_weights for task in ("expression", "age", "gender", "race")})
        return loss(self, *given, **how)

    monkeypatch.setattr(FaceNetwork, "loss", watched)
    train(weighed, tasks, data, faces["gray"]["val"], 1)
    for task, found in seen[0].items():
        assert torch.equal(found, class_weights(data.targets[task], len(tasks[task])))
    assert seen[0]["age"].std() > 0, "its groups are not equally large"


def test_classes_are_weighed_by_n_over_k_n_and_drawn_equally_often():
    target = np.array([0] * 6 + [1] * 2 + [-1] * 2)
    assert class_weights(target, 3).tolist() == pytest.approx([8 / (3 * 6), 8 / (3 * 2), 0])
    data = Faces(
        [str(i) for i in range(1000)], np.zeros((1000, 8, 8, 1), np.uint8), {"expression": np.array([0] * 900 + [1] * 100)}
    )
    order = epoch_order(data, SimpleNamespace(balance="sampling"), 0)
    assert (data.targets["expression"][order] == 1).mean() == pytest.approx(0.5, abs=0.05)
    assert sorted(epoch_order(data, SimpleNamespace(balance="none"), 0)) == list(range(1000))


def test_mixed_faces_have_mixed_labels():
    faces = np.zeros((4, 8, 8, 1), np.uint8)
    faces[2:] = 200
    data = Faces(list("abcd"), faces, {"expression": np.array([0, 0, 1, 1])})
    recipe = Recipe(lambda face: face, mixup=1.0)
    np.random.seed(0)
    ((rows, pixels, mixing),) = batches(torch.from_numpy(data.pixels), np.arange(4), 4, recipe)
    assert torch.allclose(mixing.sum(dim=1), torch.ones(4))
    shares = mixed(torch.eye(2)[torch.from_numpy(data.targets["expression"][rows])], mixing)
    assert pixels[:, 0, 0, 0] == pytest.approx(200 * shares[:, 1].numpy(), abs=1)
    affect = mixed(torch.tensor([[0.5, 0.5], [float("nan"), 0.1], [0.0, 0.0], [1.0, 1.0]]), mixing)
    assert torch.isnan(affect[1, 0]), "half of it has no label"
    assert not torch.isnan(affect[:, 1]).any()


def test_the_recipe_mix_cuts_in_half_of_its_batches_and_labels_have_the_shares_of_the_pixels():
    values = np.array([0, 60, 130, 250])
    faces = np.broadcast_to(values.astype(np.uint8)[:, None, None, None], (4, 48, 48, 1))
    draw = np.random.default_rng(0)
    order = np.concatenate([draw.permutation(4) for _ in range(60)])
    recipe = replace(get("transforms", "mix")(48, 0), face=lambda face: face)
    np.random.seed(0)
    cut, blended = 0, 0
    for rows, changed, mixing in batches(torch.tensor(faces), order, 4, recipe):
        pixels = changed.numpy()
        shares = mixed(torch.eye(4)[torch.from_numpy(rows)], mixing).numpy()
        assert shares.sum(axis=1) == pytest.approx(1)
        patched = any(len(np.unique(face)) > 1 for face in pixels)
        if patched:
            held = np.stack([(pixels == value).mean(axis=(1, 2, 3)) for value in values], axis=1)
            assert held == pytest.approx(shares, abs=1e-6), "a label has the share that its face has of the pixels"
        else:
            assert pixels[:, 0, 0, 0] == pytest.approx(shares @ values, abs=0.51)
        cut, blended = cut + patched, blended + (not np.isin(pixels, values).all())
    assert 20 <= cut <= 40, "of 60 batches"
    assert blended >= 10


def test_votes_of_people_are_shares_in_the_target(loaded, member):
    tasks, faces = loaded
    data = faces["gray"]["train"]
    k = len(tasks["expression"])
    soft = np.full((len(data.ids), k), 1 / k, np.float32)
    voted = Faces(data.ids, data.pixels, data.targets, {"expression": soft})
    half = member.model_copy(update={"soft_labels": 1.0, "label_smoothing": 0.0, "epochs": 15, "recipe": "none", "lr": 0.01})
    only = {"expression": tasks["expression"]}
    confident = [
        predict(train(half.model_copy(update={"soft_labels": share}), only, voted, data, 1).network, data.pixels)
        for share in (0.0, 1.0)
    ]
    sure = [found["expression"].max(axis=1).mean() for found in confident]
    assert sure[1] < sure[0], "who learns that all are equally likely is not sure"


def test_training_stops_when_it_gets_no_better(loaded, member):
    tasks, faces = loaded
    stuck = member.model_copy(update={"epochs": 30, "patience": 2, "lr": 1e-12, "score": "macro_f1", "recipe": "none"})
    trained = train(stuck, tasks, faces["gray"]["train"], faces["gray"]["val"], 1)
    assert len(trained.history) < 30
    assert len(trained.history) - trained.best_epoch == 2


@pytest.mark.parametrize(
    ("where", "what", "error"),
    [
        (FaceNetwork, "loss", RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")),
        (torch.optim.SGD, "step", torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")),
        (np, "stack", MemoryError("Unable to allocate 9.00 GiB for an array")),
    ],
)  # fmt: skip
def test_a_batch_that_does_not_fit_names_the_size_to_try(loaded, member, monkeypatch, where, what, error):
    tasks, faces = loaded

    def full(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(where, what, full)
    small = member.model_copy(update={"optimizer": "sgd"})
    with pytest.raises(TooLargeError, match="16 faces does not fit into memory: try batch_size: 8, with accumulate: 2"):
        train(small, tasks, faces["gray"]["train"], faces["gray"]["val"], 1)


def test_views_are_averaged_in_every_prediction(loaded, member):
    tasks, faces = loaded
    pixels = faces["gray"]["test"].pixels[:6]
    for tta, count in (("none", 1), ("flip", 2), ("ten_crop", 10)):
        network = build(member.model_copy(update={"tta": tta}), tasks, 32).eval()
        seen = views(torch.from_numpy(pixels), tta)
        assert len(seen) == count
        if tta == "ten_crop":  # 28 of 32 pixels
            corners = [pixels[:, :28, :28], pixels[:, :28, 4:], pixels[:, 4:, :28], pixels[:, 4:, 4:], pixels[:, 2:30, 2:30]]
            assert all(np.array_equal(view, crop) for view, crop in zip(seen[::2], corners, strict=True))
        with torch.no_grad():
            each = [network.heads["expression"].outputs(network(view)["expression"]) for view in seen]
        assert predict(network, pixels)["expression"] == pytest.approx(torch.stack(each).mean(0).numpy(), abs=1e-6)
        if tta != "none":
            mirrored = predict(network, np.ascontiguousarray(pixels[:, :, ::-1]))["expression"]
            assert predict(network, pixels)["expression"] == pytest.approx(mirrored, abs=1e-5)
