import json
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
from conftest import ROOT, TASKS
from PIL import Image

import ferflow
from ferflow.card import CARD_KEY
from ferflow.detectors import Detection
from ferflow.exporters import Source
from ferflow.exporting import compare, in_pytorch
from ferflow.finding import Finder, Finding, crop_face
from ferflow.images import encode_png
from ferflow.inference import ModelError, Predictor
from ferflow.registry import get


def test_the_export_answers_as_pytorch_does_for_any_batch(network, release):
    faces = np.random.default_rng(0).integers(0, 255, (33, 40, 40, 3), dtype=np.uint8)
    found = list(Predictor(release).outputs(faces).values())
    assert compare(in_pytorch(network, faces), found) == {"largest_difference": pytest.approx(0, abs=1e-4), "same_class": 1}
    assert Predictor(release).outputs(faces[:1])["expression"].shape == (1, 8)


def test_the_members_of_an_ensemble_answer_beside_it_and_their_weighted_mean_is_its_own(release):
    predictor = Predictor(release)
    faces = np.random.default_rng(0).integers(0, 255, (70, 40, 40, 3), dtype=np.uint8)
    whole, parts = predictor.with_parts(faces)
    assert all(np.array_equal(whole[task], values) for task, values in predictor.outputs(faces).items())
    assert list(parts) == ["gray", "rgb"]
    for task, values in whole.items():
        assert np.allclose(0.4 * parts["gray"][task] + 0.6 * parts["rgb"][task], values, atol=1e-5)
    alone = predictor.describe([Detection((0, 0, 9, 9), 1.0)], {"gender": parts["rgb"]["gender"][:1]})
    assert (alone[0].expression, alone[0].valence, alone[0].gender in ("male", "female")) == (None, None, True)


def test_the_card_travels_inside_the_file(release):
    card = Predictor(release.read_bytes()).card
    assert card.tasks == TASKS


def test_the_file_does_not_say_where_it_was_made_and_the_same_network_gives_the_same_bytes(network, release, tmp_path):
    data = release.read_bytes()
    for words in (b"site-packages", b"stack_trace", str(ROOT).encode()):
        assert words not in data
    assert get("exporters", "onnx").write(Source(network, Predictor(release).card), tmp_path).read_bytes() == data


def test_a_prediction_says_everything_the_model_knows_and_none_for_the_rest(release):
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
    (face,) = Predictor(release.parent, Finder(Finding("none"))).predict(picture)
    assert face.box_xyxy == (0, 0, 120, 90)
    assert face.expression == face.top3[0][0]
    assert face.confidence == max(face.probabilities["expression"].values()) == face.top3[0][1]
    assert sum(face.probabilities["expression"].values()) == pytest.approx(1, abs=1e-5)
    assert set(face.probabilities) == {"expression", "gender"}
    assert -1 <= face.valence <= 1
    assert face.gender in ("male", "female")
    assert (face.age, face.race) == (None, None)
    assert json.loads(json.dumps(face.as_dict()))["expression"] == face.expression


def test_no_face_is_an_empty_list_and_faces_are_limited(release):
    picture = np.zeros((50, 50, 3), np.uint8)
    assert Predictor(release, Finder(detector=lambda rgb: [])).predict(picture) == []
    many = [Detection((i, i, i + 20.0, i + 20.0), 1 - i / 100) for i in range(9)]
    assert len(Predictor(release, Finder(Finding(max_faces=4), lambda rgb: many)).predict(picture)) == 4


def test_wrong_faces_and_wrong_files_are_refused(release, tmp_path):
    predictor = Predictor(release)
    with pytest.raises(ValueError, match="N x 40 x 40 x 3"):
        predictor.outputs(np.zeros((1, 48, 48, 3), np.uint8))
    with pytest.raises(ValueError, match="float32"):
        predictor.outputs(np.zeros((1, 40, 40, 3), np.float32))
    with pytest.raises(FileNotFoundError, match="make repro"):
        Predictor(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"junk")
    with pytest.raises(ModelError):
        Predictor(tmp_path)


def test_a_crop_is_square_around_the_face_and_repeats_pixels_beyond_the_edge():
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[40:60, 90:110] = 255
    crop = crop_face(picture, (90, 40, 110, 60), 24)
    assert crop.shape == (24, 24, 3)
    assert crop[12, 12, 0] == 255
    assert crop[0, 0, 0] == 0
    edge = crop_face(np.full((50, 50, 3), 9, np.uint8), (-10, -10, 20, 20), 16)
    assert (edge == 9).all()
    with pytest.raises(ValueError, match="outside"):
        crop_face(picture, (300, 300, 320, 320), 24)


def test_auto_takes_yunet_only_where_its_file_is(tmp_path, shared):
    picture = cv2.cvtColor(cv2.imread(str(shared / "media/two_people.jpg")), cv2.COLOR_BGR2RGB)
    yunet = shared / "models/face_detection_yunet_2023mar.onnx"
    assert len(Finder(Finding(files=(("yunet", yunet),))).find(picture)) == 2
    haar = Finder(Finding(files=(("yunet", tmp_path / "none.onnx"),))).find(picture)
    assert haar == Finder(Finding("haar")).find(picture)


def test_inference_imports_no_training_library():
    code = "import ferflow.inference, sys; print([m for m in ('torch','timm','sklearn','pandas','mlflow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_card_of_another_version_is_named(release, tmp_path):
    model = onnx.load(release)
    card = json.loads(model.metadata_props[0].value) | {"shoe_size": 43}
    onnx.helper.set_model_props(model, {CARD_KEY: json.dumps(card)})
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"does not suit this version of ferflow \(shoe_size\)"):
        Predictor(tmp_path)


def test_the_package_loads_a_release_and_takes_every_form_of_picture(release, tmp_path):
    picture = np.random.default_rng(1).integers(0, 255, (70, 50, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    path.write_bytes(encode_png(picture))
    predictor = ferflow.load(release, detector="none")
    forms = [picture, Image.fromarray(picture), path, str(path), path.read_bytes()]
    found = [predictor.predict(form)[0] for form in forms]
    assert all(face == found[0] for face in found)
    assert predictor.predict(picture[:, :, 0])[0].box_xyxy == (0, 0, 50, 70)
    with pytest.raises(ferflow.ImageError, match="uint8"):
        predictor.predict(picture / 255)
    with pytest.raises(AttributeError, match="it has"):
        ferflow.nothing  # noqa: B018


def test_a_face_is_aligned_by_its_eyes():
    face = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(face, (80, 120), 4, (255, 0, 0), -1)
    cv2.circle(face, (120, 80), 4, (0, 255, 0), -1)
    found = Finder(Finding(align=True), lambda rgb: []).crop(face, Detection((50, 50, 150, 150), 1.0, ((80, 120), (120, 80))), 48)
    first, second = (np.argwhere(found[:, :, channel] > 100).mean(axis=0) for channel in (0, 1))
    assert first[0] == pytest.approx(second[0], abs=1), "level"
    assert first[1] < 24 < second[1]


@pytest.mark.parametrize("wrong", [{"threshold": 2.0}, {"margin": -1}, {"max_faces": 0}, {"min_size": -1}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Finding(**wrong)


def test_small_faces_and_boxes_outside_are_left_out_and_the_largest_is_the_largest():
    boxes = [(0, 0, 10, 10), (5, 5, 45, 45), (300, 300, 320, 320), (0, 0, 30, 30)]
    detector = lambda rgb: [Detection(tuple(map(float, box)), 0.9) for box in boxes]  # noqa: E731
    picture = np.zeros((50, 50, 3), np.uint8)
    assert [face.box_xyxy[2] for face in Finder(Finding(min_size=20), detector).find(picture)] == [45, 30]
    assert [face.box_xyxy[2] for face in Finder(Finding(largest=True), detector).find(picture)] == [45]


def test_a_registry_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(LookupError, match="no MLflow store here"):
        ferflow.load("models:/ferflow@champion")
    assert not (tmp_path / "mlflow.db").exists()
