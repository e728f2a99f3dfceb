"""The detector yolo on small graphs whose answers are known: every layout of an output, letterboxing, refusals."""

import numpy as np
import pytest
from conftest import yolo_file
from onnx import TensorProto, helper, numpy_helper, save

from ferflow.registry import get

# one face of 20 x 24 around (32, 30) in an input of 64 x 64, with eyes at (27, 26) and (37, 25): as each layout writes it
EYES, REST = [27, 26, 37, 25], [32, 30, 28, 36, 36, 36]
KEYPOINTS = [27, 26, 0.9, 37, 25, 0.9, 32, 30, 0.9, 28, 36, 0.9, 36, 36, 0.9]
ROWS = {
    "v5 and v7": (252, [32, 30, 20, 24, 0.9, 0.8], 0.72, False),
    "v5-face": (252, [32, 30, 20, 24, 0.9, *EYES, *REST, 0.8], 0.72, True),
    "v7-face": (252, [32, 30, 20, 24, 0.9, 0.8, *KEYPOINTS], 0.72, True),
    "large v5": (255, [32, 30, 20, 24, 0.9, 0.8], 0.72, False),
    "v8 and v11": (84, [32, 30, 20, 24, 0.8], 0.8, False),
    "v8-face": (84, [32, 30, 20, 24, 0.8, *KEYPOINTS], 0.8, True),
    "v10": (300, [22, 18, 42, 42, 0.8, 0], 0.8, False),
    "with NMS and points": (300, [22, 18, 42, 42, 0.8, 0, *KEYPOINTS], 0.8, True),
}


def table(count: int, row: list[float]) -> np.ndarray:
    rows = np.zeros((1, count, len(row)))
    rows[0, 3] = row
    rows[0, 5] = row  # the same face again, a little less sure: one of the two stays
    rows[0, 5, 4] *= 0.9
    rows[0, 7] = row
    rows[0, 7, 0] = np.nan  # what a broken network gives
    return rows


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", ROWS)
def test_every_layout_gives_the_face_it_holds(name, turned, tmp_path):
    count, row, score, has_eyes = ROWS[name]
    rows = table(count, row)
    detect = get("detectors", "yolo")(yolo_file(tmp_path / "f.onnx", rows.transpose(0, 2, 1) if turned else rows))
    (face,) = detect(np.zeros((64, 64, 3), np.uint8))
    assert face.box_xyxy == pytest.approx((22, 18, 42, 42))
    assert face.score == pytest.approx(score, abs=1e-6)
    assert face.eyes_xy == (((27, 26), (37, 25)) if has_eyes else None)
    (face,) = detect(np.zeros((256, 128, 3), np.uint8))  # a quarter of its size, 16 pixels of grey on both sides
    assert face.box_xyxy == pytest.approx((24, 72, 104, 168))
    if has_eyes:
        assert face.eyes_xy == ((44, 104), (84, 100))


def test_the_threshold_is_the_least_score(tmp_path):
    file = yolo_file(tmp_path / "f.onnx", table(*ROWS["v8-face"][:2]))
    picture = np.zeros((64, 64, 3), np.uint8)
    assert [len(get("detectors", "yolo")(file, least)(picture)) for least in (0.1, 0.79, 0.81)] == [1, 1, 0]


def test_an_input_of_any_size_gets_the_pictures_shape_in_whole_strides(tmp_path):
    rows = np.zeros((1, 300, 6))
    rows[0, 0] = [100, 112, 200, 212, 0.9, 0]  # 640 x 360 lies in 640 x 384, with 12 rows of grey above
    (face,) = get("detectors", "yolo")(yolo_file(tmp_path / "f.onnx", rows, "size"))(np.zeros((360, 640, 3), np.uint8))
    assert face.box_xyxy == pytest.approx((100, 100, 200, 200))


def test_it_sees_the_picture_and_puts_the_box_back_where_it_was(tmp_path):
    """A graph that takes brightness for faces: what it says of a cell is how bright the cell is."""
    centres, sizes, nodes, names = [], [], [], []
    for stride in (8, 16, 32):
        y, x = np.divmod(np.arange((64 // stride) ** 2), 64 // stride)
        centres.append(np.stack([x, y]) * stride + stride / 2)
        sizes.append(np.full((2, len(x)), stride))
        kernel = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
        nodes += [
            helper.make_node("AveragePool", ["grey"], [f"p{stride}"], **kernel),
            helper.make_node("Reshape", [f"p{stride}", "flat"], [f"f{stride}"]),
        ]
        names.append(f"f{stride}")
    boxes = np.concatenate([np.concatenate(centres, 1), np.concatenate(sizes, 1)])[None].astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1], keepdims=1),
        *nodes,
        helper.make_node("Concat", names, ["scores"], axis=2),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    found = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 5, 84])
    constants = [numpy_helper.from_array(boxes, "boxes"), numpy_helper.from_array(np.array([1, 1, -1]), "flat")]
    graph = helper.make_graph(nodes, "bright", [given], [found], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "b.onnx")
    picture = np.zeros((256, 128, 3), np.uint8)
    picture[64:96, 32:64] = 255
    (face,) = get("detectors", "yolo")(tmp_path / "b.onnx", 0.9)(picture)
    assert face.box_xyxy == pytest.approx((32, 64, 64, 96))
    assert face.score == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 84, 8400), (1, 5, 99), (1, 84, 6), (84, 5), (1, 3, 8, 8, 6), (2, 300, 6), (1, 5000, 6)])
def test_an_unknown_output_is_refused_with_its_shape_when_the_file_is_loaded(shape, tmp_path):
    with pytest.raises(ValueError, match=f"the output {' x '.join(map(str, shape))} is none"):
        get("detectors", "yolo")(yolo_file(tmp_path / "f.onnx", np.zeros(shape)))


def test_an_input_that_is_no_picture_is_refused(tmp_path):
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 64, 3])
    found = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "no", [given], [found])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "n.onnx")
    with pytest.raises(ValueError, match=r"N x 3 x H x W of floats; this takes tensor\(float\) \[1, 64, 64, 3\]"):
        get("detectors", "yolo")(tmp_path / "n.onnx")
