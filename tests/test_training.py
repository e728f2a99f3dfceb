import time

import numpy as np
import pandas as pd
import pytest
import torch

from ferflow.faces import Faces, load_faces, tasks_of
from ferflow.params import Split
from ferflow.splitting import split
from ferflow.tables import iter_images, load_labels, read_labels
from ferflow.training import DivergedError, ahead, batches, predict, train
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


def test_faces_without_labels_of_a_task_are_trained_on_all_the_same(loaded, member):
    tasks, faces = loaded
    data = faces["gray"]["train"]
    blank = {task: np.full_like(target, -1 if target.dtype == np.int64 else np.nan) for task, target in data.targets.items()}
    partly = blank | {"expression": data.targets["expression"]}
    trained = train(member, tasks, Faces(data.ids, data.pixels, partly), faces["gray"]["val"], seed=1)
    assert np.isfinite(trained.history[-1]["train_loss"])


def test_an_epoch_shows_every_face_at_most_once(loaded):
    data = loaded[1]["rgb"]["train"]
    order = np.random.default_rng(1).permutation(len(data.ids))
    rows = np.concatenate([rows for rows, *_ in batches(data, order, 16, Recipe(lambda face: face))])
    assert len(set(rows.tolist())) == len(rows) == len(data.ids) // 16 * 16


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
