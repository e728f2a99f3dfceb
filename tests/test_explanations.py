"""Where networks look, and faces that were made worse."""

import numpy as np
import pytest
import torch
from torch import nn

from ferflow.explanations import heat_maps, is_transformer, last_layer_with_places, overlaid
from ferflow.model import build
from ferflow.registry import names
from ferflow.robustness import CORRUPTIONS, STRENGTHS, corrupted

FACES = np.random.default_rng(0).integers(0, 255, (3, 48, 48, 1), dtype=np.uint8)


class Brightness(nn.Module):
    """Features that are the light of a picture's places."""

    num_features = 4

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 3, stride=4, padding=1)
        nn.init.constant_(self.layer.weight, 0.1)
        nn.init.zeros_(self.layer.bias)

    def forward(self, pixels):
        return self.layer(pixels).mean(dim=(2, 3))


def test_the_map_is_where_the_features_are_that_speak_for_the_class(settings):
    network = build(settings.member("gray-cnn").model_copy(update={"image_size": 48}), {"expression": ("a", "b")}, 48)
    network.backbone = Brightness()
    layer = nn.Linear(4, 2)
    layer.weight.data[0], layer.weight.data[1] = 0.5, -0.5  # light speaks for a, darkness for b
    network.heads["expression"].layers[1] = layer
    faces = np.zeros((2, 48, 48, 1), np.uint8)
    faces[:, :24, :24] = 255
    light, darkness = heat_maps(network, faces, np.array([0, 1]))
    assert light[4:20, 4:20].min() > 0.7
    assert light[28:, 28:].max() < 0.1
    assert darkness[4:20, 4:20].max() < 0.1
    assert darkness[32:44, 32:44].min() > 0.5


@pytest.mark.parametrize("backbone", [name for name in names("backbones") if name != "timm"])
def test_every_backbone_has_maps(settings, backbone):
    member = settings.member("gray-cnn").model_copy(
        update={"backbone": backbone, "variant": "xxs" if backbone == "mobilevit" else "", "options": {}}
    )
    network = build(member, {"expression": ("a", "b", "c")}, 48)
    maps = heat_maps(network, FACES, np.array([0, 1, 2]))
    assert maps.shape == (3, 48, 48)
    assert 0 <= maps.min() <= maps.max() <= 1
    assert is_transformer(network) == (backbone == "vit")
    before = network.predict(torch.from_numpy(FACES))["expression"]
    assert torch.allclose(before, network.predict(torch.from_numpy(FACES))["expression"])


def test_a_network_without_places_has_nothing_to_show():
    with pytest.raises(ValueError, match="no convolution with places"):
        last_layer_with_places(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))


def test_a_face_under_its_map_has_the_face_s_shape():
    assert overlaid(np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), np.float32)).shape == (8, 8, 3)


@pytest.mark.parametrize("name", list(CORRUPTIONS))
def test_a_corruption_gets_worse_with_its_strength_and_comes_again_with_its_seed(name):
    draw = np.random.default_rng(1)
    faces = np.stack([np.kron(draw.integers(60, 200, (8, 8, 3)), np.ones((6, 6, 1))).astype(np.uint8) for _ in range(4)])
    worse = [corrupted(faces, name, strength, seed=3) for strength in STRENGTHS]
    assert all(one.shape == faces.shape and one.dtype == np.uint8 for one in worse)
    distance = [np.abs(one.astype(int) - faces).mean() for one in worse]
    assert distance[0] > 0
    assert distance[-1] > distance[0]
    assert np.array_equal(corrupted(faces, name, 3, seed=3), worse[2])
