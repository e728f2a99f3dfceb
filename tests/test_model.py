import cv2
import numpy as np
import pytest
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
