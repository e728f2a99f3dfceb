import cv2
import numpy as np
import pytest
import timm
import torch

from ferflow.combiners import Combination
from ferflow.cost import gmac
from ferflow.images import to_gray
from ferflow.model import EnsembleNetwork, Preprocessing, build

TASKS = {"expression": ("happy", "sad", "fear"), "affect": ("valence", "arousal")}


def test_preprocessing_makes_grey_as_opencv_does_and_scales():
    faces = np.random.default_rng(0).integers(0, 255, (2, 12, 12, 3), dtype=np.uint8)
    found = Preprocessing(gray=True, image_size=12)(torch.from_numpy(faces))
    expected = np.stack([cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces]) / 255
    assert found.shape == (2, 1, 12, 12)
    assert found[:, 0].numpy() * 0.25 + 0.5 == pytest.approx(expected, abs=1e-6)  # whole levels, as OpenCV's
    already = Preprocessing(gray=True, image_size=12)(torch.from_numpy(np.stack([to_gray(face) for face in faces])))
    assert torch.equal(found, already), "training sees grey faces, a service sends coloured ones"
    assert Preprocessing(gray=False, image_size=24)(torch.from_numpy(faces)).shape == (2, 3, 24, 24)


def test_the_loss_is_the_weighted_sum_of_the_tasks_with_weights(settings):
    torch.manual_seed(0)
    network = build(settings.member("gray-cnn"), TASKS, 32).eval()
    raw = network(torch.zeros((4, 32, 32, 1), dtype=torch.uint8))
    targets = {"expression": torch.tensor([0, 1, -1, 2]), "affect": torch.full((4, 2), float("nan"))}
    alone = network.loss(raw, targets, {"expression": 1.0})
    assert network.loss(raw, targets, {"expression": 2.0, "affect": 5.0}).item() == pytest.approx(2 * alone.item(), rel=1e-5)
    with pytest.raises(ValueError, match="nothing to learn"):
        network.loss(raw, targets, {})


def test_a_learned_weight_is_the_precision_of_its_task(settings):
    member = settings.member("gray-cnn").model_copy(update={"task_weighting": "learned"})
    network = build(member, TASKS, 32).eval()
    raw = network(torch.zeros((4, 32, 32, 1), dtype=torch.uint8))
    targets = {"expression": torch.tensor([0, 1, 1, 2]), "affect": torch.full((4, 2), 0.5)}
    weights = {"expression": 2.0, "affect": 0.5}
    losses = {task: weights[task] * network.heads[task].loss(raw[task], targets[task]).item() for task in TASKS}
    for task, log_variance in (("expression", 0.7), ("affect", -0.3)):
        torch.nn.init.constant_(network.log_variances[task], log_variance)
    kendall = losses["expression"] * np.exp(-0.7) + losses["affect"] * np.exp(0.3) + (0.7 - 0.3) / 2
    assert network.loss(raw, targets, weights).item() == pytest.approx(kendall, rel=1e-5)
    assert network.loss(raw, targets, weights, learned=False).item() == pytest.approx(sum(losses.values()), rel=1e-5)


def test_pretrained_weights_see_pixels_as_they_are_used_to(settings, tmp_path):
    torch.save(timm.create_model("resnet10t", num_classes=0).state_dict(), tmp_path / "w.pth")
    given = {"backbone": "timm", "variant": "resnet10t", "pretrained": str(tmp_path / "w.pth"), "modality": "rgb"}
    own = {"mean": [0.1, 0.2, 0.6], "std": [0.3, 0.4, 0.5]}
    faces = torch.full((1, 32, 32, 3), 204, dtype=torch.uint8)
    for options, mean, std in (({}, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), (own, own["mean"], own["std"])):
        network = build(settings.member("rgb-cnn").model_copy(update=given | {"options": options, "image_size": 0}), TASKS, 32)
        expected = (0.8 - np.array(mean)) / np.array(std)
        assert network.preprocessing(faces)[0, :, 5, 5].numpy() == pytest.approx(expected, rel=1e-5)


def test_an_ensemble_is_the_weighted_mean_of_its_members(settings):
    torch.manual_seed(0)
    members = [build(settings.member(name), TASKS, 32).eval() for name in ("gray-cnn", "rgb-cnn")]
    faces = torch.randint(0, 255, (3, 32, 32, 3), dtype=torch.uint8)
    ensemble = EnsembleNetwork(members, {"expression": Combination([0.25, 0.75]), "affect": Combination([1.0, 0.0])}).eval()
    expression, affect = ensemble(faces)
    first, second = (member.predict(faces) for member in members)
    assert torch.allclose(expression, 0.25 * first["expression"] + 0.75 * second["expression"], atol=1e-6)
    assert torch.allclose(affect, first["affect"], atol=1e-6)


def test_multiplications_of_torchs_fused_transformer_are_counted(settings):
    member = settings.member("gray-cnn").model_copy(update={"backbone": "hybrid", "options": {}, "image_size": 0})
    network = build(member, {"expression": ("happy", "sad")}, 48).eval()
    convolutions, tokens, width, layers = 0.203, 36, 384, 7
    transformer = layers * (12 * width**2 * tokens + 2 * tokens**2 * width) / 1e9
    assert gmac(network, 48) == pytest.approx(convolutions + transformer, rel=0.02)
