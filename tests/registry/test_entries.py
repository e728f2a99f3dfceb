"""Every registered entry keeps its kind's promise; a new file in a folder is tested without a new test."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from ferflow import metrics, registry
from ferflow.card import Card
from ferflow.cli import list_entries
from ferflow.combiners import Combination
from ferflow.detectors import asset
from ferflow.exporters import Source
from ferflow.model import EnsembleNetwork, build
from ferflow.registry import KINDS, get, names
from ferflow.tables import task_target
from ferflow.transforms._steps import Move, crp, erased, moved
from ferflow.transforms._steps import recipe as recipe_of
from ferflow.vocabulary import AGE_GROUPS, TASKS

TIMM_VARIANTS = [
    "resnet18",
    "resnet10t",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "efficientnet_b0",
    "mobilevit_xxs",
    "mobilevitv2_050",
]
VARIANTS = {"timm": TIMM_VARIANTS, "mobilevit": ["xxs", "xs", "s"]}
BACKBONES = [(name, variant) for name in names("backbones") for variant in VARIANTS.get(name, [""])]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in names(kind)])
def test_every_file_registers_itself_under_its_own_name(kind, name):
    assert callable(get(kind, name))


def test_every_kind_is_named_where_kinds_are_listed():
    for kind in KINDS:
        word = "recipe" if kind == "transforms" else kind.removesuffix("s")
        assert all(word in text.splitlines()[0] for text in (registry.__doc__, list_entries.__doc__)), kind


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(KeyError, match=", ".join(names("detectors"))):
        get("detectors", "magic")


@pytest.mark.parametrize(("name", "variant"), BACKBONES)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_backbone_gives_as_many_features_as_it_says_and_every_weight_learns(name, variant, channels):
    torch.manual_seed(0)
    backbone = get("backbones", name)(variant, in_channels=channels, image_size=64, pretrained=False)
    features = backbone(torch.randn(4, channels, 64, 64))
    assert features.shape == (4, backbone.num_features)
    features.pow(2).sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert backbone.eval()(torch.randn(1, channels, 48, 48)).shape == (1, backbone.num_features), "it may grow up on small faces"


@pytest.mark.parametrize(
    ("name", "millions"), [("baseline", 0.4), ("attention", 1.2), ("multiscale", 1.0), ("hybrid", 13.8), ("specialists", 0.75)]
)
def test_networks_from_scratch_have_the_size_that_their_page_says(name, millions):
    backbone = get("backbones", name)("", in_channels=1, image_size=48, pretrained=False)
    assert sum(parameter.numel() for parameter in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.05)


def test_patches_and_kernels_of_mobilevit_and_patches_of_a_vit_can_be_chosen():
    faces = torch.randn(2, 1, 64, 64)
    build = get("backbones", "mobilevit")
    sizes = set()
    for patch, kernel in ((2, 3), (1, 3), (4, 3), (2, 5)):
        network = build("xxs", in_channels=1, image_size=64, pretrained=False, patch_size=patch, kernel_size=kernel).eval()
        assert network(faces).shape == (2, 320)
        sizes.add(
            (
                sum(p.numel() for p in network.parameters()),
                str([m.patch_size for m in network.modules() if hasattr(m, "patch_area")]),
            )
        )
    assert len(sizes) == 4
    with pytest.raises(ValueError, match="known: xxs, xs, s"):
        build("xl", in_channels=1, image_size=64, pretrained=False)
    with pytest.raises(ValueError, match=r"patch_size 2 and kernel_size 3 only, fetch model\.safetensors from https://"):
        build("xxs", in_channels=1, image_size=64, pretrained=True, patch_size=4)
    with pytest.raises(ValueError, match="48 pixels has no whole patches of 7"):
        get("backbones", "vit")("", in_channels=1, image_size=48, pretrained=False, patch_size=7)


def test_a_checkpoint_gives_its_weights_also_to_one_channel(shared):
    make, options = get("backbones", "timm"), {"pad_type": "same", "bn_eps": 1e-3}
    path = str(shared / "models/mobilenetv2_035_keras_imagenet.pth")
    stored = torch.load(path, weights_only=True)["conv_stem.weight"]
    colour = make("mobilenetv2_035", in_channels=3, image_size=96, pretrained=path, **options)
    gray = make("mobilenetv2_035", in_channels=1, image_size=96, pretrained=path, **options)
    assert torch.equal(colour.conv_stem.weight, stored)
    assert torch.allclose(gray.conv_stem.weight, stored.sum(dim=1, keepdim=True), atol=1e-6), "what it knows is kept"
    keras = make("mobilenetv2_035", in_channels=3, image_size=96, pretrained=path, mean=(0.5,) * 3, std=(0.5,) * 3, **options)
    assert (keras.pretrained_cfg["mean"], colour.pretrained_cfg["mean"][0]) == ((0.5,) * 3, 0.485), "a file may say how it looks"
    with pytest.raises(ValueError, match="holds no weights of timm's resnet18"):
        make("resnet18", in_channels=3, image_size=96, pretrained=path)


def test_a_checkpoint_that_gives_only_a_part_is_refused(tmp_path):
    make = get("backbones", "timm")
    state = make("resnet10t", in_channels=3, image_size=48, pretrained=False).state_dict()
    contents = {"whole": state, "named otherwise": {f"backbone.{name}": value for name, value in state.items()}}
    contents["half"] = {name: value for name, value in state.items() if not name.startswith("layer4")}
    for name, content in contents.items():
        torch.save(content, tmp_path / f"{name}.pth")
    for channels in (1, 3):
        whole = make("resnet10t", in_channels=channels, image_size=48, pretrained=str(tmp_path / "whole.pth"))
        assert torch.equal(whole.layer4[0].conv1.weight, state["layer4.0.conv1.weight"])
        for name in ("named otherwise", "half"):
            with pytest.raises(ValueError, match=r"of its \d+ tensors are not there: (conv1|layer4)"):
                make("resnet10t", in_channels=channels, image_size=48, pretrained=str(tmp_path / f"{name}.pth"))


def test_a_network_made_for_one_size_takes_the_size_of_the_faces():
    for variant in ("vit_tiny_patch16_224", "deit_tiny_patch16_224"):
        network = get("backbones", "timm")(variant, in_channels=1, image_size=48, pretrained=False).eval()
        assert network(torch.zeros(2, 1, 48, 48)).shape == (2, 192)


def test_without_network_or_file_pretrained_says_how_to_go_on(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    build = get("backbones", "timm")
    with pytest.raises(
        ConnectionError, match=r"fetch model\.safetensors from https://huggingface\.co/timm/resnet18.*pretrained: PATH"
    ):
        build("resnet18", in_channels=3, image_size=96, pretrained=True)
    with pytest.raises(FileNotFoundError, match=r"none\.pth is not there; fetch"):
        build("resnet18", in_channels=3, image_size=96, pretrained=str(tmp_path / "none.pth"))


def test_timm_names_what_is_close_to_an_unknown_network_and_ours_has_no_variants():
    with pytest.raises(ValueError, match="resnet18"):
        get("backbones", "timm")("resnet81", in_channels=3, image_size=64, pretrained=False)
    with pytest.raises(ValueError, match="neither variants"):
        get("backbones", "cnn")("big", in_channels=3, image_size=64, pretrained=False)


@pytest.mark.parametrize("name", names("heads"))
def test_a_head_has_no_loss_without_labels_less_loss_when_right_and_outputs_in_range(name):
    torch.manual_seed(0)
    entry = get("heads", name)
    task = next(task for task in TASKS.values() if task.kind == entry.kind)
    classes = task.classes or task.columns
    head = entry(classes, 6, 0.0, 0.0)
    raw = head(torch.randn(5, 6))
    frame = pd.DataFrame([[None] * len(task.columns)] * 5, columns=task.columns, dtype=float if task.kind == "affect" else object)
    nothing = head.loss(raw, torch.from_numpy(task_target(frame, task.name, classes)))
    assert nothing.item() == 0
    nothing.backward()  # and it does not break the graph
    outputs = head.outputs(raw)
    assert outputs.shape == (5, len(classes))
    assert outputs.abs().max() <= 1
    truth = outputs.argmax(dim=1) if task.kind == "classification" else outputs.detach()
    wrong = (truth + 1) % len(classes) if task.kind == "classification" else -outputs.detach()
    assert head.loss(raw, truth) < head.loss(raw, wrong)


def test_shares_of_classes_weigh_and_a_whole_share_is_its_class():
    torch.manual_seed(0)
    for name in ("classification", "ordinal"):
        head = get("heads", name)(("a", "b", "c"), 6, 0.0, 0.0)
        raw = head(torch.randn(4, 6))
        numbers = torch.tensor([0, 2, 1, -1])
        shares = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]])
        assert head.loss(raw, numbers).item() == pytest.approx(head.loss(raw, shares).item(), rel=1e-5)
        head.class_weights = torch.tensor([1.0, 0.0, 1.0])
        assert head.loss(raw, numbers).item() == pytest.approx(head.loss(raw[:2], numbers[:2]).item(), rel=1e-5)
    head = get("heads", "classification")(("a", "b", "c"), 6, 0.0, 0.1)
    raw, numbers = head(torch.randn(4, 6)), torch.tensor([0, 2, 1, 1])
    assert head.loss(raw, numbers).item() == pytest.approx(
        torch.nn.functional.cross_entropy(raw, numbers, label_smoothing=0.1).item()
    )


def test_ordinal_answers_are_probabilities_and_a_near_miss_costs_less():
    torch.manual_seed(0)
    head = get("heads", "ordinal")(AGE_GROUPS, 4, 0.0, 0.0)
    outputs = head.outputs(head(torch.randn(50, 4) * 5))
    assert torch.allclose(outputs.sum(dim=1), torch.ones(50), atol=1e-5)
    assert (outputs >= 0).all()
    raw = torch.full((1, 9), -6.0)
    raw[:, :4] = 6.0  # says: group 4
    losses = [head.loss(raw, torch.tensor([group])).item() for group in (4, 5, 8)]
    assert losses == sorted(losses)


def test_the_ccc_head_is_trained_by_what_affect_is_scored_with():
    head = get("heads", "affect_ccc")(("valence", "arousal"), 4, 0.0, 0.0)
    truth = torch.linspace(-1, 1, 20).repeat(2, 1).T
    assert head.loss(truth.clone(), truth).item() == pytest.approx(0, abs=1e-4)
    found = truth.clone() * 0.5 + 0.1
    expected = 1 - get("metrics", "ccc")(truth[:, 0].numpy(), found[:, 0].numpy())
    assert head.loss(found, truth).item() == pytest.approx(expected, abs=1e-4)
    one = torch.full((20, 2), float("nan"))
    one[0] = 0.5
    assert head.loss(found, one).item() == 0, "one face has no correlation"


@pytest.mark.parametrize("name", names("transforms"))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_recipe_keeps_shape_and_type_and_follows_its_seed(name, channels):
    face = np.random.default_rng(0).integers(0, 255, (48, 48, channels), dtype=np.uint8)
    before = face.copy()
    build = get("transforms", name)
    first, again = ([recipe.face(face) for _ in range(5)] for recipe in (build(48, 1), build(48, 1)))
    assert all(a.shape == face.shape and a.dtype == np.uint8 for a in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert np.array_equal(face, before)


def drawn_face(channels: int) -> np.ndarray:
    """Something lopsided and smooth, with room to become darker and brighter, that has no pixel of 127."""
    down, across = np.mgrid[0:48, 0:48] / 47
    picture = 60 + 60 * down * across + 40 * np.exp(-20 * ((down - 0.3) ** 2 + (across - 0.7) ** 2))
    picture = np.round(picture).astype(np.uint8)
    picture[picture == 127] = 128
    return np.repeat(picture[:, :, None], channels, axis=2)


def where_it_went(recipe, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of changed faces: whether they are mirrored, degrees that they are turned, pixels that their centre moved (N x 2)."""
    dots = np.array([[23.5, 23.5], [23.5, 33.5], [33.5, 23.5]])  # row, column; the first in the middle
    down, across = np.mgrid[0:48, 0:48]
    face = np.stack([250 * np.exp(-((down - row) ** 2 + (across - column) ** 2) / 4) for row, column in dots], axis=2)
    found = np.stack([recipe.face(face.astype(np.uint8)) for _ in range(count)]).astype(float)
    total = found.sum(axis=(1, 2))
    centres = np.stack([np.einsum("nhwc,hw->nc", found, place) / total for place in (down, across)], axis=2)
    (up, right), (low, left) = (centres[:, 1] - centres[:, 0]).T, (centres[:, 2] - centres[:, 0]).T
    mirrored = right * low - left * up < 0
    turned = np.degrees(np.arctan2(left, low))
    return mirrored, turned, centres[:, 0] - dots[0]


@pytest.mark.parametrize(("name", "turn", "shift"), [("crp", 10, 4), ("flip_rotate15", 15, 0), ("none", 0, 0)])
def test_a_recipe_turns_moves_and_mirrors_as_far_as_its_page_says(name, turn, shift):
    mirrored, turned, moved = where_it_went(get("transforms", name)(48, 1), 2000)
    assert mirrored.mean() == pytest.approx(0.0 if name == "none" else 0.5, abs=0.04)
    assert np.abs(turned).max() == pytest.approx(turn, abs=0.5)
    assert np.abs(turned).mean() == pytest.approx(turn / 2, abs=0.3), "evenly"
    assert np.abs(moved).max(axis=0) == pytest.approx([shift, shift], abs=0.3)


def test_brightness_contrast_and_erasing_go_as_far_as_their_recipes_say():
    flat, color = np.full((48, 48, 1), 100, np.uint8), get("transforms", "crp_color")(48, 1)
    levels = np.array([color.face(flat).mean() for _ in range(2000)])
    assert (np.abs(levels - 100) > 0.5).mean() == pytest.approx(0.8, abs=0.04), "of four in five"
    assert levels.min() == pytest.approx(100 * 0.8 - 0.2 * 255, abs=6)
    assert levels.max() == pytest.approx(100 * 1.2 + 0.2 * 255, abs=6)
    cut = get("transforms", "crp_cutout")(48, 1)
    erased = np.array([(cut.face(flat) == 127).mean() for _ in range(2000)])
    assert (erased > 0).mean() == pytest.approx(0.5, abs=0.04)
    assert erased[erased > 0].min() == pytest.approx(0.01, abs=0.005)
    assert erased.max() == pytest.approx(0.11, abs=0.01)


@pytest.mark.parametrize("name", names("transforms"))
@pytest.mark.parametrize("channels", [1, 3])
def test_a_recipe_changes_a_batch_by_the_law_by_which_it_changes_faces(name, channels):
    count, face = 3000, drawn_face(channels)
    recipe = get("transforms", name)(48, 1)
    if recipe.batch is None:
        pytest.skip("its steps have no form for batches: it goes face by face")
    single = np.stack([recipe.face(face) for _ in range(count)])
    given = torch.tensor(np.stack([face] * count))
    before = given.clone()
    many = recipe.batch(given)
    assert (many.dtype, many.shape) == (torch.uint8, given.shape)
    assert torch.equal(given, before), "the faces of the next epoch"
    assert torch.equal(many, get("transforms", name)(48, 1).batch(given)), "it follows its seed"
    many = many.numpy()
    pictures = [found.astype(float) for found in (single, many)]
    for figure in (lambda one: one.mean(axis=0), lambda one: one.std(axis=0)):  # where a face is dark, and where it changes
        assert np.abs(figure(pictures[0]) - figure(pictures[1])).max() < 4.5
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        brightness = [np.quantile(found.mean(axis=(1, 2, 3)), share) for found in pictures]
        contrast = [np.quantile(found.std(axis=(1, 2, 3)), share) for found in pictures]
        erased = [np.quantile((found == 127).mean(axis=(1, 2, 3)), share) for found in pictures]
        assert brightness[0] == pytest.approx(brightness[1], abs=2.5)
        assert contrast[0] == pytest.approx(contrast[1], abs=1.5)
        assert erased[0] == pytest.approx(erased[1], abs=0.012)
    if channels == 3 and name != "none":
        assert (many[..., 0] == many[..., 2]).all(), "grey stays grey"


def test_a_batch_is_moved_as_opencv_moves_a_face():
    face = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    face = cv2.resize(face, (48, 48), interpolation=cv2.INTER_CUBIC)
    step = Move(turn=15, shift=0.12, zoom=0.15, slant=6)
    found = moved(step, torch.tensor(np.stack([face] * 200))[:, None].float(), np.random.default_rng(3))
    draw = np.random.default_rng(3)
    linear, shift = step.change(lambda low, high: draw.uniform(low, high, 200), 48)
    for index in range(200):
        inner = linear[:, :, index]
        centre = np.full(2, 23.5)
        matrix = np.column_stack([inner, centre - inner @ centre + shift[:, index]])
        expected = cv2.warpAffine(face, matrix, (48, 48), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        difference = np.abs(found[index, 0].numpy() - expected)
        assert difference.mean() < 1, "OpenCV knows places to a 32nd of a pixel"
        assert difference.max() < 6


@pytest.mark.parametrize("limits", [{"scale": (0.02, 0.16), "ratio": (0.4, 2.5)}, {"scale": (0.01, 0.11), "ratio": (0.3, 3.3)}])
def test_rectangles_are_erased_from_a_batch_by_the_law_of_albumentations(limits):
    count, step = 4000, A.Erasing(**limits, fill=127, p=1.0)
    face = np.zeros((48, 48, 1), np.uint8)
    pipeline = A.Compose([step], seed=1)
    single = np.stack([pipeline(image=face)["image"][:, :, 0] for _ in range(count)])
    many = erased(step, torch.zeros(count, 1, 48, 48), np.random.default_rng(1))[:, 0].numpy()

    def box(one: np.ndarray) -> np.ndarray:
        rows, columns = (np.flatnonzero(one.any(axis=axis)) for axis in (1, 0))
        assert (one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 127).all()
        height, width = len(rows), len(columns)
        return np.array([rows[0] / (48 - height), columns[0] / (48 - width), height, width, height * width, width / height])

    first, second = (np.array([box(one) for one in found]) for found in (single, many))
    for share in (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1):
        found, wanted = np.quantile(second, share, axis=0), np.quantile(first, share, axis=0)
        assert found == pytest.approx(wanted, rel=0.05, abs=0.03) or np.abs(found - wanted)[2:4].max() <= 1
    assert second.mean(axis=0) == pytest.approx(first.mean(axis=0), rel=0.03)


def test_a_recipe_of_steps_that_have_no_form_for_batches_goes_face_by_face():
    unknown = [
        A.GaussNoise(),
        A.Erasing(fill="random"),
        A.Erasing(scale=(0.5, 0.6), ratio=(0.3, 3.3), fill=0),
        A.RandomBrightnessContrast(brightness_by_max=False),
        A.RandomBrightnessContrast(ensure_safe_range=True),
        type("Own", (Move,), {})(turn=3),
    ]
    for step in unknown:
        assert recipe_of([*crp(48), step], seed=1).batch is None
    assert recipe_of(crp(48), seed=1).batch


def test_crp_changes_faces():
    face = np.random.default_rng(0).integers(0, 255, (48, 48, 1), dtype=np.uint8)
    recipe = get("transforms", "crp")(48, 1).face
    assert sum(not np.array_equal(recipe(face), face) for _ in range(10)) >= 8


@pytest.mark.parametrize("name", names("metrics"))
def test_a_metric_prefers_the_right_answer(name):
    metric = get("metrics", name)
    if metric.kind in ("classification", "ordered"):
        truth = np.array([0, 1, 2, 3, 0])
        right = np.eye(4)[truth]
        wrong = (1 - np.eye(4)[truth]) / 3
    else:
        truth = np.array([0.0, 0.5, -0.5])
        right, wrong = truth, -truth
    better, worse = metric(truth, right), metric(truth, wrong)
    assert better != worse
    assert better == pytest.approx(metric.best, abs=1e-6)


def test_metrics_are_found_by_kind():
    assert "ccc" in metrics.of_kind("affect")
    assert "ccc" not in metrics.of_kind("classification")


def ready(name: str, files: dict[str, Path]):
    """The detector; skipped where its file is not here."""
    if asset(name) and name not in files:
        pytest.skip(f"{asset(name).file} is not in shared/models")
    return get("detectors", name)(files.get(name))


@pytest.mark.parametrize("name", names("detectors"))
def test_a_detector_takes_any_picture_and_keeps_boxes_ordered(name, detector_files):
    detect = ready(name, detector_files)
    for shape in ((64, 64, 3), (31, 200, 3), (1, 2000, 3), (5000, 1, 3), (1, 1, 3)):
        found = detect(np.full(shape, 127, np.uint8))
        scores = [detection.score for detection in found]
        assert scores == sorted(scores, reverse=True)
    assert len(found) == (name in ("none", "yolo")), "grey is no face, unless the picture is said to be one"


@pytest.mark.parametrize("name", names("detectors"))
def test_threads_may_share_a_detector(name, shared, detector_files):
    detect = ready(name, detector_files)
    files = [shared / "media" / file for file in ("group_8.jpg", "two_people.jpg")]
    pictures = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in files]
    alone = [detect(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(detect, pictures * 2))
    assert found == alone * 2


# the least number of faces in group_8.jpg and two_people.jpg; of every other detector, one
LEAST = {"haar": (7, 2), "yunet": (8, 2), "blazeface": (8, 2)}


@pytest.mark.parametrize("name", names("detectors"))
@pytest.mark.parametrize(("file", "place", "people"), [("group_8.jpg", 0, 8), ("two_people.jpg", 1, 2)])
def test_detectors_find_the_faces_of_people(name, file, place, people, shared, detector_files):
    picture = cv2.cvtColor(cv2.imread(str(shared / "media" / file)), cv2.COLOR_BGR2RGB)
    found = ready(name, detector_files)(picture)
    assert LEAST.get(name, (1, 1))[place] <= len(found) <= people + 1
    height, width = picture.shape[:2]
    for detection in found:
        left, top, right, bottom = detection.box_xyxy
        assert -width * 0.1 < left < right < width * 1.1
        assert -height * 0.1 < top < bottom < height * 1.1
        if detection.eyes_xy is not None:
            (x0, y0), (x1, y1) = detection.eyes_xy
            assert left < x0 < x1 < right, "the eye on the picture's left comes first"
            assert top < min(y0, y1) <= max(y0, y1) < bottom


@pytest.mark.parametrize("name", [name for name in names("detectors") if asset(name)])
def test_a_detector_without_its_file_says_how_to_get_it(name, tmp_path, monkeypatch):
    monkeypatch.setenv("FERFLOW_ASSETS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in (None, tmp_path / "none.onnx"):
        with pytest.raises(FileNotFoundError, match=rf"ferflow assets \w+ {name}.* or choose the detector haar"):
            get("detectors", name)(path)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(ValueError, match="junk"):
        get("detectors", name)(tmp_path / "junk")


def test_opencv_is_the_one_with_windows():
    assert hasattr(cv2, "imshow")
    assert Path(cv2.__file__).parent.joinpath("data/haarcascade_frontalface_alt2.xml").exists()


def test_every_backbone_can_be_exported_with_its_views(settings, tmp_path):
    torch.manual_seed(0)
    tasks = {"expression": ("happy", "sad", "fear"), "age": AGE_GROUPS}
    members = []
    for name in names("backbones"):
        shallow = {"hybrid": {"depth": 1}, "vit": {"depth": 1}}.get(name, {})  # layers are alike: one shows whether they export
        variant = {"timm": "resnet10t", "mobilevit": "xxs"}.get(name, "")
        update = {"backbone": name, "variant": variant, "options": shallow, "heads": {"age": "ordinal"}}
        update |= {"tta": {"baseline": "ten_crop", "cnn": "flip"}.get(name, "none"), "image_size": 32 if name == "cnn" else 0}
        members.append(build(settings.member("gray-cnn").model_copy(update=update), tasks, 48))
    share = [1 / len(members)] * len(members)
    matrix = torch.randn(len(members), *[len(tasks["expression"])] * 2).tolist()
    stacked = Combination(share, logs=True, matrix=matrix, bias=[0.1] * len(tasks["expression"]), temperature=1.5)
    members[0].temperatures = {"age": 2.0}
    network = EnsembleNetwork(members, {"expression": stacked, "age": Combination(share)}).eval()
    card = Card(name="t", members={"a": "all"}, input_size=48, modality="rgb", tasks=tasks, dataset="d", parameters=1)
    exporter = get("exporters", "onnx")
    faces = np.random.default_rng(0).integers(0, 255, (3, 48, 48, 3), dtype=np.uint8)
    found = exporter.read(exporter.write(Source(network, card), tmp_path))(faces)
    with torch.no_grad():
        expected = network(torch.from_numpy(faces))
    for one, other in zip(expected, found, strict=True):
        assert np.abs(one.numpy() - other).max() < 1e-5
