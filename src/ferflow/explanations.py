"""Where a network looks: Grad-CAM for convolutions, attention rollout for vision transformers.

Selvaraju et al., "Grad-CAM" (ICCV 2017), by the library pytorch-grad-cam; Abnar and Zuidema, "Quantifying Attention Flow in
Transformers" (ACL 2020), over the attention maps that timm extracts. Values in, values out.
"""

import cv2
import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.utils import AttentionExtract
from torch import Tensor, nn

from ferflow.model import FaceNetwork

METHODS = {True: "attention rollout", False: "Grad-CAM"}


class _OfTask(nn.Module):
    """Preprocessed pixels to one task's scores."""

    def __init__(self, network: FaceNetwork, task: str) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.heads[task]

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(pixels))
        return scores


def is_transformer(network: FaceNetwork) -> bool:
    """Whether its backbone is a plain vision transformer of timm's (blocks of attention over patches, a class token)."""
    return hasattr(network.backbone, "blocks") and hasattr(network.backbone, "patch_embed")


def heat_maps(network: FaceNetwork, faces: np.ndarray, classes: np.ndarray, task: str = "expression") -> np.ndarray:
    """What counted for the class number of each face: N x S x S, between 0 and 1; S is the side of ``faces`` (uint8).

    For a transformer it is where it looks, whatever the class.
    """
    network.eval()
    pixels = network.preprocessing(torch.from_numpy(faces))
    maps = _rollout(network.backbone, pixels) if is_transformer(network) else _grad_cam(network, pixels, classes, task)
    side = faces.shape[1]
    return np.stack([cv2.resize(found, (side, side), interpolation=cv2.INTER_LINEAR) for found in maps])


def _grad_cam(network: FaceNetwork, pixels: Tensor, classes: np.ndarray, task: str) -> np.ndarray:
    targets = [ClassifierOutputTarget(int(number)) for number in classes]
    with GradCAM(model=_OfTask(network, task), target_layers=[last_layer_with_places(network.backbone, pixels[:1])]) as cam:
        return np.asarray(cam(input_tensor=pixels, targets=targets), np.float32)


def last_layer_with_places(backbone: nn.Module, pixels: Tensor) -> nn.Module:
    """The last convolution whose output still has places (at least 3 x 3), in the order in which they run.

    ``ValueError`` where there is none.
    """
    seen: list[nn.Module] = []

    def note(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if min(output.shape[-2:]) >= 3:
            seen.append(module)

    hooks = [module.register_forward_hook(note) for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    with torch.no_grad():
        backbone(pixels)
    for hook in hooks:
        hook.remove()
    if not seen:
        raise ValueError("this backbone has no convolution with places, so Grad-CAM has nothing to show")
    return seen[-1]


@torch.no_grad()
def _rollout(backbone: nn.Module, pixels: Tensor) -> np.ndarray:
    for module in backbone.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment] # the fused kernel keeps no map
    maps = AttentionExtract(backbone, method="hook")(pixels)
    tokens = next(iter(maps.values())).shape[-1]
    flow = torch.eye(tokens).expand(len(pixels), -1, -1)
    for attention in maps.values():
        step = attention.mean(dim=1) + torch.eye(tokens)  # the residual connection passes by
        flow = step / step.sum(dim=-1, keepdim=True) @ flow
    prefix = int(getattr(backbone, "num_prefix_tokens", 1))
    seen = flow[:, 0, prefix:] if prefix else flow.mean(dim=1)
    side = round(seen.shape[1] ** 0.5)
    grid = seen.reshape(len(pixels), side, side).numpy()
    low, high = grid.min(axis=(1, 2), keepdims=True), grid.max(axis=(1, 2), keepdims=True)
    return np.asarray((grid - low) / np.maximum(high - low, 1e-9), np.float32)


def overlaid(face: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A face (S x S x 3, uint8) under its map (S x S): blue where nothing counted, red where most did."""
    colours = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET)[:, :, ::-1]
    return np.asarray((0.55 * face + 0.45 * colours).astype(np.uint8))
